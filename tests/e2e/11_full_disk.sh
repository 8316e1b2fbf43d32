#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 11_full_disk.sh - disks that are full, or become so during a migration, on either side; not
# by a fault point: /var/lib/reberth is a small file system of its own, and is filled

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/memory_lib.sh
. "$(dirname "$0")/memory_lib.sh"
readonly STATE=/var/lib/reberth MEMORY_MIB=48
e2e_begin victim
warm_up

# small_disk HOST SIZE: from now on until big_disk; what reberthd knows comes along.
small_disk() {
	lab daemon "$1" stop reberthd
	on "$1" sh -c "mkdir -p /run/lab/aside && cp -a $STATE/. /run/lab/aside/ && mount -t tmpfs -o size=$2,mode=700 small $STATE &&
		cp -a /run/lab/aside/. $STATE/ && rm -r /run/lab/aside" || bail "no small disk on $1"
	lab daemon "$1" start reberthd
}
big_disk() {
	lab daemon "$1" stop reberthd
	on "$1" sh -c "umount $STATE" || bail "the small disk of $1 is in use: $(on "$1" fuser -vm $STATE 2>&1)"
	lab daemon "$1" start reberthd
}
at_the_end() {
	local status=$? host
	# Below it is the host's own disk, which is a mount, too.
	on h2 sh -c 'rm -f /run/filler; mount -o remount,size=50% /run' 2>/dev/null
	for host in h1 h2; do
		[[ $(on "$host" stat -f -c %T "$STATE") != tmpfs ]] || on "$host" umount -l "$STATE"
	done
	(exit "$status")
	e2e_end
}
fill() { on "$1" dd if=/dev/zero of="${2:-$STATE}/filler" bs=64k >/dev/null 2>&1; }
unfill() { on "$1" rm -f "${2:-$STATE}/filler"; }

has_ended() { [[ $(api "$1" "/migrations/$id" | jq .active) == false ]]; }
is_known() { api "$1" "/migrations/$id" >/dev/null; }
rewritten() { docker_on h1 logs --tail 1 web 2>/dev/null | awk '$1 == "ok" { print $2 }'; }
has_rewritten() { (($(rewritten) + 0 >= $1)); }

# Memory that travels in rounds needs no disk: all of it shall go through images here.
# stop_at HOST POINT: a migration that waits there
stop_at() {
	arm "$1" "$2" pause 1
	id=$(on h1 reberth migrate --detach --strategy cold web h2)
	wait_for 20 fault_reached "$1" || bail "point $2 is not reached"
}
runs_on() {
	local at
	at=$(rewritten)
	check "$1: it runs on at the source" wait_for 10 has_rewritten $((at + 500))
	like "$1: its memory is right" "$(docker_on h1 logs --tail 1 web 2>&1)" "^ok "
	is "$1: the restart policy is back" "$(docker_on h1 inspect -f '{{.HostConfig.RestartPolicy.Name}}' web)" always
}

trap at_the_end EXIT
run_container h1 web --restart always victim /victims/dirtier $MEMORY_MIB 1000 || bail "no container"
wait_for 20 has_rewritten 500

# --- seen beforehand

small_disk h2 40m
note_inventory h1 h2
migrate h1 --strategy cold web h2
is "no room on the target: exit status" "$status" 5
like "no room on the target: says so" "$message" "too little disk space"
runs_on "no room on the target"
nothing_left "no room on the target" h1 h2
big_disk h2

# --- the source's disk is too small for the images

small_disk h1 16m
note_inventory h1 h2
migrate h1 --strategy cold web h2
is "images do not fit on the source: result" "$result" rolled-back
like "images do not fit on the source: exit status" "$status" '^1[01]$'
like "images do not fit on the source: says so" "$message" "[Nn]o space left"
runs_on "images do not fit on the source"
nothing_left "images do not fit on the source" h1 h2
big_disk h1

# --- the target's disk fills up meanwhile, to the last byte; later there is room again

small_disk h2 160m
note_inventory h1 h2
stop_at h2 target.log.end
fill h2
release h2
check "the target's disk fills up: the source ends it" wait_for 30 has_ended h1
is "the target's disk fills up: result" "$(api h1 "/migrations/$id" | jq -r .result)" rolled-back
is "the target's disk fills up: code" "$(api h1 "/migrations/$id" | jq -r .report.error.code)" no-space
like "the target's disk fills up: says so" "$(api h1 "/migrations/$id" | jq -r .reason)" "h2: .*([Nn]o space left|disk is full)"
runs_on "the target's disk fills up"
unfill h2
check "there is room again: the target ends it, too" wait_for 20 has_ended h2
nothing_left "the target's disk fills up" h1 h2
big_disk h2

# --- the source's disk fills up while the container is frozen

small_disk h1 160m
for point in source.arm.end source.freeze.end source.transfer.end source.restore.end; do
	note_inventory h1 h2
	stop_at h1 $point
	fill h1
	release h1
	check "the source's disk fills up at $point: it comes to an end" wait_for 30 has_ended h1
	result=$(api h1 "/migrations/$id" | jq -r .result)
	unfill h1
	wait_for 20 has_ended h1
	wait_for 20 has_ended h2
	if [[ $result == completed ]]; then
		# the journal found room for the few bytes that it needs
		pass "the source's disk fills up at $point: it was completed all the same"
		moves "and back" h2 web h1
	else
		runs_on "the source's disk fills up at $point"
	fi
	nothing_left "the source's disk fills up at $point" h1 h2
done
big_disk h1
docker_on h1 rm -f web >/dev/null

# --- the target's disk, or its /run, fills up while memory travels: in rounds, which need neither, and
# when it runs there already and its memory does not

readonly RUN=/run
small_run() { on "$1" sh -c 'mount -o remount,size=$(($(df -k --output=used /run | tail -n 1) + 4096))k /run'; }

# lives_in_one_place NAME: sets $here
lives_in_one_place() {
	local host places=()
	for host in h1 h2; do
		[[ $(container_state "$host" shifter) != running ]] || places+=("$host")
	done
	is "$1: it runs in one place" "${#places[@]} of 2" "1 of 2"
	here=${places[0]:-h1}
	goes_on "$1" "$here" "$at"
	is "$1: complaints" "$(complaints "$here" shifter)" ""
}

# fills_up NAME DIRECTORY HOST POINT STRATEGY: the move waits there until h2 has no room
fills_up() {
	at=$(steps h1 shifter)
	arm "$3" "$4" pause 1
	id=$(on h1 reberth migrate --detach --strategy "$5" shifter h2)
	wait_for 20 fault_reached "$3" || bail "point $4 is not reached"
	fill h2 "$2"
	release "$3"
}

# comes_to_an_end NAME: where it is then
comes_to_an_end() {
	check "$1: it comes to an end" wait_for 60 has_ended h1
	wait_for 20 has_ended h2 || fail "$1: on the target, too"
	lives_in_one_place "$1"
	diag "$1: it is on $here"
	nothing_left "$1" h1 h2
	[[ $here == h1 ]] || moves "$1, and back" h2 shifter h1
}

shifter_start h1 96
small_disk h2 160m
small_run h2
note_inventory h1 h2
for directory in $STATE $RUN; do
	for where in "h2 target.pages.end pre-copy" "h1 source.commit.begin pre-copy" "h1 source.commit.begin post-copy"; do
		name="$directory is full, $where"
		# shellcheck disable=SC2086 # three words
		fills_up "$name" $directory $where
		wait_for 5 has_ended h1 || diag "$name: it waits for room"
		unfill h2 "$directory"
		comes_to_an_end "$name"
	done
	# after GO there is no way back: it goes on there, and ends when there is room
	name="$directory is full, after GO"
	fills_up "$name" "$directory" h1 source.fetch.begin post-copy
	check "$name: it goes on there" wait_for 20 has_steps h2 "$(docker_on h2 ps -q)" $((at + 50)) # under a name for the time being
	unfill h2 "$directory"
	comes_to_an_end "$name"
done
big_disk h2
e2e_done
