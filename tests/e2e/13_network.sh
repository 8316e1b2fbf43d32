#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 13_network.sh - `reberth network`: one Docker network over three hosts. Addresses that never clash,
# everybody reaches everybody, containers that move keep connections, address and default route;
# and what cannot be is refused before anything is changed

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up

readonly NET=net13 NODES=h1,h2,h3
readonly CREATE=(reberth network create "$NET" --nodes "$NODES")

# --- what stands in the way

refused() { # NAME WHAT COMMAND...
	local name=$1 what=$2 output status=0
	shift 2
	output=$(on h1 "$@" 2>&1) || status=$?
	isnt "$name: refused" "$status" 0
	like "$name: says why" "$output" "$what"
	for host in "${HOSTS[@]}"; do
		is "$name: nothing was changed on $host" "$(docker_on "$host" network ls -q -f "name=^$NET\$")$(on "$host" reberth network ls -q)" ""
	done
}
refused "overlap with a Docker network" "10.88.64.0/24 overlaps .* of lan on node 'h3'" "${CREATE[@]}" --subnet 10.88.64.0/24
on h2 ip route add 10.23.4.0/24 dev eth0
refused "overlap with a route" "overlaps the route 10.23.4.0/24 of eth0 on node 'h2'" "${CREATE[@]}" --subnet 10.23.0.0/16
on h2 ip route del 10.23.4.0/24 dev eth0
on h2 ip link set eth0 mtu 1300
refused "MTU too small" "MTU of node 'h2' leaves 1250" "${CREATE[@]}" --subnet 10.23.0.0/24
on h2 ip link set eth0 mtu 1500
refused "MTU too large" "between 1280 and 1450" "${CREATE[@]}" --subnet 10.23.0.0/24 --mtu 1451
lab cut h3
refused "unreachable node" "h3 .*cannot be reached" "${CREATE[@]}" --subnet 10.23.0.0/24
lab heal h3
refused "subnet too small" "too small for 5 nodes" reberth network create "$NET" --nodes h1,h2,h3,h4,h5 --subnet 10.23.0.0/28

# --- a maker that is killed leaves nothing

note_inventory "${HOSTS[@]}"
arm h1 network.create.member kill 1
on h1 "${CREATE[@]}" --subnet 10.23.0.0/24 >/dev/null 2>&1 && fail "the command fails when its worker is killed"
disarm h1
for host in "${HOSTS[@]}"; do
	wait_for 30 inventory_is_noted "$host" || is "a killed maker left something on $host" "$seen" "${noted[$host]}"
done
pass "a killed maker's network goes by itself"

# --- it is made

check "created" on h1 "${CREATE[@]}" --subnet 10.23.0.0/24
is "MTU leaves room for VXLAN" "$(on h2 reberth network inspect "$NET" --json | jq .mtu)" 1450
is "up on all nodes" "$(on h3 reberth network inspect "$NET" --json | jq -c '[.members[].state]')" '["up","up","up"]'
refused_name=$(on h2 "${CREATE[@]}" --subnet 10.24.0.0/24 2>&1)
like "the same name again is refused" "$refused_name" "has a network '$NET'"

# shellcheck source=tests/e2e/network_lib.sh
. "$E2E_DIR/network_lib.sh"
all_reach_all "after create"

# --- names: answers are those of a name server, and what it does not know it asks the host's

ask_for() { docker_on "$1" exec "c-$1" nslookup "$2" 2>&1; }
like "nslookup of a container on another host" "$(ask_for h1 c-h3)" "Address: ${ip[h3]}"
like "a name that nobody has" "$(ask_for h1 nobody)" "can't find nobody"
in_background upstream h1 dnsmasq --keep-in-foreground --conf-file=/dev/null --no-hosts --no-resolv --bind-interfaces \
	--listen-address=10.77.0.1 --pid-file=/run/upstream.pid --user=root --address=/host.test/192.0.2.7
forwarded() { [[ $(ask_for h1 www.host.test) == *"Address: 192.0.2.7"* ]]; }
check "other names are asked for at the host's name server" wait_for 10 forwarded
on h1 sh -c 'kill "$(cat /run/upstream.pid)"; rm -f /run/upstream.pid'

# --- addresses: more than there are in a chunk (16), on three hosts at once

for host in "${HOSTS[@]}"; do
	in_background "many-$host" "$host" bash -c "for ((i = 0; i < 8; i++)); do docker create --name many-$host-\$i --network $NET victim sleep 1000; docker start many-$host-\$i; done >/dev/null"
	many+=("$last_pid")
done
wait "${many[@]}"
addresses() {
	for host in "${HOSTS[@]}"; do
		docker_on "$host" network inspect "$NET" | jq -r '.[0].Containers[].IPv4Address'
	done
}
is "8 more on each host, no address twice" "$(addresses | sort -u | wc -l)" 27
for host in "${HOSTS[@]}"; do
	on "$host" sh -c "docker ps -aq -f name=many- | xargs docker rm -f" >/dev/null &
done
wait

# --ip in another node's part of the subnet
docker_on h1 run -d --name fixed --network "$NET" --ip 10.23.0.40 victim sleep 1000 >/dev/null
is "an address of another node's part" "$(network_ip h1 fixed)" 10.23.0.40
output=$(docker_on h3 run --rm --network "$NET" --ip 10.23.0.40 victim true 2>&1) && fail "an address that is taken elsewhere is refused"
like "an address that is taken elsewhere is refused" "$output" "in use on node 'h1'"
docker_on h1 rm -f fixed >/dev/null
address_is_free() { docker_on h3 run --rm --network "$NET" --ip 10.23.0.40 victim true >/dev/null 2>&1; }
check "given back, another host may have it" wait_for 15 address_is_free

# --- a container that moves

docker_on h1 run -d --name game --restart always --network "$NET" victim /victims/seqd 7000 /proc/self/cgroup >/dev/null
game=$(network_ip h1 game)
wait_for 10 host_reaches h3 "$game" || bail "seqd does not answer"
declare -A pids=()
witness() { # NAME HOST OPTION...: a client in a container
	in_background "$1" "$2" docker run --rm --init --name "$1" --network "$NET" victim /victims/witness "${@:3}" "$game" 7000
	pids[$1]=$last_pid
}
witness beside h1 -t -i 2
witness there h2 -t -i 2
witness third h3 -t -i 2
for host in h1 h3; do
	in_background "host-$host" "$host" "$VICTIMS/witness" -t -i 2 "$game" 7000
	pids[host-$host]=$last_pid
done
pause 1
here=h1
for there in h2 h3 h1; do
	moves "over the network" "$here" game "$there" || break
	check "its default route works on $there" container_pings "$there" game 10.23.0.1
	for host in "${HOSTS[@]}"; do
		wait_for 10 container_pings "$host" "c-$host" game || fail "its name is known on $host while it is on $there"
	done
	check "and leads out" container_pings "$there" game 10.77.0.${there#h}
	is "address kept" "$(network_ip "$there" game)" "$game"
	for host in "${HOSTS[@]}"; do
		host_reaches "$host" "$game" || fail "host $host reaches it on $there"
	done
	# its address is not handed out where it came from
	other=$(docker_on "$here" run -d --network "$NET" victim sleep 1000)
	isnt "its address is not given to another on $here" "$(network_ip "$here" "$other")" "$game"
	docker_on "$here" rm -f "$other" >/dev/null
	here=$there
done
docker_on h1 kill -s TERM beside >/dev/null
docker_on h2 kill -s TERM there >/dev/null
docker_on h3 kill -s TERM third >/dev/null
kill "${pids[host-h1]}" "${pids[host-h3]}"
for name in beside there third host-h1 host-h3; do
	wait "${pids[$name]}"
	is "client '$name' is content" "$?" 0
	seen=$(<"$E2E_WORK/$name.out")
	diag "$name: $seen $(tail -n 3 "$E2E_WORK/$name.err")"
	is "$name: no answer is missing, none came twice" "$(jq '(.requests - .answers) + .doubles' <<<"$seen")" 0
done

arm h1 source.commit.begin fail 1
migrate h1 game h2
isnt "rolled back" "$status" 0
disarm h1
check "it is still reached" host_reaches h2 "$game"
moves "after a roll-back" h1 game h3

# --- what is connected or disconnected during a move would be undone by it

# cancelled POINT CONNECT|DISCONNECT: to or from network lan, while the move stands at a fault point
cancelled() {
	arm h3 "$1" pause 1
	in_background move h3 reberth migrate game h2
	wait_for 30 fault_reached h3 || fail "$1 is reached"
	docker_on h3 network "$2" lan game
	release h3
	wait "$last_pid"
	is "$2 at $1: exit status" "$?" 13
	like "$2 at $1: it says why" "$(<"$E2E_WORK/move.err")" "'game' was connected to a network or disconnected"
	disarm h3
	check "$2 at $1: it is still reached" host_reaches h2 "$game"
	is "$2 at $1: it is nowhere else" "$(docker_on h2 ps -aq -f name=game -f name=reberth-)" ""
}
cancelled source.freeze.silent connect
check "and at its new address" container_pings h3 game 10.88.0.3
cancelled source.memory.end disconnect
moves "when its networks stay" h3 game h1

# --- it goes

output=$(on h2 reberth network rm "$NET" 2>&1) && fail "one that is in use is not removed"
like "one that is in use is not removed" "$output" "in use by container"
for host in "${HOSTS[@]}"; do
	on "$host" sh -c 'docker ps -aq | xargs docker rm -f' >/dev/null
done
check "removed" on h2 reberth network rm "$NET"
for host in "${HOSTS[@]}"; do
	is "nothing of it on $host" "$(on "$host" sh -c 'docker network ls -q -f label=reberth.network; ip -br link | grep ^rb; nft list tables | grep mesh; reberth network ls -q')" ""
done
nothing_left "networks" h2 h3
e2e_done
