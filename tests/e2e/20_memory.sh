#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 20_memory.sh - memory travels in rounds while the container runs, and the rest arrives after it runs
# on: a program whose mappings change all the time (tests/victims/shifter.c) knows what every page has
# to be
#
#   20_memory.sh [MOVES]     default 12

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/memory_lib.sh
. "$(dirname "$0")/memory_lib.sh"
readonly MOVES=${1:-12} MEBIBYTES=96
e2e_begin victim
warm_up
note_inventory h1 h2

# flags that follow a process's memory, on the host's side
followed() {
	local pid
	for pid in $(docker_on "$1" top "$2" -o pid | tail -n +2); do
		on "$1" awk '/^VmFlags:/ { for (i = 2; i <= NF; i++) if ($i == "um" || $i == "uw") n++ } END { print n + 0 }' "/proc/$pid/smaps"
	done | awk '{ n += $1 } END { print n + 0 }'
}
is_not_followed() { (($(followed "$1" "$2") == 0)); }
# of its first process: the others come and go. Docker's State.Pid is not that of one that has arrived.
descriptors() {
	local pid
	for pid in $(docker_on "$1" top "$2" -o pid | tail -n +2); do
		on "$1" sh -c 'grep -q "^NSpid:.*	1\$" "/proc/$1/status" && ls "/proc/$1/fd"' - "$pid" 2>/dev/null
	done | wc -l
}

shifter_start h1 $MEBIBYTES
before=$(descriptors h1 shifter)
at_least "descriptors that it has" "$before" 3

here=h1 there=h2
again=0
for ((move = 1; move <= MOVES; move++)); do
	at=$(steps $here shifter)
	# of three, two over one connection, one over several
	lanes=$((move % 3 ? 1 : 3))
	moves "move $move, connections: $lanes" $here shifter $there --connections $lanes || break
	[[ $(report_field .connections) == "$lanes" ]] || fail "move $move: connections" "$(report_field .connections)"
	[[ $(report_field .strategy) == pre-copy ]] || fail "move $move: in rounds" "strategy $(report_field .strategy)"
	((again += $(report_field '[.rounds[1:][].pages] | add // 0')))
	goes_on "move $move" $there "$at"
	if [[ $(container_state $there shifter) != running ]]; then
		diag "$(docker_on $there inspect -f '{{json .State}}' shifter 2>&1)"
		diag "$(complaints $there shifter)"
		diag "$(lab logs $there reberthd | tail -n 20)"
		bail "the shifter has ended"
	fi
	swap=$here here=$there there=$swap
done
at_least "rounds, of the last move" "$(report_field '.rounds | length')" 1
at_least "pages, of all moves, that were written meanwhile" "$again" 1
check "all memory is in place: nothing follows it any more" wait_for 10 is_not_followed $here shifter
is "its descriptors are those from before" "$(descriptors $here shifter)" "$before"
is "complaints" "$(complaints $here shifter)" ""

# --- a move that is given up leaves nothing in its memory

arm $here source.ports.begin fail 1
migrate $here shifter $there
is "a move that fails after the rounds" "$result" rolled-back
disarm $here
check "its memory is not followed any more" wait_for 5 is_not_followed $here shifter
arm $here source.ports.begin pause 1
id=$(api $here /migrations -d "{\"container\": \"shifter\", \"target\": \"$there\"}" | jq -r .id)
wait_for 20 fault_reached $here || fail "the rounds end"
check "while it is followed, that shows" eval "! is_not_followed $here shifter"
on $here kill -KILL "$(api $here "/migrations/$id" | jq -r .worker)"
disarm $here
check "a killed worker leaves its memory alone" wait_for 10 is_not_followed $here shifter
check "it goes on, and every page is right" verify $here
wait_for 20 no_active_migration $here

# --- one of several connections is lost in the middle of a round

lane_pids() { on "$1" pgrep -x reberthd-lane; }
sends_by_lanes() { lane_pids "$1" >/dev/null && (($(api "$here" "/migrations/$id" | jq '.progress.bytes_done // 0') > 8000000)); }
has_no_lanes() { ! lane_pids h1 >/dev/null && ! lane_pids h2 >/dev/null; }
sockets() { on "$1" sh -c 'ls /run/reberth/migrations/*.lanes 2>/dev/null'; }
for host in $here $there; do
	id=$(api $here /migrations -d "{\"container\": \"shifter\", \"target\": \"$there\", \"connections\": 3, \"bandwidth\": 20000000}" | jq -r .id)
	wait_for 20 sends_by_lanes "$host" || fail "lanes on $host" "$(api $here "/migrations/$id")"
	is "lanes on $host" "$(lane_pids "$host" | wc -l)" 3
	on "$host" kill -KILL "$(lane_pids "$host" | head -n 1)"
	wait_for 20 is_over $here "$id"
	is "a lane is killed on $host" "$(state_of $here "$id")" aborted
	like "a lane is killed on $host: says so" "$(api $here "/migrations/$id" | jq -r .report.reason)" "connection for memory"
	check "a lane is killed on $host: all of them end" wait_for 10 has_no_lanes
	is "a lane is killed on $host: sockets that are left" "$(sockets h1)$(sockets h2)" ""
	check "a lane is killed on $host: it goes on, and every page is right" verify $here
done
arm $here source.memory.lanes pause 1
id=$(api $here /migrations -d "{\"container\": \"shifter\", \"target\": \"$there\", \"connections\": 3}" | jq -r .id)
wait_for 20 fault_reached $here || fail "lanes are open"
isnt "there is a socket for lanes" "$(sockets $there)" ""
on $there kill -KILL "$(api $there "/migrations/$id" | jq -r .worker)"
disarm $here
wait_for 20 is_over $here "$id"
is "the target's worker is killed with lanes open" "$(state_of $here "$id")" aborted
check "the target's worker is killed: all lanes end" wait_for 10 has_no_lanes
wait_for 20 no_active_migration $there
is "the target's worker is killed: sockets that are left" "$(sockets $there)" ""
check "the target's worker is killed: it goes on, and every page is right" verify $here
docker_on $here rm -f shifter >/dev/null
nothing_left "shifter" h1 h2

# --- what is written faster than it travels

dirtier_start h1 dirty 64 200000
migrate h1 --bandwidth 20MiB --on-no-convergence abort dirty h2
is "too fast, abort" "$result" rolled-back
like "too fast, abort: says so" "$message" "faster than it can be sent"
# what is left is much, and travels over several connections, too
migrate h1 --bandwidth 20MiB --on-no-convergence force --connections 3 dirty h2
is "too fast, force" "$result" completed
is "too fast, force: connections" "$(report_field .connections)" 3
at_least "too fast, force: bytes of the last round" "$(report_field .last_bytes)" $((16 << 20))
at=$(steps h2 dirty)
check "it goes on" wait_for 20 has_steps h2 dirty $((at + 1000))
quota() { on "$1" sh -c 'cat /sys/fs/cgroup/cpu/docker/*/cpu.cfs_quota_us /sys/fs/cgroup/docker/*/cpu.max 2>/dev/null'; }
free=$(quota h2)
arm h2 source.ports.begin fail 1
migrate h2 --bandwidth 20MiB --on-no-convergence throttle dirty h1
is "too fast, throttle, and a failure" "$result" rolled-back
is "it has all its processor time again" "$(quota h2)" "$free"
disarm h2
dirtier_ends h2 dirty
nothing_left "dirty" h1 h2

# --- files of a tmpfs travel like memory: one that is mapped and written all the time, and others

# everything about both mounts that can be seen in the container; the size of a folder is none of it
# shellcheck disable=SC2016 # for the inner shell
seen() {
	docker_on "$1" exec files sh -c '
		sed -n "s,^[^/]*\(/.* \(/dev/shm\|/scratch\) [^-]*- .*\),\1," /proc/self/mountinfo
		cd /scratch && find . ! -type d -exec stat -c "%n %A %u %g %h %s %.9Y" {} + | sort
		find . -type d -exec stat -c "%n %A %u %g %.9Y" {} + | sort
		find . -type f -exec sha256sum {} + | sort; stat -f -c "%c %d" /scratch; df -k /scratch /dev/shm | sed "s,  *[0-9]* *[0-9]* *[0-9]*% , ,"'
}
goes_on_with_files() {
	check "$1: it goes on" wait_for 20 has_steps "$2" files $(($3 + 100))
	is "$1: files and mounts are the same" "$(seen "$2")" "$before"
}
# as many inodes as there are names
run_container h1 files --shm-size 80m --tmpfs /scratch:size=40m,nr_inodes=8,mode=1770,nosuid,nodev,exec victim \
	/victims/dirtier -f /dev/shm/memory 64 5000 || bail "no container"
# shellcheck disable=SC2016 # for the inner shell
docker_on h1 exec files sh -c 'cd /scratch && dd if=/dev/urandom of=big bs=1M count=20 2>/dev/null && mkdir -m 2711 sub &&
	dd if=/dev/urandom of=sub/sparse bs=1M count=2 seek=200 2>/dev/null && ln big sub/again && echo small >sub/small &&
	chown 7:8 sub/small && chmod 4755 sub/small && ln -s big link && mkfifo fifo && touch -d "2001-02-03 04:05:06" sub'
wait_for 20 has_steps h1 files 1000 || bail "dirtier does not work"
before=$(seen h1)
at=$(steps h1 files)
moves "files of a tmpfs, over several connections" h1 files h2 --connections 3
is "files: connections" "$(report_field .connections)" 3
at_most "ms of downtime, where packing them takes seconds" "$(report_field '.downtime_ms | floor')" 1000
goes_on_with_files "moved" h2 "$at"
arm h2 source.commit.begin fail 1
migrate h2 files h1
is "held on the target, and given up" "$result" rolled-back
disarm h2
goes_on_with_files "rolled back" h2 "$(steps h2 files)"
at=$(steps h2 files)
arm h2 source.commit.begin pause 1
on h2 reberth migrate --detach files h1 >/dev/null
check "held: READY is reached" wait_for 20 fault_reached h2
# shellcheck disable=SC2016 # for the inner shell
on h1 sh -c 'kill -KILL $(pgrep -f "criu [s]wrk")' || fail "there is a CRIU to kill"
disarm h2
check "restored once more: it is over" wait_for 20 no_active_migration h2
goes_on_with_files "restored once more" h1 "$at"
at=$(steps h1 files)
moves "files of a tmpfs, cold" h1 files h2 --strategy cold
goes_on_with_files "cold" h2 "$at"
at=$(steps h2 files)
moves "files of a tmpfs, post-copy" h2 files h1 --strategy post-copy
goes_on_with_files "post-copy" h1 "$at"
dirtier_ends h1 files
nothing_left "files" h1 h2

# --- the memory of several containers over several connections

dirtier_start h1 lead 48 2000
docker_on h1 run -d --name mate --network container:lead victim /victims/dirtier 48 2000 >/dev/null
wait_for 20 has_steps h1 mate 1000 || bail "the second dirtier does not work"
moves "a group over several connections" h1 lead h2 --group --connections 3
is "a group: connections" "$(report_field .connections)" 3
dirtier_ends h2 mate
dirtier_ends h2 lead
nothing_left "a group" h1 h2
e2e_done
