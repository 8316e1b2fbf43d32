#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 13b_network_restarts.sh - a network over three hosts outlives its parts: reberthd, its agents, dockerd,
# a host, and a device that somebody deleted; nodes join it and leave it

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim

readonly NET=net13
on h1 reberth network create "$NET" --nodes h1,h2 --subnet 10.23.0.0/24 >/dev/null || bail "no network"
check "a third node joins" on h2 reberth network join "$NET" h3
((tap_failed == 0)) || bail "no third node"
is "all members know it" "$(for host in "${HOSTS[@]}"; do on "$host" reberth network inspect "$NET" --json | jq -c .nodes; done | sort -u)" '["h1","h2","h3"]'
# shellcheck source=tests/e2e/network_lib.sh
. "$E2E_DIR/network_lib.sh"
all_reach_all "before"

lab daemon h2 kill reberthd
all_reach_all "without reberthd on h2"
lab daemon h2 start reberthd
on h2 pkill -KILL -f -- '--worker (plugin|mesh)'
agents_run() { (($(on h2 pgrep -cf -- '--worker (plugin|mesh)') == 2)); }
check "killed agents come again" wait_for 15 agents_run
lab daemon h2 restart dockerd
wait_for 10 host_reaches h2 "$(network_ip h2 c-h2)"
ip[h2]=$(network_ip h2 c-h2)
all_reach_all "dockerd of h2 was restarted"
on h3 ip link del "$(on h3 sh -c 'ip -br link show type vxlan' | awk '{ print $1; exit }')"
on h3 nft delete table bridge reberth_mesh
all_reach_all "device and filters were deleted on h3"
check "the filters come again" wait_for 10 on h3 nft list table bridge reberth_mesh
lab restart h1
ip[h1]=$(network_ip h1 c-h1)
all_reach_all "h1 was restarted"


# --- a node leaves; an address of its part stays with who has it

taken=$(on h1 reberth network inspect "$NET" --json | jq -r '.members[] | select(.node == "h3").chunks[0].chunk')
other=10.23.0.$((taken * 16 + 8)) taken=10.23.0.$((taken * 16 + 9))
docker_on h1 run -d --name taken --network "$NET" --ip "$taken" victim sleep 1000 >/dev/null
output=$(on h1 reberth network leave "$NET" h3 2>&1) && fail "a node with a container in it cannot leave"
like "a node with a container in it cannot leave" "$output" "in use by container 'c-h3' on node 'h3'"
docker_on h3 rm -f c-h3 >/dev/null
check "a node leaves" on h1 reberth network leave "$NET" h3
is "nothing of it is left there" "$(on h3 sh -c 'docker network ls -q -f label=reberth.network; ip -br link | grep ^rb; nft list tables | grep mesh; reberth network ls -q; pgrep dnsmasq')" ""
is "the others know it" "$(for host in h1 h2; do on "$host" reberth network inspect "$NET" --json | jq -c .nodes; done | sort -u)" '["h1","h2"]'
output=$(docker_on h2 run --rm --network "$NET" --ip "$taken" victim true 2>&1) && fail "its address is not given to a second one"
like "an address of its part stays with who has it" "$output" "in use on node 'h1'"
check "others of its part can be had" docker_on h2 run --rm --network "$NET" --ip "$other" victim true

for host in "${HOSTS[@]}"; do
	on "$host" sh -c 'docker ps -aq | xargs -r docker rm -f' >/dev/null
done
check "removed" on h2 reberth network rm "$NET"

# --- macvlan: a segment that is there

check "a macvlan" on h1 reberth network create "$NET" --driver macvlan --parent eth0 --nodes h1,h2,h3 --subnet 10.23.0.0/24
output=$(on h1 reberth network create other --driver macvlan --parent none0 --nodes h1,h2 --subnet 10.24.0.0/24 2>&1)
like "an interface that is not there" "$output" "node 'h1' has no interface 'none0'"
for host in h1 h2; do
	docker_on "$host" run -d --name "m-$host" --network "$NET" victim /victims/seqd 7000 /proc/self/cgroup >/dev/null
	ip[$host]=$(network_ip "$host" "m-$host")
done
container_pings() { docker_on "$1" exec "$2" ping -c 1 -W 2 "$3" >/dev/null 2>&1; }
check "containers of two hosts reach each other" wait_for 10 container_pings h1 m-h1 "${ip[h2]}"
moves "over the macvlan" h1 m-h1 h3
check "and after a move" wait_for 10 container_pings h2 m-h2 "${ip[h1]}"
for host in h2 h3; do on "$host" sh -c 'docker ps -aq | xargs -r docker rm -f' >/dev/null; done
check "it goes" on h2 reberth network rm "$NET"
e2e_done
