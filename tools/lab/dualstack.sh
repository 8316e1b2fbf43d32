# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# dualstack.sh - a Docker network `six` with IPv4 and IPv6, one segment on all hosts
#
# For tests and benchmarks, which have `lab` and `on`. Its bridges, br-six, are tied to the segment
# `lan`. A host has 10.89.0.N and fd00:89::N in it; no host gives away addresses below fd00:89::1:0
# and 10.89.1.0.

# dualstack_begin HOST...
dualstack_begin() {
	local host number end
	for host; do
		number=${host#h}
		# The bridge of `lan` is another one: what goes out there must not be taken for the world outside.
		on "$host" docker network create --opt com.docker.network.bridge.name=br-six --ipv6 \
			--opt com.docker.network.bridge.enable_ip_masquerade=false \
			--subnet 10.89.0.0/16 --gateway 10.89.0."$number" --ip-range "10.89.$number.0/24" \
			--subnet fd00:89::/64 --gateway "fd00:89::$number" --ip-range "fd00:89::$number:0/112" six >/dev/null || return
		lab plug "$host" six0 && on "$host" ip link set six0 master br-six || return
	done
	for host; do
		end=$((SECONDS + 10))
		until dualstack_is_ready "$host"; do ((SECONDS < end)) || return; done
	done
}

# The detection of duplicates has ended for the host's own address.
dualstack_is_ready() { [[ -n $(on "$1" ip -6 -o address show dev br-six scope global -tentative) ]]; }

dualstack_end() {
	local host
	for host; do
		lab pid "$host" >/dev/null 2>&1 || continue
		on "$host" ip link del six0 2>/dev/null
		on "$host" docker network rm six >/dev/null 2>&1
	done
}
