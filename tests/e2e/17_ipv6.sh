#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 17_ipv6.sh - a container in a network with IPv6 moves: connections stay, datagrams arrive once and
# in order, nothing is said in its name before GO, and its new place is announced after it
#
# The network `six` has both families and is one segment on all hosts, as `lan` is; h3 itself has an
# address in it.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# shellcheck source=tools/lab/dualstack.sh
. "$E2E_TREE/tools/lab/dualstack.sh"

six_end() {
	! lab pid h2 >/dev/null 2>&1 || on h2 nft delete table netdev six_test 2>/dev/null
	dualstack_end "${HOSTS[@]}"
}
e2e_begin victim
e2e_tidy() { six_end; }
six_end
warm_up
note_inventory h1 h2 h3
dualstack_begin "${HOSTS[@]}" || bail "no network with IPv6"

# Its addresses are of no host's range: while it is elsewhere nobody is given them.
docker_on h1 run -d --name game --restart always --network six --ip 10.89.0.77 --ip6 fd00:89::77 victim /victims/seqd -6 7000 /proc/self/cgroup >/dev/null || bail "no container"
inspect_game() { docker_on "$1" inspect -f "{{.NetworkSettings.Networks.six.$2}}" game; }
ip6=$(inspect_game h1 GlobalIPv6Address) ip4=$(inspect_game h1 IPAddress) mac=$(inspect_game h1 MacAddress)
inside() { on "$1" nsenter --target "$(docker_on "$1" inspect -f '{{.State.Pid}}' "$2")" --net "${@:3}"; }

# Addresses with all their flags: tentative and dadfailed would show.
addresses() { inside "$1" "$2" ip -6 -o address show dev eth0 | sed 's/.*inet6 //; s/ *\\.*//' | sort; }
link_local() { addresses "$1" "$2" | sed -n 's,^\(fe80:[^/]*\)/.*,\1,p'; }
usable() { [[ -n $(link_local "$1" game) && $(addresses "$1" game) != *tentative* ]]; }
wait_for 10 usable h1 || bail "IPv6 does not come up: $(addresses h1 game)"
addresses=$(addresses h1 game) local6=$(link_local h1 game)
in_background probe h3 "$VICTIMS/witness" -t -c -s 2 "$ip6" 7000
wait "$last_pid" || bail "seqd does not answer at $ip6: $(cat "$E2E_WORK"/probe.*)"

# --- what says whether the container is heard on the segment: frames with its address that leave h2

count_frames() {
	on h2 nft -f - <<-END
		table netdev six_test {
			counter said { }
			chain out { type filter hook egress device "lan0" priority 0; ether saddr $mac counter name said; }
		}
	END
}
frames_said() { on h2 nft -j list counter netdev six_test said | jq '.nftables[] | .counter.packets? // empty'; }
has_said() { (($(frames_said) > 0)); }

count_frames || bail "no counter"
# A neighbour that nobody else knows, and one peer that has a wrong idea of the container, and
# nothing to say to it.
inside h1 game ip -6 neigh add fd00:89::dead lladdr 02:00:00:00:de:ad dev eth0 nud stale
inside h1 game ip neigh add 10.89.9.99 lladdr 02:00:00:00:be:ef dev eth0 nud stale
arm h2 target.go.begin pause 1
in_background move h1 reberth migrate --json game h2
move_pid=$last_pid
check "the target stands before GO" wait_for 30 fault_reached h2
is "nothing was said in its name there" "$(frames_said)" 0
placeholder=$(docker_on h2 ps --filter name=reberth- --format '{{.Names}}')
# Its link-local address can be used at once: detection of duplicates would take a second or two.
is "its addresses can be used before GO" "$(addresses h2 "$placeholder")" "$addresses"
on h3 ip neigh replace "$ip6" lladdr 02:00:00:00:66:66 dev br-six nud stale
on h3 ip neigh replace "$ip4" lladdr 02:00:00:00:66:66 dev br-six nud stale
on h3 ip neigh replace "$local6" lladdr 02:00:00:00:66:66 dev br-six nud stale
disarm h2
wait "$move_pid"
is "moved" "$?" 0
check "it is heard after GO" wait_for 5 has_said
knows_it() { [[ $(on h3 ip neigh show "$1" dev br-six) == *" lladdr $mac "* ]]; }
for address in "$ip4" "$ip6" "$local6"; do
	check "a peer was told of the place of $address" wait_for 5 knows_it "$address" ||
		diag "$(on h3 ip neigh show "$address")"
done
is "it has its addresses" "$(addresses h2 game)" "$addresses"
is "Docker knows the address" "$(inspect_game h2 GlobalIPv6Address)" "$ip6"
like "it knows its neighbours" "$(inside h2 game ip neigh show dev eth0)" "fd00:89::dead lladdr 02:00:00:00:de:ad"
like "and those of IPv4" "$(inside h2 game ip neigh show dev eth0)" "10.89.9.99 lladdr 02:00:00:00:be:ef"
is "the kernel detects duplicates as before" \
	"$(inside h2 game cat /proc/sys/net/ipv6/conf/{default,eth0}/accept_dad | xargs)" "1 1"
on h2 nft delete table netdev six_test

# --- connections and streams of datagrams, from a third host, beside it and where it goes

readonly INTERVAL_MS=40
declare -A pids=()
witness() { # NAME HOST ARGUMENT...
	local name=$1 host=$2
	shift 2
	if [[ $host == h3 ]]; then
		in_background "$name" h3 "$VICTIMS/witness" "$@" 7000
	else
		in_background "$name" "$host" docker run --rm --init --name "$name" --network six victim /victims/witness "$@" 7000
	fi
	pids[$name]=$last_pid
}
begin_witnesses() {
	pids=()
	witness third h3 -i $INTERVAL_MS "$ip6"
	witness beside h2 -i $INTERVAL_MS "$ip6"
	witness there h1 -i $INTERVAL_MS "$ip6"
	witness tcp h3 -t -i 2 "$ip6"
	witness local h3 -i $INTERVAL_MS "$local6%br-six"
	witness four h3 -i $INTERVAL_MS "$ip4"
	pause 1.5
}
end_witnesses() {
	docker_on h2 kill -s TERM beside >/dev/null
	docker_on h1 kill -s TERM there >/dev/null
	kill "${pids[third]}" "${pids[tcp]}" "${pids[local]}" "${pids[four]}"
	for name in third beside there tcp local four; do
		wait "${pids[$name]}"
		is "$1: witness '$name' is content" "$?" 0
		seen=$(<"$E2E_WORK/$name.out")
		diag "$name: $seen $(tail -n 3 "$E2E_WORK/$name.err")"
		at_least "$1, $name: it asked" "$(jq .requests <<<"$seen")" 20
		is "$1, $name: none lost" "$(jq '.requests - .answers' <<<"$seen")" 0
		is "$1, $name: none twice" "$(jq .doubles <<<"$seen")" 0
		[[ $1 != moved ]] || is "$1, $name: none overtaken" "$(jq .overtaken <<<"$seen")" 0
	done
}

frames=0 here=h2 there=h1
begin_witnesses
for ((i = 0; i < 2; i++)); do
	moves "move $((i + 1))" "$here" game "$there" || break
	((frames += $(report_field .frames)))
	read -r here there <<<"$there $here"
	pause 0.5
done
end_witnesses "moved"
at_least "frames were carried over" "$frames" 4

begin_witnesses
for point in source.dump.end source.commit.begin; do
	arm "$here" $point fail 1
	migrate "$here" game "$there"
	isnt "rolled back at $point" "$status" 0
	disarm "$here"
	pause 0.5
done
end_witnesses "rolled back"
# --- what CRIU cannot do is said before anything is touched

in_background local h3 "$VICTIMS/witness" -t -i 100 "$local6%br-six" 7000
pids[local]=$last_pid
is_connected() { [[ $(inside "$here" game ss -Htn state established src "[$local6]" sport 7000) ]]; }
wait_for 10 is_connected
migrate "$here" game "$there"
is "a connection over a link-local address is refused" "$status" 5
like "with the reason" "$message" "1 TCP connection of the container uses a link-local address"
finish "${pids[local]}"
is "and goes on" "$?" 0

is "it has its addresses after that" "$(addresses "$here" game)" "$addresses"

docker_on "$here" rm -f game >/dev/null
six_end
nothing_left "IPv6" h1 h2 h3
e2e_done
