#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 18_macvlan.sh - a container in a network of driver macvlan moves: its siblings on all hosts, which
# reach each other past everything on the host, keep their connections and lose no datagram; nothing
# is said in its name before GO, not even to siblings
#
# The network `mac` has a parent of its own on each host, mac0, which ends in the segment `lan`.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mac_begin() {
	local host number
	for host in "${HOSTS[@]}"; do
		number=${host#h}
		lab plug "$host" mac0 || return
		docker_on "$host" network create --driver macvlan --opt parent=mac0 \
			--subnet 10.90.0.0/16 --gateway 10.90.0.250 --ip-range "10.90.$number.0/24" mac >/dev/null || return
	done
}
mac_end() {
	local host
	for host in "${HOSTS[@]}"; do
		lab pid "$host" >/dev/null 2>&1 || continue
		on "$host" nft delete table netdev mac_test 2>/dev/null
		docker_on "$host" network rm mac >/dev/null 2>&1
		on "$host" ip link del mac0 2>/dev/null
	done
}
e2e_begin victim
e2e_tidy() { mac_end; }
mac_end
warm_up
note_inventory h1 h2 h3
mac_begin || bail "no network of driver macvlan"
in_mac() { docker_on "$1" run -d --name "$2" --network mac "${@:3}" >/dev/null; }
inside() { on "$1" nsenter --target "$(docker_on "$1" inspect -f '{{.State.Pid}}' "$2")" --net "${@:3}"; }

# Its address is of no host's range: while it is elsewhere nobody is given it.
in_mac h1 game --restart always --ip 10.90.0.77 victim /victims/seqd 7000 /proc/self/cgroup || bail "no container"
readonly ip=10.90.0.77
mac=$(docker_on h1 inspect -f '{{.NetworkSettings.Networks.mac.MacAddress}}' game)

# --- before GO nothing is heard of it on h2, neither by a sibling there nor on the segment

in_mac h2 sibling victim sleep 600 || bail "no sibling"
device_shows() { inside "$1" game ip -j link show dev eth0 | jq -r ".[0].$2"; }
count_frames() {
	inside h2 sibling nft -f - <<-END
		table netdev mac_test {
			counter said { }
			chain in { type filter hook ingress device "eth0" priority 0; ether saddr $mac counter name said; }
		}
	END
	on h2 nft -f - <<-END
		table netdev mac_test {
			counter said { }
			chain out { type filter hook egress device "mac0" priority 0; ether saddr $mac counter name said; }
		}
	END
}
said() { jq '.nftables[] | .counter.packets? // empty'; }
frames_said() { echo "$(on h2 nft -j list counter netdev mac_test said | said) $(inside h2 sibling nft -j list counter netdev mac_test said | said)"; }
has_said() { [[ $(frames_said) =~ ^[1-9][0-9]*\ [1-9] ]]; }
count_frames || bail "no counters"
# The sibling on h2 reaches the one on h1 while that one's placeholder is there already.
reaches() { docker_on h2 exec sibling sh -c "echo 1 | timeout 1 nc $ip 7000" 2>/dev/null | grep -q '^1 '; }
check "a sibling on the target reaches it" wait_for 10 reaches
arm h1 source.freeze.begin pause 1
arm h2 target.go.begin pause 1
in_background move h1 reberth migrate --json game h2
move_pid=$last_pid
check "the source stands before the freeze" wait_for 30 fault_reached h1
placeholder=$(docker_on h2 ps --filter name=reberth- --format '{{.Names}}')
isnt "the target has a placeholder" "$placeholder" ""
check "a sibling on the target reaches it still" wait_for 5 reaches
# What it said until here came from h1.
on h2 nft reset counter netdev mac_test said >/dev/null
inside h2 sibling nft reset counter netdev mac_test said >/dev/null
release h1
check "the target stands before GO" wait_for 30 fault_reached h2
is "nothing was said in its name" "$(frames_said)" "0 0"
disarm h1 h2
wait "$move_pid"
is "moved" "$?" 0
check "it is heard after GO, on the segment and by its sibling" wait_for 5 has_said
is "it has its hardware address" "$(device_shows h2 address)" "$mac"
is "and no trace of another" "$(device_shows h2 ifalias)" null
check "its sibling reaches it" wait_for 5 reaches
on h2 nft delete table netdev mac_test
docker_on h2 rm -f sibling >/dev/null

# --- connections and streams of datagrams, from siblings on all three hosts

readonly INTERVAL_MS=40
declare -A pids=()
witness() { # NAME HOST ARGUMENT...
	in_background "$1" "$2" docker run --rm --init --name "$1" --network mac victim /victims/witness "${@:3}" "$ip" 7000
	pids[$1]=$last_pid
}
readonly WITNESSES=(third:h3 beside:h2 there:h1 tcp-third:h3 tcp-beside:h2 tcp-there:h1)
begin_witnesses() {
	local each kind
	for each in "${WITNESSES[@]}"; do
		kind=(-i "$INTERVAL_MS")
		[[ $each != tcp* ]] || kind=(-t -i 2)
		witness "${each%:*}" "${each#*:}" "${kind[@]}"
	done
	pause 1.5
}
end_witnesses() { # PREFIX SPARED
	local each name
	for each in "${WITNESSES[@]}"; do docker_on "${each#*:}" kill -s TERM "${each%:*}" >/dev/null; done
	for each in "${WITNESSES[@]}"; do
		name=${each%:*}
		wait "${pids[$name]}"
		is "$1: witness '$name' is content" "$?" 0
		seen=$(<"$E2E_WORK/$name.out")
		diag "$name: $seen $(tail -n 3 "$E2E_WORK/$name.err")"
		at_least "$1, $name: it asked" "$(jq .requests <<<"$seen")" 20
		is "$1, $name: none lost" "$(jq '.requests - .answers' <<<"$seen")" 0
		is "$1, $name: none twice" "$(jq .doubles <<<"$seen")" 0
	done
}

frames=0 here=h2 there=h1
begin_witnesses
for ((i = 0; i < 4; i++)); do
	moves "move $((i + 1))" "$here" game "$there" || break
	((frames += $(report_field .frames)))
	read -r here there <<<"$there $here"
	pause 0.5
done
end_witnesses "moved"
at_least "frames were carried over" "$frames" 8

begin_witnesses
for point in source.dump.end source.restore.end source.commit.begin; do
	arm "$here" $point fail 1
	migrate "$here" game "$there"
	isnt "rolled back at $point" "$status" 0
	disarm "$here"
	pause 0.5
done
end_witnesses "rolled back"
is "it has its hardware address after that" "$(device_shows "$here" address)" "$mac"

docker_on "$here" rm -f game >/dev/null
mac_end
nothing_left "macvlan" h1 h2 h3
e2e_done
