#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 08_bad_input.sh - what people type wrongly and what strangers send: a clear word, the right exit
# status, nothing lost, and the daemon lives

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim redis
warm_up

run_container h1 web --label "$(printf 'x=\033[31m')" victim /victims/looper 20 || bail "no container"
wait_for 10 has_log_lines h1 web 5
note_inventory h1 h2
daemons() { for host in h1 h2; do on "$host" pgrep -xo reberthd; done | xargs; }
daemon_pids=$(daemons)

# refused NAME EXIT-STATUS MESSAGE ARGUMENT...: `reberth migrate ARGUMENT...` on h1
refused() {
	local name=$1 want=$2 text=$3 code
	shift 3
	migrate h1 "$@"
	is "$name: exit status" "$status" "$want"
	like "$name: says so" "$message" "$text"
	is "$name: in one line" "$(wc -l <<<"$message")" 1
	code=$(jq -r '.error.code' <<<"$report" 2>/dev/null)
	isnt "$name: JSON has a code" "$code" ""
}

# --- what people type (exit statuses: src/base/err.c)

refused "no such container" 3 "ghost" ghost h2
refused "no such node" 3 "node 'h7x' is not known here.*reberth node" web h7x
refused "the same node" 2 "on node 'h1' already" web h1
refused "no node" 2 "needs CONTAINER NODE" web
refused "one argument too many" 2 "'h3' is one argument too many" web h2 h3
refused "empty argument" 2 "empty" "" h2
refused "unknown option" 2 "unknown option '--keep-sorce', did you mean '--keep-source'" --keep-sorce web h2
refused "unknown strategy" 2 "strategy 'magic'" --strategy magic web h2
refused "bad duration" 2 "'soon' is no duration" --timeout soon web h2
refused "a path as container" 3 "." ../../etc/passwd h2
refused "a query as container" 3 "." 'web?force=1' h2
refused "an escape sequence as node" 3 "is not known" web $'h2\033[31m'
is "no escape sequence is printed" "$(grep -c $'\033' <<<"$message")" 0
refused "a node that is off" 8 "h9" web h9

docker_on h1 pause web >/dev/null
refused "paused" 4 "paused.*docker unpause" web h2
docker_on h1 unpause web >/dev/null
docker_on h1 run -d --name stopped --network lan victim true >/dev/null
ended() { [[ $(container_state h1 stopped) == exited ]]; }
wait_for 5 ended
refused "stopped" 4 "not running.*start it" stopped h2
docker_on h1 rm stopped >/dev/null

# --- what cannot be moved

# cannot NAME MESSAGE DOCKER-RUN-ARGUMENT...
cannot() {
	local name=$1 text=$2
	shift 2
	if ! docker_on h1 run -d --name odd "$@" victim sleep 600 >/dev/null 2>"$E2E_WORK/run.err"; then
		skip "$name" "Docker refuses to make it here: $(head -n 1 "$E2E_WORK/run.err")"
		return
	fi
	refused "$name" 5 "$text" odd h2
	docker_on h1 rm -fv odd >/dev/null
}
cannot "host's network" "host's network" --network host
cannot "another's network" "shares the network of container .web" --network container:web
cannot "default bridge" "default bridge.*user-defined network"
cannot "host's processes" "PidMode" --network lan --pid host
cannot "host's IPC" "IpcMode" --network lan --ipc host
cannot "an IPC namespace for others" "IpcMode.*/dev/shm" --network lan --ipc shareable -v /dev/shm/content
cannot "terminal" "terminal" --network lan -t
cannot "folder of the host" "/srv.*is mounted" --network lan -v /srv:/srv
cannot "Docker's socket" "docker.sock" --network lan -v /var/run/docker.sock:/var/run/docker.sock
docker_on h1 network create --subnet 10.99.0.0/24 only-here >/dev/null
cannot "a network that the target lacks" "node 'h2' has no network 'only-here'" --network only-here
docker_on h2 network create --subnet 10.98.0.0/24 only-here >/dev/null
cannot "a network with another subnet there" "another subnet" --network only-here
docker_on h1 network rm only-here >/dev/null
docker_on h2 network rm only-here >/dev/null
docker_on h2 run -d --name odd --network lan victim sleep 600 >/dev/null
cannot "a name that is taken" "has a container 'odd'" --network lan
docker_on h2 rm -f odd >/dev/null
docker_on h2 run -d --name taker --network lan --ip 10.88.77.7 victim sleep 600 >/dev/null
cannot "an address that is taken" "10.88.77.7.*taken by container 'taker'" --network lan --ip 10.88.77.7
docker_on h2 rm -f taker >/dev/null
docker_on h2 volume create mine >/dev/null
cannot "a volume that is there already" "has a volume 'mine'" --network lan -v mine:/mine
docker_on h2 volume rm mine >/dev/null
docker_on h1 volume rm mine >/dev/null
docker_on h1 run -d --name other --network lan -v shared:/shared victim sleep 600 >/dev/null
cannot "a volume that another uses" "used by container 'other', too" --network lan -v shared:/shared
docker_on h1 rm -f other >/dev/null
docker_on h1 volume rm shared >/dev/null
cannot "a Swarm service's" "Swarm" --network lan --label com.docker.swarm.service.id=x
cannot "Kubernetes'" "Kubernetes" --network lan --label io.kubernetes.pod.name=x

in_background exec h1 docker exec web sleep 600
has_exec() { [[ $(docker_on h1 inspect -f '{{len .ExecIDs}}' web) == 1 ]]; }
wait_for 5 has_exec
refused "an open exec session" 5 "docker exec.*end it" web h2
docker_on h1 exec web sh -c 'kill $(pidof sleep)'
wait "$last_pid"

# --- a process that is stopped: nobody can trace it once it is frozen, with cgroups of version 1

if [[ -d /sys/fs/cgroup/freezer ]]; then
	run_container h1 odd victim sh -c 'sleep 600 & while :; do sleep 1; done'
	on h1 pkill -STOP -fx 'sleep 600'
	refused "a stopped process" 5 "process [0-9]* .*is stopped.*kill -CONT" odd h2
	on h1 pkill -CONT -fx 'sleep 600'
	arm h1 source.freeze.begin pause 1
	in_background late h1 reberth migrate odd h2
	check "one that is stopped later: not yet" wait_for 20 fault_reached h1
	on h1 pkill -STOP -fx 'sleep 600'
	release h1
	wait "$last_pid"
	isnt "one that is stopped later: refused" "$?" 0
	like "one that is stopped later: why" "$(<"$E2E_WORK/late.err")" "is stopped .SIGSTOP."
	is "one that is stopped later: runs on" "$(container_state h1 odd)" running
	disarm h1
	docker_on h1 rm -f odd >/dev/null
else
	skip "a stopped process" "only a freezer of version 1 is in the way of that"
fi

# --- a second migration of one container

arm h1 source.create.begin pause 1
in_background first h1 reberth migrate web h2
first=$last_pid
check "the first is under way" wait_for 10 fault_reached h1
refused "a second migration of it" 4 "being migrated already.*reberth migration ls" web h3
release h1
wait "$first"
is "the first is not disturbed" "$?" 0
migrate h2 web h1
is "and it comes back" "$result" completed

# --- CRIU refuses: in its own words (a kind of socket that it does not know)

docker_on h1 run -d --name odd --network lan redis perl -e 'socket(my $s, 38, 5, 0) or die; print "ready\n"; $| = 1; sleep 1 while print "x\n"' >/dev/null
if wait_for 5 has_log_lines h1 odd 2; then
	refused "CRIU refuses" 10 "CRIU: .*Error \(criu/" odd h2
	is "CRIU refuses: rolled back" "$result" rolled-back
	at=$(log_lines h1 odd)
	check "CRIU refuses: it runs on" wait_for 5 has_log_lines h1 odd $((at + 2))
else
	skip "CRIU refuses" "no AF_ALG socket can be made here: $(docker_on h1 logs odd 2>&1 | head -n 1)"
fi
docker_on h1 rm -f odd >/dev/null

# --- commands about migrations

fails_with() {
	local name=$1 want=$2 text=$3 output status
	shift 3
	output=$(on h1 reberth "$@" 2>&1 </dev/null)
	status=$?
	is "$name: exit status" "$status" "$want"
	like "$name: says so" "$output" "$text"
}
done_id=$(on h1 reberth migration ls -aq | head -n 1)
fails_with "inspect what is not there" 3 "no migration 'ffffffff'" migration inspect ffffffff
fails_with "inspect nonsense" 2 "cannot be the ID" migration inspect '../x'
fails_with "cancel what has ended" 4 "too late" migration cancel "$done_id"
fails_with "resolve what has ended" 4 "" migration resolve "$done_id" --abort --yes
fails_with "resolve without a word" 2 "one of --commit and --abort" migration resolve "$done_id"
fails_with "resolve with both" 2 "one of --commit and --abort" migration resolve "$done_id" --abort --commit
fails_with "resolve unasked" 2 "--yes" migration resolve "$done_id" --abort
fails_with "unknown command" 2 "did you mean 'migrate'" migrat
fails_with "no daemon at the socket" 8 "not running" --socket /run/nothing.sock migration ls

# --- who may speak to the daemon

is "the socket is root's and the group's only" "$(on h1 stat -c %a /run/reberth/api.sock)" 660
as_nobody() { on h1 setpriv --reuid 65534 --regid 65534 --clear-groups reberth migration ls 2>&1; }
output=$(as_nobody)
is "others are refused: exit status" "$?" 6
like "others are refused: says so" "$output" "group reberth"

# --- strangers at the port

readonly PORT=7480 ADDRESS=10.77.0.1
speak() { on h3 timeout 20 bash -c 'exec 3<>/dev/tcp/'$ADDRESS/$PORT' && { cat >&3; timeout 1 cat <&3 >/dev/null; true; }' 2>/dev/null; }
lives() { check "$1: the daemon lives" reberthd_answers h1; }
head -c 100000 /dev/urandom | speak
lives "garbage"
printf 'GET / HTTP/1.1\r\n\r\n' | speak
lives "HTTP"
speak </dev/null
lives "a connection without a word"
# A hello of TLS that promises more than it brings.
printf '\x16\x03\x01\xff\xff\x01\x00' | speak
lives "half a handshake"

on h3 openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj /CN=h2 \
	-keyout "$E2E_WORK/key.pem" -out "$E2E_WORK/cert.pem" 2>/dev/null
tls() { printf 'RBTH' | on h3 timeout 10 openssl s_client -connect $ADDRESS:$PORT -quiet "$@" 2>&1; }
readonly GOOD=(-cert /etc/reberth/node.pem -key /etc/reberth/node.key)
like "no certificate" "$(tls -tls1_3)" "certificate required|alert"
like "a certificate of another authority, with a node's name" "$(tls -tls1_3 -cert "$E2E_WORK/cert.pem" -key "$E2E_WORK/key.pem")" "unknown ca|alert"
like "an older TLS" "$(tls -tls1_2 "${GOOD[@]}")" "protocol version|alert|wrong version"
lives "wrong certificates"

# The other way round: a target that is not who it should be.
on h2 sh -c "cp /etc/reberth/node.pem $E2E_WORK/saved.pem; cp /etc/reberth/node.key $E2E_WORK/saved.key
	cp $E2E_WORK/cert.pem /etc/reberth/node.pem; cp $E2E_WORK/key.pem /etc/reberth/node.key"
lab daemon h2 restart reberthd
refused "a target whose certificate nobody signed" 6 "certificate" web h2
on h2 sh -c "cp $E2E_WORK/saved.pem /etc/reberth/node.pem; cp $E2E_WORK/saved.key /etc/reberth/node.key"
lab daemon h2 restart reberthd
daemon_pids=$(daemons)

# peer CASE ANSWER: a peer with a good certificate, and bad manners
peer() {
	like "peer, $1" "$(on h3 timeout 20 python3 "$E2E_DIR/hostile_peer.py" "$1" $ADDRESS $PORT 2>&1)" "$2"
}
peer no-hello "^(closed|error)"
peer other-protocol "^(closed|error)"
peer other-name "^(closed|error)"
peer hello-not-json "^(closed|error)"
peer hello-deep "^(closed|error)"
peer bad-magic "^(closed|error protocol)"
peer bad-version "^(closed|error protocol)"
peer bad-type "^(closed|error protocol)"
peer bad-flags "^(closed|error protocol)"
peer oversized "^(closed|error protocol)"
peer oversized-data "^(closed|error protocol)"
peer largest '^(closed|error|reply .*"state": ?null)'
peer truncated "^closed"
peer half-header "^closed"
peer unknown-verb "^error protocol: .*format"
peer verb-too-early "^error protocol: .*go"
peer stream-too-early "^(closed|error protocol)"
peer reply-uncalled "^(closed|error protocol)"
peer empty-prepare "^error"
peer prepare-types "^error"
peer prepare-path "^error protocol"
peer query-path '^(error|reply .*"state": ?null)'
peer query-wildcard '^(error|reply .*"state": ?null)'
peer bind-docker "^error refused: .*Docker's own files"
peer bind-dots "^error refused: .*no path that can be mounted"
peer bind-full "^error refused: .*with something in it"
peer bind-inside "^error protocol: .*not inside of another"
peer bind-unmade "^error protocol: .*there is no bind mount '/etc'"
peer bind-unoffered "^error protocol: .*there is no 'bind'"
peer push-empty "^error protocol"
peer push-types "^error protocol"
peer push-path "^error"
peer push-cut '^reply .*"layers_present"'
# what never came is not taken for a user's (image/kept.h)
no_mark() { ! on h1 test -e /var/lib/reberth/images/kept/"$(printf 'e%.0s' {1..64})"; }
check "peer, push-cut: no mark is left" wait_for 10 no_mark
peer push-names "^error protocol: .*100000 names"
peer ask-types "^error protocol"
peer ask-stream '^(error|reply)'
peer null-bytes "^(closed|error)"
lives "a peer with bad manners"

# --- so many at once that it has enough

in_background many h3 python3 -c "
import socket, sys
held = [socket.create_connection(('$ADDRESS', $PORT)) for i in range(300)]
print('connected', flush=True)
sys.stdin.read()
import time
time.sleep(5)"
many_hold() { [[ -s $E2E_WORK/many.out ]]; }
check "300 connections at once are taken" wait_for 10 many_hold
lives "300 connections"
kill "$last_pid"
fewer_workers() { (($(on h1 pgrep -fc 'reberthd .*--worker serve') < 200)); }
wait_for 15 fewer_workers
moves "afterwards" h1 web h2
migrate h2 web h1

is "all daemons are those from before" "$(daemons)" "$daemon_pids"
at=$(log_lines h1 web)
check "the container counts on" wait_for 5 has_log_lines h1 web $((at + 5))
numbers=$(docker_on h1 logs web)
is "and never lost a number" "$numbers" "$(seq 0 $(($(wc -l <<<"$numbers") - 1)))"
nothing_left "bad input" h1 h2
e2e_done
