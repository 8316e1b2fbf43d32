#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 06_there_and_back.sh - ten times there and back, then round over a third host, with a program that
# counts and a connection that stays open; no trace is left on any of them, nor does anything grow

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
readonly TIMES=10
e2e_begin victim
warm_up
note_inventory h1 h2 h3

run_container h1 loop --restart always --volume data:/data victim \
	sh -c '/victims/seqd 7000 /proc/self/cgroup & echo kept >/data/file; exec /victims/looper 20' || bail "no container"
ip=$(container_ip h1 loop)
wait_for 10 has_log_lines h1 loop 20 || bail "the looper does not count"
described=$(of_container "$(inventory h1)" loop)
configured=$(same_everywhere h1 loop)

in_background tcp h3 "$VICTIMS/witness" -t -i 5 "$ip" 7000
tcp=$last_pid
in_background udp h3 "$VICTIMS/witness" -i 10 "$ip" 7000
udp=$last_pid

open_files() { on "$1" bash -c 'ls /proc/$(pgrep -xo reberthd)/fd | wc -l'; }
files_before=$(open_files h1)

downtimes=()
go() {
	migrate "$1" loop "$2"
	downtimes+=("$(report_field '.downtime_ms // 0')")
	((status == 0)) || fail "round $round: $1 to $2" "$message"
	return "$status"
}
gone_wrong=0
for ((round = 1; round <= TIMES; round++)); do
	if ! { go h1 h2 && go h2 h1; }; then
		gone_wrong=1
		break
	fi
done
((gone_wrong)) || pass "$TIMES times there and back"
if ((!gone_wrong)); then
	moves "round, 1 of 3" h1 loop h2 && moves "round, 2 of 3" h2 loop h3 && moves "round, 3 of 3" h3 loop h1
fi
diag "downtimes in ms: ${downtimes[*]}"

at=$(log_lines h1 loop)
check "it still counts" wait_for 5 has_log_lines h1 loop $((at + 20))
numbers=$(docker_on h1 logs loop 2>&1)
is "docker logs has all numbers from 0, in order, none twice" "$numbers" "$(seq 0 $(($(wc -l <<<"$numbers") - 1)))"
is "the volume moved along" "$(docker_on h1 exec loop cat /data/file)" kept
is "the configuration is the same after $((2 * TIMES + 3)) moves" "$(same_everywhere h1 loop)" "$configured"
is "the host sees the same container" "$(of_container "$(inventory h1)" loop)" "$described"

finish "$tcp"
is "the witness with the open connection is content" "$?" 0
diag "tcp: $(<"$E2E_WORK/tcp.out") $(tail -n 3 "$E2E_WORK/tcp.err")"
finish "$udp"
is "the witness by datagrams is content" "$?" 0
diag "udp: $(<"$E2E_WORK/udp.out") $(tail -n 3 "$E2E_WORK/udp.err")"
is "connections lost" "$(jq .resets "$E2E_WORK/tcp.out")" 0
is "answers twice" "$(jq .repeats "$E2E_WORK/udp.out")" 0
is "steps back" "$(jq .steps_back "$E2E_WORK/udp.out")" 0
at_most "open descriptors of reberthd on h1" "$(open_files h1)" $((files_before + 1))
nothing_left "there and back" h1 h2 h3
docker_on h1 rm -fv loop >/dev/null
docker_on h1 volume rm data >/dev/null
nothing_left "and removed" h1 h2 h3
e2e_done
