# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# network_lib.sh - a container in network $NET (10.23.0.0/24) on each host, and who reaches whom
#
# Sourced by tests of networks when the network is there; runs the containers.

network_ip() { docker_on "$1" inspect -f "{{.NetworkSettings.Networks.$NET.IPAddress}}" "$2"; }
declare -A ip=()
for host in "${HOSTS[@]}"; do
	docker_on "$host" run -d --name "c-$host" --restart always --network "$NET" --network-alias "alias-$host" victim /victims/seqd 7000 /proc/self/cgroup >/dev/null
	ip[$host]=$(network_ip "$host" "c-$host")
done
# a host has an address of its own in the network
mapfile -t own < <(on h1 reberth network inspect "$NET" --json | jq -r '.members[].gateway')

host_reaches() { on "$1" bash -c "exec 3<>/dev/tcp/$2/7000" 2>/dev/null; }
container_pings() { docker_on "$1" exec "$2" ping -c 1 -W 2 "$3" >/dev/null 2>&1; }

# From one host: it and its container reach all containers; the container reaches its gateway and the
# addresses that the hosts have in the network, and all containers by name and alias.
reaches_all() {
	local from=$1 to
	on "$from" bash -c 'for ip; do exec 3<>"/dev/tcp/$ip/7000" || exit; done' - "${ip[@]}" || return
	for to in 10.23.0.1 "${ip[@]}" "${own[@]}" c-h{1,2,3} alias-h{1,2,3}; do echo "ping -c 1 -W 2 $to || exit 1"; done |
		docker_on "$from" exec -i "c-$from" sh
}
all_reach_all() {
	local from
	for from in "${HOSTS[@]}"; do
		wait_for 20 reaches_all "$from" >/dev/null 2>&1 || fail "$1: from $from" "$(reaches_all "$from" 2>&1)"
	done
	pass "$1: every host and container reaches every container, and containers hosts, by address and name"
}
