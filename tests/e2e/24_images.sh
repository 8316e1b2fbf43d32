#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 24_images.sh - `reberth image push` and `reberth image diff`: only what a node lacks is sent, each
# node has its own outcome, what is interrupted goes on, and a roll-back takes no image that was pushed

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up
e2e_tidy() {
	local host
	for host in "${HOSTS[@]}"; do
		lab link "$host" --rate none
		# shellcheck disable=SC2016 # for the inner shell
		on "$host" sh -c 'docker images -q "pushed*" | sort -u | xargs -r docker rmi -f' >/dev/null 2>&1
	done
}
e2e_tidy

# file NAME MIB: of the next image; random, so nothing of it can be packed or found elsewhere
file() { head -c $(($2 << 20)) /dev/urandom >"$E2E_WORK/image/$1"; }
# build NAME FILE...: an image on h1 with a layer for each file, on top of victim's
build() {
	local name=$1 one
	shift
	{
		echo 'FROM victim'
		for one; do echo "ADD $one /pushed/$one"; done
	} >"$E2E_WORK/image/Dockerfile"
	tar -c -C "$E2E_WORK/image" . | on h1 docker build -q -t "$name" - >/dev/null 2>"$E2E_WORK/build.err" || bail "no image $name"
}
mkdir "$E2E_WORK/image"

# push HOST ARGUMENT...: `reberth image push --json`; sets status, report, message
push() {
	local host=$1
	shift
	report=$(on "$host" reberth image push --json "$@" 2>"$E2E_WORK/push.err" </dev/null)
	status=$?
	message=$(<"$E2E_WORK/push.err")
}
# of NODE FIELD: of the node's part of the report
of() { report_field ".nodes[] | select(.node == \"$1\") | $2"; }
image_id() { docker_on "$1" images -q --no-trunc "$2"; }
has_image() { [[ -n $(image_id "$1" "$2") ]]; }
push_is_over() { [[ $(api h1 /pushes | jq 'any(.active)') == false ]]; }

# --- to two nodes, and again

file one 24
file two 1
build pushed:1 one two
diff=$(on h1 reberth image diff --json pushed:1 h2)
counts is "diff: layers that h2 lacks" "$(jq .layers_missing <<<"$diff")" 2
counts is "diff: layers that it has" "$(jq .layers_present <<<"$diff")" "$(jq '.layers | length - 2' <<<"$diff")"
at_least "diff: bytes that it lacks" "$(jq .bytes_missing <<<"$diff")" $((25 << 20))
counts at_most "diff: bytes that it lacks" "$(jq .bytes_missing <<<"$diff")" $((26 << 20))
counts like "diff: as a table" "$(on h1 reberth image diff pushed:1 h2)" "LAYER .*24.0 MiB .*no.*h2 lacks 2 of [0-9]+ layers, 25.0 MiB: 25.0 MiB of it would be sent"
is "diff: nothing was sent" "$(image_id h2 pushed:1)" ""

push h1 pushed:1 h2 h3
is "push: exit status" "$status" 0
is "push: result" "$(report_field .result)" completed
for host in h2 h3; do
	is "push: $host has it" "$(image_id $host pushed:1)" "$(image_id h1 pushed:1)"
	counts is "push: layers sent to $host" "$(of $host .layers.sent)" 2
	at_least "push: bytes sent to $host" "$(of $host .bytes_sent)" $((25 << 20))
	counts at_most "push: bytes sent to $host" "$(of $host .bytes_sent)" $((26 << 20))
done
is "push: its content" "$(docker_on h3 run --rm pushed:1 cat /pushed/one | md5sum)" "$(md5sum <"$E2E_WORK/image/one")"

push h1 pushed:1 h2 h3
is "push again: exit status" "$status" 0
is "push again: no layers were sent" "$(report_field '[.nodes[].layers.sent] | add')" 0
at_most "push again: bytes sent" "$(report_field '[.nodes[].bytes_sent] | add')" 65536
like "push again: in words" "$(on h1 reberth image push pushed:1 h2 2>/dev/null)" "pushed:1 was on h2 already"
is "diff: it is there" "$(on h1 reberth image diff --json pushed:1 h2 | jq .image_present)" true

file three 2
build pushed:2 one three
push h1 pushed:2 h2
counts is "push of its like: layers sent" "$(of h2 .layers.sent)" 1
counts at_most "push of its like: bytes sent" "$(of h2 .bytes_sent)" $((2200 << 10))
is "push of its like: it is there" "$(image_id h2 pushed:2)" "$(image_id h1 pushed:2)"

# --- names: a new one comes, one that means another image stays

docker_on h1 tag pushed:2 pushed:also
docker_on h2 tag pushed:1 pushed:taken
docker_on h1 tag pushed:2 pushed:taken
push h1 pushed:also h2
is "names: exit status" "$status" 0
is "names: which it has there" "$(of h2 '.tags.given | sort | join(" ")')" "pushed:2 pushed:also"
is "names: which another image has" "$(of h2 '.tags.taken | join(" ")')" pushed:taken
like "names: is told" "$message" "on h2 'pushed:taken' is another image, and stays it: 'docker tag [0-9a-f]{12} pushed:taken'"
is "names: a new one" "$(image_id h2 pushed:also)" "$(image_id h1 pushed:2)"
is "names: one that means another image" "$(image_id h2 pushed:taken)" "$(image_id h2 pushed:1)"

# --- what cannot be pushed

push h1 pushed:none h2
is "no such image: exit status" "$status" 3
is "no such image: of h2" "$(of h2 .state)" failed
like "no such image: what to do" "$message" "there is no image 'pushed:none' on this host: 'docker images'"
push h1 pushed:1 h2 nowhere
is "no such node: exit status" "$status" 3
like "no such node: what to do" "$message" "node 'nowhere' is not known here: 'reberth node'"
push h1 pushed:1 h1
is "this node: exit status" "$status" 2
is "diff: no such node" "$(on h1 reberth image diff --json pushed:1 nowhere 2>/dev/null | jq -r .error.code)" not-found
is "diff: no such image" "$(on h1 reberth image diff --json pushed:none h2 2>/dev/null | jq -r .error.code)" not-found

# --- one that cannot be reached does not stop the others

file four 16
build pushed:3 four
lab cut h2
push h1 pushed:3 h2 h3
lab heal h2
is "h2 is cut off: exit status" "$status" 8
is "h2 is cut off: result" "$(report_field .result)" failed
is "h2 is cut off: of h2" "$(of h2 .state) $(of h2 .error.code)" "failed peer"
is "h2 is cut off: of h3" "$(of h3 .state) $(image_id h3 pushed:3)" "completed $(image_id h1 pushed:3)"

# --- the cable is pulled in the middle

half_way() { (($(api h1 /pushes | jq '[.[] | select(.active) | .nodes[].bytes_sent // 0] | add // 0') >= 9 << 20)); }
lab link h2 --rate 50mbit
in_background push h1 reberth image push --json pushed:3 h2
push_pid=$last_pid
check "cut in the middle: half of it is there" wait_for 20 half_way
lab cut h2
check "cut in the middle: it ends" wait_for 30 push_is_over
wait "$push_pid"
is "cut in the middle: exit status" "$?" 8
lab heal h2
lab link h2 --rate none
push h1 pushed:3 h2
is "pushed again: exit status" "$status" 0
is "pushed again: it is there" "$(image_id h2 pushed:3)" "$(image_id h1 pushed:3)"

counts at_most "pushed again: what had arrived is not sent again" "$(of h2 .bytes_sent)" $((12 << 20))

# --- cancelled; and a worker that is killed

file five 16
build pushed:4 five
lab link h2 --rate 20mbit
in_background push h1 reberth image push --json pushed:4 h2 h3
push_pid=$last_pid
is_sending() { api h1 /pushes | jq -e 'any(.active and .stage == "to h2 (1 of 2)")' >/dev/null; }
check "cancel: it sends" wait_for 10 is_sending
is "cancel: is listed" "$(on h1 reberth image pushes -q | wc -l)" "$(api h1 /pushes | jq length)"
check "cancel: exit status" on h1 reberth image cancel "$(api h1 /pushes | jq -r '.[] | select(.active) | .id')"
wait "$push_pid"
is "cancel: exit status of the push" "$?" 13
is "cancel: of each node" "$(jq -r '[.nodes[].state] | join(" ")' "$E2E_WORK/push.out")" "canceled canceled"

# the worker may not have come to itself yet
# shellcheck disable=SC2016 # for the inner shell
on h1 sh -c 'for i in 1 2 3 4 5; do reberth image cancel "$(reberth image push -d pushed:4 h2)"; done' >"$E2E_WORK/early"
is "cancel at once: five times" "$(wc -l <"$E2E_WORK/early")" 5
check "cancel at once: they end" wait_for 20 push_is_over
while read -r id; do
	is "cancel at once: $id" "$(api h1 "/pushes/$id" | jq -r '.result, .nodes[0].state' | paste -sd' ')" "canceled canceled"
done <"$E2E_WORK/early"

# a target that is cancelled, by a host that shuts down, is no cancel of the user's
file seven 16
build pushed:7 seven
in_background push h1 reberth image push --json pushed:7 h2 h3
push_pid=$last_pid
check "target is cancelled: it sends" wait_for 10 is_sending
check "target is cancelled: its worker is there" wait_for 10 on h2 pgrep -f -- '--worker serve'
on h2 pkill -TERM -f -- '--worker serve'
wait "$push_pid"
is "target is cancelled: exit status" "$?" 8
is "target is cancelled: of each node" "$(jq -r '[.nodes[].state] | join(" ")' "$E2E_WORK/push.out")" "failed completed"
is "target is cancelled: the other has it" "$(image_id h3 pushed:7)" "$(image_id h1 pushed:7)"

# who asks what would be sent, and leaves
arm h2 image.load pause
in_background diff h1 reberth image diff pushed:4 h2
diff_pid=$last_pid
check "diff that nobody waits for: has begun" wait_for 20 fault_reached h2
finish "$diff_pid"
no_diff() { ! on h1 pgrep -f -- '--worker diff' >/dev/null; }
check "diff that nobody waits for: its worker ends" wait_for 10 no_diff
disarm h2

in_background push h1 reberth image push --json pushed:4 h2
push_pid=$last_pid
worker=
its_worker() { worker=$(api h1 /pushes | jq '.[] | select(.active) | .worker // empty') && [[ -n $worker ]]; }
wait_for 10 its_worker || bail "the push has no worker"
on h1 kill -KILL "$worker"
wait "$push_pid"
is "its worker is killed: the command ends" "$?" 1
is "its worker is killed: of h2" "$(jq -r '.nodes[0].state' "$E2E_WORK/push.out")" failed
lab link h2 --rate none
is "its worker is killed: nothing is there" "$(image_id h2 pushed:4)" ""

# --- cancelled while Docker on the target loads, which does not answer

lab link h2 --rate none
arm h2 image.load pause
in_background push h1 reberth image push --json pushed:4 h2
push_pid=$last_pid
check "Docker hangs: all of it has come" wait_for 20 fault_reached h2
dockerd=$(on h2 pgrep -x dockerd)
on h2 kill -STOP "$dockerd"
disarm h2
on h1 reberth image cancel "$(api h1 /pushes | jq -r '.[] | select(.active) | .id')" >/dev/null
wait "$push_pid"
is "Docker hangs: the push is cancelled" "$?" 13
serves_nobody() { ! on h2 pgrep -f -- '--worker serve' >/dev/null; }
check "Docker hangs: nobody waits on the target" wait_for 15 serves_nobody
on h2 kill -CONT "$dockerd"
push h1 pushed:4 h2
is "Docker hangs no more: exit status" "$status" 0
is "Docker hangs no more: it is there" "$(image_id h2 pushed:4)" "$(image_id h1 pushed:4)"
at_most "Docker hangs no more: nothing is sent again" "$(of h2 .bytes_sent)" $((1 << 20))

# --- a migration of the same image at the same time is rolled back

# begin_move IMAGE: of a container on h1; stands where h2 has loaded the image
begin_move() {
	run_container h1 web "$1" sleep 1000 || bail "no container"
	arm h2 target.image.end pause
	on h1 reberth migrate --detach --timeout 60s web h2 >"$E2E_WORK/id" || bail "no migration"
	wait_for 20 fault_reached h2 || bail "the image did not come"
}
cancel_move() {
	on h1 reberth migration cancel "$(<"$E2E_WORK/id")" >/dev/null
	disarm h2
	wait_for 20 no_active_migration h1 || bail "it is not rolled back"
	wait_for 20 no_active_migration h2 || bail "it is not rolled back on the target"
	docker_on h1 rm -f web >/dev/null
}
file six 4
build pushed:5 six
build pushed:6 six two
begin_move pushed:5
is "roll-back: the migration had brought the image" "$(image_id h2 pushed:5)" "$(image_id h1 pushed:5)"
cancel_move
is "roll-back: what nobody pushed is gone" "$(image_id h2 pushed:5)" ""

begin_move pushed:5
push h1 pushed:5 h2
is "pushed while it moves: exit status" "$status" 0
is "pushed while it moves: was there already" "$(of h2 .layers.sent)" 0
cancel_move
is "pushed while it moves: stays" "$(image_id h2 pushed:5)" "$(image_id h1 pushed:5)"

# pushed, removed by hand, then brought by a migration: that one takes its own away
docker_on h2 rmi pushed:5 >/dev/null
begin_move pushed:5
cancel_move
is "pushed, removed, moved: is gone" "$(image_id h2 pushed:5)" ""

# the push has begun, the migration is faster, and is rolled back while Docker has just loaded it for
# the push: it is the user's then, though nothing says so yet
arm h2 push.receive pause
in_background push h1 reberth image push --json pushed:6 h2
push_pid=$last_pid
check "push before a move: has begun" wait_for 10 fault_reached h2
root_of h2
rm -f "$root/run/reberth/faults"
run_container h1 web pushed:6 sleep 1000 || bail "no container"
arm h1 source.create.begin hang
on h1 reberth migrate --detach --timeout 60s web h2 >"$E2E_WORK/id" || bail "no migration"
check "push before a move: the move has brought the image" wait_for 20 has_image h2 pushed:6
arm h2 push.loaded pause
release h2
check "push before a move: it is loaded for the push, too" wait_for 20 fault_reached h2
on h1 reberth migration cancel "$(<"$E2E_WORK/id")" >/dev/null
disarm h1
# shellcheck disable=SC2016 # for jq
is_rolling_back() { [[ $(api h2 /migrations | jq --arg id "$(<"$E2E_WORK/id")" -r '.[] | select(.id == $id) | .state') == abort ]]; }
check "push before a move: the roll-back waits" wait_for 20 is_rolling_back
is "push before a move: stays" "$(image_id h2 pushed:6)" "$(image_id h1 pushed:6)"
disarm h2
wait "$push_pid"
is "push before a move: exit status" "$?" 0
for host in h1 h2; do wait_for 30 no_active_migration $host || bail "it is not rolled back on $host"; done
is "push before a move: it is there" "$(image_id h2 pushed:6)" "$(image_id h1 pushed:6)"
docker_on h1 rm -f web >/dev/null

# what Docker does not do now is done later, and not left behind
docker_on h2 rmi pushed:6 >/dev/null
begin_move pushed:6
lab daemon h2 stop dockerd
on h1 reberth migration cancel "$(<"$E2E_WORK/id")" >/dev/null
disarm h2
check "roll-back without Docker: is not done" wait_for 20 is_rolling_back
lab daemon h2 start dockerd
for host in h1 h2; do wait_for 60 no_active_migration $host || bail "it is not rolled back on $host"; done
is "roll-back without Docker: nothing is left" "$(image_id h2 pushed:6)" ""
docker_on h1 rm -f web >/dev/null

e2e_done
