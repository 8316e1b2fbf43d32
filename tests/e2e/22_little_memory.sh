#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 22_little_memory.sh - reberthd on the target may use less memory than what is to arrive takes, by a limit
# of its cgroup, as a service manager sets it: that is refused, and where the limit comes later the kernel
# kills what goes beyond it

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/memory_lib.sh
. "$(dirname "$0")/memory_lib.sh"
readonly MEBIBYTES=320 LIMIT_MIB=64 LAB_CGROUP=reberth-lab${LAB_NAME:+-$LAB_NAME}
e2e_begin victim
warm_up

# What init.sh puts the daemons into with cgroups of version 2; with version 1 they are in the root.
with_limit() { on h2 bash -c 'directory=/sys/fs/cgroup/memory/$1 knob=memory.limit_in_bytes events=memory.oom_control
	usage=memory.usage_in_bytes total=total_ none=-1
	[[ ! -e /sys/fs/cgroup/cgroup.controllers ]] || directory=/sys/fs/cgroup/$1 knob=memory.max events=memory.events \
		usage=memory.current total="" none=max
	'"$1" - "$LAB_CGROUP/h2/system" "${@:2}"; }
# limit_memory MEBIBYTES: of reberthd and of what it starts from now on, beyond what they have and the
# kernel cannot take back
limit_memory() {
	with_limit '[[ $knob == memory.max ]] || { mkdir -p $directory && cut -d" " -f1 /run/lab/reberthd.pid >$directory/cgroup.procs; } || exit
		used=$(<$directory/$usage) || exit
		while read -r key bytes; do
			[[ $key != "$total"active_file && $key != "$total"inactive_file ]] || ((used -= bytes))
		done <$directory/memory.stat
		echo $((used + ($2 << 20))) >$directory/$knob' "$1" 2>/dev/null
}
unlimit_memory() { with_limit 'echo $none >$directory/$knob'; }
oom_kills() { with_limit 'cat $directory/$events' | awk '$1 == "oom_kill" { print $2 }'; }
e2e_tidy() {
	lab daemon h2 stop reberthd
	with_limit 'if [[ $knob == memory.max ]]; then echo max >$directory/$knob; else rmdir $directory; fi' 2>/dev/null
	lab daemon h2 start reberthd
}

# The kernel may end the daemon itself, which a service manager starts again.
both_are_over() {
	reberthd_answers h2 || lab daemon h2 start reberthd >/dev/null 2>&1
	is_over h1 "$id" && is_over h2 "$id"
}
# begin STRATEGY: sets $id, $at and $killed
begin() {
	at=$(steps h1 shifter)
	killed=$(oom_kills)
	id=$(api h1 /migrations -d "{\"container\": \"shifter\", \"target\": \"h2\", \"strategy\": \"$1\"}" | jq -r .id)
}
comes_to_an_end() { check "$1: it comes to an end on both sides" wait_for 60 both_are_over; }
result_of() { api "$1" "/migrations/$id" | jq -r .result; }

if ! limit_memory $LIMIT_MIB; then
	skip "little memory on the target" "there are no limits of memory here"
	e2e_done
fi
note_inventory h1 h2
shifter_start h1 $MEBIBYTES
wait_for 20 has_steps h1 shifter 1500 || bail "the shifter does not work"

# --- what waits there until the container runs is refused at once

killed=$(oom_kills)
for strategy in pre-copy hybrid; do
	migrate h1 --strategy $strategy shifter h2
	is "$strategy: exit status" "$status" 5
	like "$strategy: why" "$message" "reberthd on node 'h2' is not allowed enough memory: [0-9]{3} MiB needed, the limit of its cgroup leaves [3-6][0-9] MiB"
done
is "refused: the kernel ended nobody" "$(oom_kills)" "$killed"

# --- a limit that is set later: rounds fill the store there before the container is frozen, and whoever
# holds it is killed

unlimit_memory
arm h2 target.pages.limited pause 1
begin pre-copy
check "pre-copy: without a limit it begins" wait_for 30 fault_reached h2
limit_memory $LIMIT_MIB
release h2
comes_to_an_end pre-copy
disarm h2
at_least "pre-copy: the kernel ended who had too much" "$(($(oom_kills) - killed))" 1
is "pre-copy: result" "$(result_of h1) $(result_of h2)" "rolled-back rolled-back"
is "pre-copy: it is nowhere else" "$(docker_on h2 ps -aq)" ""
goes_on "pre-copy" h1 "$at"
nothing_left "pre-copy" h1 h2

# --- with post-copy what arrives is handed on at once: it needs no more than that

limit_memory $LIMIT_MIB # had it been started again
begin post-copy
comes_to_an_end post-copy
is "post-copy: the kernel ended nobody" "$(oom_kills)" "$killed"
is "post-copy: result" "$(result_of h1) $(result_of h2)" "completed completed"
at_least "post-copy: bytes that were left, more than what is allowed there" \
	"$(api h1 "/migrations/$id" | jq .report.left_bytes)" $(((LIMIT_MIB << 20) + 1))
is "post-copy: it is nowhere else" "$(docker_on h1 ps -aq)" ""
goes_on "post-copy" h2 "$at"
is "complaints" "$(complaints h2 shifter)" ""
nothing_left "post-copy" h1 h2
docker_on h2 rm -f shifter >/dev/null
e2e_done
