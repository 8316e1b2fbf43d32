#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 12_switchover.sh - what arrives while the container cannot hear it: not a datagram is lost, none is
# heard twice, none overtakes another, wherever the sender is; and nobody waits for a timer

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up
note_inventory h1 h2

readonly MOVES=4
# bench/switchover has the pace of a game server; here slow machines get some time
readonly INTERVAL_MS=40

run_container h1 game --restart always victim /victims/seqd 7000 /proc/self/cgroup || bail "no container"
ip=$(container_ip h1 game)
answers() { on h3 bash -c "exec 3<>/dev/tcp/$1/7000" 2>/dev/null; }
wait_for 10 answers "$ip" || bail "seqd does not answer"

# One sender on a third host, one beside the container at first, one where it goes.
declare -A pids=()
witness() { # NAME HOST
	if [[ $2 == h3 ]]; then
		in_background "$1" h3 "$VICTIMS/witness" -i $INTERVAL_MS "$ip" 7000
	else
		in_background "$1" "$2" docker run --rm --init --name "$1" --network lan victim /victims/witness -i $INTERVAL_MS "$ip" 7000
	fi
	pids[$1]=$last_pid
}
begin_witnesses() {
	witness third h3
	witness beside h1
	witness there h2
	in_background tcp h3 "$VICTIMS/witness" -t -i 2 "$ip" 7000
	pids[tcp]=$last_pid
	pause 1.5
}
end_witnesses() {
	docker_on h1 kill -s TERM beside >/dev/null
	docker_on h2 kill -s TERM there >/dev/null
	kill "${pids[third]}" "${pids[tcp]}"
	for name in third beside there tcp; do
		wait "${pids[$name]}"
		is "$1: witness '$name' is content" "$?" 0
		seen=$(<"$E2E_WORK/$name.out")
		diag "$name: $seen $(tail -n 3 "$E2E_WORK/$name.err")"
		is "$1, $name: none lost" "$(jq '.requests - .answers' <<<"$seen")" 0
		is "$1, $name: none twice" "$(jq .doubles <<<"$seen")" 0
		# After a roll-back what was caught is heard some 0.1 ms after what is new.
		[[ $1 != moved ]] || is "$1, $name: none overtaken" "$(jq .overtaken <<<"$seen")" 0
	done
}

frames=0
begin_witnesses
here=h1 there=h2
for ((i = 0; i < MOVES; i++)); do
	moves "move $((i + 1))" "$here" game "$there" || break
	((frames += $(report_field .frames)))
	read -r here there <<<"$there $here"
	pause 0.5
done
end_witnesses "moved"
at_least "frames were carried over" "$frames" $((MOVES * 2))

# --- a roll-back late in the switch-over: what was caught is heard at the source

begin_witnesses
for point in source.dump.end source.restore.end source.commit.begin; do
	arm h1 $point fail 1
	migrate h1 game h2
	isnt "rolled back at $point" "$status" 0
	disarm h1
	pause 0.5
done
end_witnesses "rolled back"

docker_on h1 rm -f game >/dev/null
nothing_left "switch-over" h1 h2
e2e_done
