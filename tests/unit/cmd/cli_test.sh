#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# cli_test.sh - the program `reberth` end to end, against a daemon that only plays migrations
#
# usage: cli_test.sh REBERTH FAKE_REBERTHD ON_TTY
#
# Prints TAP. fake_reberthd.c says what each container name does.

set -uo pipefail
export LC_ALL=C TERM=xterm NO_COLOR=
unset COLUMNS REBERTH_SOCKET

readonly REBERTH=$1 FAKE=$2 ON_TTY=$3
DIR=$(mktemp -d)
readonly DIR
readonly CTRL_C=$'\003'
export REBERTH_SOCKET=$DIR/api.sock

tests=0 failures=0
fake_pid=

# Start the fake daemon; it lives until its standard input, descriptor 7, is closed.
fake_start() {
	rm -f "$DIR/in" "$DIR/ready"
	mkfifo "$DIR/in" "$DIR/ready"
	"$FAKE" "$REBERTH_SOCKET" <"$DIR/in" >"$DIR/ready" 2>>"$DIR/fake.err" 7>&- &
	fake_pid=$!
	exec 7>"$DIR/in"
	read -r <"$DIR/ready"
}

fake_stop() {
	exec 7>&-
	[[ -z $fake_pid ]] || wait "$fake_pid"
	fake_pid=
}

cleanup() {
	fake_stop
	rm -rf "$DIR"
}
trap cleanup EXIT

# run STATUS COMMAND...: run with output in $out and $errors; wrong if the exit status differs.
run() {
	local want=$1 got
	shift
	"$@" >"$DIR/out" 2>"$DIR/err" 7>&- && got=0 || got=$?
	out=$(<"$DIR/out")
	errors=$(<"$DIR/err")
	((got == want)) || complain "'${*##*/}' ended with $got, not $want"
}

# await FILE TEXT: until the text is there, at most twenty seconds.
await() {
	local end=$((SECONDS + 20))
	while ((SECONDS < end)); do
		! grep -q "$2" "$1" || return 0
		read -r -t 0.01 <>"$DIR/never" || true
	done
	complain "'$2' did not come"
}

complain() {
	wrong+=("$1")
}

has() {
	[[ $1 == *"$2"* ]] || complain "there is no '$2' in '$1'"
}

is() {
	[[ $1 == "$2" ]] || complain "it is '$1', not '$2'"
}

lacks() {
	[[ $1 != *"$2"* ]] || complain "there is a '$2' in '$1'"
}

# json TEXT PATH: the value at a path like .error.code, read with python's parser.
json() {
	python3 -c '
import json, sys
value = json.loads(sys.argv[1])
for key in sys.argv[2].strip(".").split("."):
    value = value[int(key) if key.isdigit() else key]
print(value)' "$1" "$2" 2>&1
}

# check NAME: run the function test_NAME and report.
check() {
	local message
	wrong=()
	"test_$1"
	tests=$((tests + 1))
	if ((${#wrong[@]})); then
		failures=$((failures + 1))
		for message in "${wrong[@]}"; do printf '# %s\n' "${message//$'\n'/$'\n# '}"; done
		echo "not ok $tests - $1"
	else
		echo "ok $tests - $1"
	fi
}

test_migrate_completes() {
	run 0 "$REBERTH" migrate web h2
	is "$out" "web moved from h1 to h2: 143 ms of downtime, 1.2 s in all, 68.3 MiB sent
container ID 0123456789ab -> fedcba987654"
	has "$errors" "web: freeze"
	lacks "$errors" $'\033'
}

test_migrate_json() {
	run 0 "$REBERTH" migrate --json web h2
	is "$(json "$out" .result)" completed
	is "$(json "$out" .bytes_sent)" 71617740
	is "$(json "$out" .stages.0.name)" prepare
	is "$errors" ""
}

test_options_after_operands() {
	run 0 "$REBERTH" migrate web h2 --json --timeout 30s --keep-source --strategy cold
	is "$(json "$out" .result)" completed
}

test_migrate_rolls_back() {
	run 10 "$REBERTH" migrate broken h2
	is "$out" ""
	has "$errors" "reberth: broken was not moved, it runs on at h1 (rolled back, stage dump): CRIU refused: Error (x.c:1): no"
	run 10 "$REBERTH" migrate broken h2 --json
	is "$(json "$out" .result)" rolled-back
	is "$(json "$out" .error.code)" criu
	is "$(json "$out" .error.stage)" dump
}

test_migrate_in_doubt() {
	run 14 "$REBERTH" migrate doubt h2
	has "$errors" "moving doubt from h1 to h2 failed: h2 vanished between COMMIT and GO"
}

test_migrate_without_report() {
	run 0 "$REBERTH" migrate mute h2
	is "$out" "mute moved from h1 to h2
container ID 0123456789ab -> -"
}

test_migrate_refused() {
	run 4 "$REBERTH" migrate refused h2
	is "$errors" "reberth: refused is not running: start it with 'docker start refused'"
	run 4 "$REBERTH" migrate refused h2 --json
	is "$(json "$out" .error.code)" conflict
	is "$errors" "reberth: refused is not running: start it with 'docker start refused'"
}

test_migrate_detach() {
	local id
	run 0 "$REBERTH" migrate -d slow h2
	id=$out
	has "$id" slow-
	run 0 "$REBERTH" migration ls -q
	has "$out" "$id"
	run 0 "$REBERTH" migration cancel "$id"
	is "$out" "$id"
	run 0 "$REBERTH" migrate --detach --json web h2
	has "$(json "$out" .id)" web-
}

test_dry_run() {
	run 0 "$REBERTH" migrate web h2 --dry-run
	is "$out" "web can be moved from h1 to h2
To be sent: 68.0 MiB: 64.0 MiB of memory, 4.0 MiB of image layers, 512 B of files"
	run 5 "$REBERTH" migrate impossible h2 --dry-run
	is "$out" "impossible cannot be moved from h1 to h2:
  error: it uses the host's network: give it a network of its own"
	run 5 "$REBERTH" migrate impossible h2 --dry-run --json
	is "$(json "$out" .possible)" False
}

test_live_line() {
	run 0 "$ON_TTY" 100 -- "$REBERTH" migrate web h2
	has "$out" $'\r\033[1mweb: freeze\033[0m  [=='
	has "$out" "40%  2.0 MiB of 5.0 MiB  1.0 MiB/s  1.5 s left"
	has "$out" "web moved from h1 to h2"
}

test_live_line_without_color() {
	NO_COLOR=1 run 0 "$ON_TTY" 100 -- "$REBERTH" migrate web h2
	has "$out" $'\rweb: freeze  [=='
	TERM=dumb run 0 "$ON_TTY" 100 -- "$REBERTH" migrate web h2
	lacks "$out" $'\033'
}

test_live_line_fits() {
	local line longest=0
	NO_COLOR=1 run 0 "$ON_TTY" 40 -- "$REBERTH" migrate web h2
	while IFS= read -r -d $'\r' line; do
		line=${line%$'\033[K'}
		[[ $line != web:* ]] || ((${#line} <= longest)) || longest=${#line}
	done <<<"$out"
	((longest > 20 && longest < 40)) || complain "the longest line has $longest columns"
}

test_ctrl_c_asks() {
	run 13 "$ON_TTY" 100 'slow: transfer' "$CTRL_C" 'Cancel and roll back? [y/N]' $'y\n' \
		-- "$REBERTH" migrate slow h2
	has "$out" "waiting for the rollback"
	has "$out" "slow was not moved, it runs on at h1 (rolled back): the user canceled it"
}

test_ctrl_c_twice_is_yes() {
	run 13 "$ON_TTY" 100 'slow: transfer' "$CTRL_C" 'Cancel and roll back?' "$CTRL_C" \
		-- "$REBERTH" migrate slow h2
	has "$out" "the user canceled it"
}

test_ctrl_c_no_goes_on() {
	run 13 "$ON_TTY" 100 'slow: transfer' "$CTRL_C" 'Cancel and roll back?' $'n\n' \
		'slow: transfer' "$CTRL_C" 'Cancel and roll back?' $'y\n' -- "$REBERTH" migrate slow h2
	has "$out" "the user canceled it"
}

test_too_late_to_cancel() {
	run 0 "$ON_TTY" 100 'late: transfer' "$CTRL_C" 'Cancel and roll back?' $'y\n' \
		-- "$REBERTH" migrate late h2
	has "$out" "cannot cancel: it is past the point of no return"
	has "$out" "late moved from h1 to h2"
}

test_ctrl_c_can_always_leave() {
	run 13 "$ON_TTY" 100 'stuck: transfer' "$CTRL_C" 'Cancel and roll back?' $'y\n' \
		'cannot cancel' "$CTRL_C" -- "$REBERTH" migrate stuck h2
	has "$out" "reberthd goes on with migration stuck-"
}

test_hangup_detaches() {
	local id
	run 13 "$ON_TTY" 100 'slow: transfer' HANGUP -- "$REBERTH" migrate slow h2
	run 0 "$REBERTH" migration ls -q
	id=$(tail -n 1 <<<"$out")
	run 0 "$REBERTH" migration inspect "$id"
	is "$(json "$out" .0.stage)" transfer
	run 0 "$REBERTH" migration cancel "$id"
}

# In the background of a shell without job control SIGINT is ignored, SIGTERM is not.
test_sigterm_cancels() {
	local pid
	: >"$DIR/slow.err"
	"$REBERTH" migrate slow h2 >"$DIR/slow.out" 2>"$DIR/slow.err" 7>&- &
	pid=$!
	await "$DIR/slow.err" 'slow: transfer'
	kill -TERM "$pid"
	run 13 wait "$pid"
	has "$(<"$DIR/slow.err")" "reberth: canceling, waiting for the rollback"
	has "$(<"$DIR/slow.err")" "the user canceled it"
}

test_daemon_comes_back() {
	local pid
	: >"$DIR/lost.err"
	"$REBERTH" migrate lost h2 >"$DIR/lost.out" 2>"$DIR/lost.err" 7>&- &
	pid=$!
	await "$DIR/lost.err" 'lost: transfer'
	fake_stop
	await "$DIR/lost.err" 'does not answer'
	fake_start
	run 0 wait "$pid"
	has "$(<"$DIR/lost.out")" "lost moved from h1 to h2"
}

test_ls() {
	run 0 "$REBERTH" migrate -d stuck h3
	run 0 "$REBERTH" migration ls
	is "$(head -n 1 <<<"$out" | tr -s ' ')" "ID CONTAINER FROM TO STATE STAGE PROGRESS STARTED"
	has "$out" "days ago"
	lacks "$out" completed
	run 0 "$REBERTH" migration ls --all
	has "$out" completed
	run 0 "$REBERTH" migration ls -a --json
	is "$(json "$out" .0.role)" source
}

test_forward() {
	run 0 "$REBERTH" forward ls
	is "$(head -n 1 <<<"$out" | tr -s ' ')" "ID CONTAINER PORTS MOVED TO CONNECTIONS SINCE"
	has "$out" "0.0.0.0:8080->10.88.1.1:80/tcp"
	run 0 "$REBERTH" forward ls -q
	is "$out" 0123456789abcdef
	run 0 "$REBERTH" forward ls --json
	is "$(json "$out" .0.connections)" 2
	run 2 "$REBERTH" forward rm
	run 3 "$REBERTH" forward rm other
	has "$errors" "nothing is forwarded here for 'other'"
	run 0 "$REBERTH" forward rm web
	is "$out" web
	run 3 "$REBERTH" forward rm web
	run 0 "$REBERTH" forward rm --all
	is "$out" ""
}

test_image_push() {
	run 0 "$REBERTH" image push app h2 h3
	is "$out" "app pushed to h2: 2 of 5 layers sent, 3.0 MiB in 1.2 s
app was on h3 already"
	has "$errors" "app: to h2"
	run 0 "$REBERTH" image push --json app h2
	is "$(json "$out" .result)" completed
	is "$(json "$out" .nodes.0.layers.sent)" 2
	is "$errors" ""
	run 3 "$REBERTH" image push app h9
	has "$errors" "node 'h9' is not known here"
	run 2 "$REBERTH" image push app
	has "$errors" "'reberth image push' needs IMAGE NODE..."
	run 2 "$REBERTH" image push $'\xff' h2
}

# A name that another image has there stays with that: nobody shall find that out by what runs.
test_image_push_names() {
	run 0 "$REBERTH" image push taken h2
	is "$out" "taken pushed to h2: 0 of 5 layers sent, 3.0 MiB in 1.2 s"
	has "$errors" "reberth: on h2 'taken:latest' is another image, and stays it: 'docker tag 0123456789ab taken:latest' there changes that"
	lacks "$errors" "'taken:1'"
	run 0 "$REBERTH" image push --json taken h2
	is "$(json "$out" .nodes.0.tags.taken.0)" taken:latest
	has "$errors" "taken:latest"
}

# One that fails does not hide the others, and the exit status is its error's.
test_image_push_fails_at_one() {
	run 8 "$REBERTH" image push halfway h2 h4
	is "$out" "halfway pushed to h4: 2 of 5 layers sent, 3.0 MiB in 1.2 s"
	has "$errors" "reberth: halfway was not pushed to h2: h2 cannot be reached"
	run 8 "$REBERTH" image push --json halfway h2 h4
	is "$(json "$out" .nodes.0.error.code)" peer
	is "$(json "$out" .nodes.1.state)" completed
}

# What concerns no node alone; and watching ends with the worker.
test_image_push_fails() {
	run 1 "$REBERTH" image push killed h4
	has "$errors" "reberth: killed was not pushed: its worker process was killed"
	run 3 "$REBERTH" image push absent h4
	has "$errors" "reberth: absent was not pushed: there is no image"
}

test_image_push_ctrl_c() {
	run 13 "$ON_TTY" 100 'slow: to h2' "$CTRL_C" -- "$REBERTH" image push slow h2
	lacks "$out" "[y/N]"
	has "$out" "reberth: slow was not pushed to h2: it was cancelled"
}

test_image_push_live_line() {
	NO_COLOR=1 run 0 "$ON_TTY" 100 -- "$REBERTH" image push app h2
	has "$out" $'\rapp: to h2  [=='
	has "$out" "40%  2.0 MiB of 5.0 MiB  1.0 MiB/s  1.5 s left"
}

test_image_pushes() {
	local id
	run 0 "$REBERTH" image push -d slow h2
	id=$out
	run 0 "$REBERTH" image pushes -q
	has "$out" "$id"
	run 0 "$REBERTH" image pushes
	is "$(head -n 1 <<<"$out" | tr -s ' ')" "ID IMAGE PROGRESS NODES"
	has "$out" "h2: sending"
	run 0 "$REBERTH" image cancel "$id"
	is "$out" "$id"
	run 0 "$REBERTH" image pushes
	has "$out" "h2: canceled"
	run 3 "$REBERTH" image cancel nothing
	run 2 "$REBERTH" image cancel ../node
	has "$errors" "cannot be the ID of a push"
}

test_image_diff() {
	run 0 "$REBERTH" image diff app h2
	is "$out" "LAYER          SIZE      THERE   TO SEND
0123456789ab   8.0 MiB   yes     0 B
fedcba987654   1.0 MiB   no      512.0 KiB
h2 lacks 1 of 2 layers, 1.0 MiB: 512.0 KiB of it would be sent, before it is compressed"
	run 0 "$REBERTH" image diff app h2 --json
	is "$(json "$out" .layers.1.present)" False
	run 3 "$REBERTH" image diff absent h2
	has "$errors" "there is no image 'absent'"
	run 2 "$REBERTH" image diff app
}

test_inspect() {
	run 3 "$REBERTH" migration inspect lost nothing
	is "$(json "$out" .0.container)" lost
	is "$errors" "reberth: no such migration: nothing"
	run 3 "$REBERTH" migration inspect nothing
	is "$out" "[]"
	run 3 "$REBERTH" migration inspect nothing --json
	is "$(json "$out" .error.code)" not-found
	run 2 "$REBERTH" migration inspect ../node
	has "$errors" "cannot be the ID of a migration"
}

test_resolve() {
	run 0 "$REBERTH" migrate -d doubt h2
	run 2 "$REBERTH" migration resolve doubt
	has "$errors" "say one of --commit and --abort"
	run 2 "$REBERTH" migration resolve doubt --abort
	has "$errors" "nobody can be asked without a terminal"
	run 0 "$REBERTH" migration resolve doubt --abort --yes
	has "$(<"$DIR/fake.err")" "resolved abort"
	run 13 "$ON_TTY" 100 'Type yes' $'y\n' -- "$REBERTH" migration resolve doubt --commit
	has "$out" "doubt will be given up on this host, for good."
	lacks "$(<"$DIR/fake.err")" "resolved commit"
	run 0 "$ON_TTY" 100 'Type yes' $'yes\n' -- "$REBERTH" migration resolve doubt --commit
	has "$(<"$DIR/fake.err")" "resolved commit"
	run 0 "$ON_TTY" 100 'Type yes' $'yes\n' -- "$REBERTH" migration resolve doubt --abort
	has "$out" "Be sure that h2 is off"
}

test_node() {
	run 0 "$REBERTH" node
	has "$out" "Node        h1"
	is "$(tail -n 3 <<<"$out")" "PEER   ADDRESS
h2     10.77.0.2:7480
h3     10.77.0.3:7480"
	run 0 "$REBERTH" node -q
	is "$out" $'h2\nh3'
}

test_version() {
	run 0 "$REBERTH" version
	has "$out" "reberthd  0."
	run 0 "$REBERTH" version --socket "$DIR/none"
	has "$out" "(no answer)"
	run 0 "$REBERTH" --version
}

test_help() {
	local verb
	run 0 "$REBERTH" help
	has "$out" "migration resolve"
	run 0 "$REBERTH" --help
	run 0 "$REBERTH" migration --help
	for verb in migrate 'migration ls' 'migration inspect' 'migration cancel' \
		'migration resolve' 'forward ls' 'forward rm' 'image push' 'image diff' 'image pushes' \
		'image cancel' node version; do
		# shellcheck disable=SC2086  # a verb may have two words
		run 0 "$REBERTH" $verb --help
		has "$out" "Usage: reberth $verb"
		# shellcheck disable=SC2086
		run 0 "$REBERTH" help $verb
		has "$out" "Usage: reberth $verb"
	done
	run 2 "$REBERTH"
	run 2 "$REBERTH" migration
}

test_wrong_command_lines() {
	run 2 "$REBERTH" migrat web h2
	has "$errors" "unknown command 'migrat', did you mean 'migrate'?"
	run 2 "$REBERTH" ls
	has "$errors" "did you mean 'migration ls'?"
	run 2 "$REBERTH" migration lst
	has "$errors" "unknown command 'migration lst', did you mean 'migration ls'?"
	run 2 "$REBERTH" frobnicate
	has "$errors" "unknown command 'frobnicate' (see 'reberth --help')"
	run 2 "$REBERTH" migrate web h2 --detatch
	has "$errors" "unknown option '--detatch', did you mean '--detach'?"
	run 2 "$REBERTH" migrate web h2 -x
	has "$errors" "unknown option '-x'"
	run 2 "$REBERTH" migrate web h2 --timeout
	has "$errors" "'--timeout' needs an argument"
	run 2 "$REBERTH" migrate web h2 --json=yes
	has "$errors" "'--json' takes no argument"
	run 2 "$REBERTH" migrate web h2 --timeout soon
	has "$errors" "'soon' is no duration"
	run 2 "$REBERTH" migrate web
	has "$errors" "'reberth migrate' needs CONTAINER NODE"
	run 2 "$REBERTH" migrate web h2 h3 --json
	has "$errors" "'h3' is one argument too many"
	is "$(json "$out" .error.code)" usage
	run 2 "$REBERTH" migrate "" h2
	run 2 "$REBERTH" migrate $'\xff' h2 --json
	is "$(json "$out" .error.code)" usage
}

test_no_daemon() {
	run 8 "$REBERTH" --socket "$DIR/none" migrate web h2
	has "$errors" "reberthd is not running on this host (no answer on $DIR/none): start it"
	run 8 "$REBERTH" migrate web h2 --json --socket="$DIR/none"
	is "$(json "$out" .error.code)" peer
}

test_stranger() {
	((UID == 0)) || return 0
	chmod 755 "$DIR"
	run 6 setpriv --reuid 65534 --regid 65534 --clear-groups "$REBERTH" node
	has "$errors" "be root or a member of group reberth"
}

mkfifo "$DIR/never"
fake_start
for name in $(compgen -A function test_); do
	check "${name#test_}"
done
echo "1..$tests"
((failures == 0))
