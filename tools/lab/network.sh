# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# network.sh - the switch: one namespace with a bridge per segment
#
#   segment  port in the host   port at the switch   carries
#   mgmt     eth0               hN-mgmt              reberthd to reberthd, 10.77.0.N
#   lan      lan0, in br-lan    hN-lan               containers, 10.88.0.0/16
#
# br-lan is the bridge of the host's Docker network `lan`. With every host's lan0
# in it they make one segment, so an address means the same container wherever
# it runs. Nothing here touches the namespace that the lab is started from.

readonly SEGMENTS=(mgmt lan)
declare -rA HOST_PORT=([mgmt]=eth0 [lan]=lan0)

switch_pid() { recall_process "$LAB_RUN/switch"; }

in_switch() {
	local pid
	pid=$(switch_pid) || die "the switch is gone: 'lab down', then 'lab up'"
	nsenter --target "$pid" --net "$@"
}

switch_start() {
	local pid segment
	! switch_pid >/dev/null || return 0
	# shellcheck disable=SC2016 # for the inner shell
	LAB_OF=$LAB setsid unshare --net bash -c 'exec -a "$0" sleep infinity' "$LAB-switch" \
		</dev/null >/dev/null 2>&1 {LAB_LOCK}>&- &
	pid=$!
	wait_until 5 process_is_named "$pid" "$LAB-switch" || die "cannot make the switch's namespace"
	remember_process "$LAB_RUN/switch" "$pid"
	# A switch speaks no IP: no addresses, no router solicitations, no multicast membership, no firewall.
	# shellcheck disable=SC2016
	in_switch sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
		for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$f" ] || echo 0 >"$f"; done'
	for segment in "${SEGMENTS[@]}"; do
		echo "link add $segment type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
		echo "link set $segment up"
	done | in_switch ip -batch -
}

process_is_named() {
	local name
	IFS= read -r -d '' name 2>/dev/null <"/proc/$1/cmdline" && [[ $name == "$2" ]]
}

switch_stop() {
	local pid
	pid=$(switch_pid) || return 0
	kill -KILL "$pid"
	wait_until 5 process_is_gone "$pid" || say "the switch's process $pid does not end"
	rm -f "$LAB_RUN/switch"
}

# Plug a host's two cables in. Hardware addresses depend on the host's number
# alone: neighbours need learn nothing new after a restart.
wire_host() {
	local host=$1 pid=$2 segment
	unwire_host "$host"
	for segment in "${SEGMENTS[@]}"; do
		echo "link add $host-$segment type veth peer name ${HOST_PORT[$segment]} netns $pid" \
			"address $(port_hardware_address "$segment" "${host#h}")"
		echo "link set $host-$segment master $segment"
	done | in_switch ip -batch -
	link_shape "$host" "$pid"
	[[ -e $LAB_RUN/$host/cut ]] || set_ports "$host" up
}

port_hardware_address() {
	case $1 in
	mgmt) printf '02:00:0a:4d:00:%02x' "$2" ;;
	lan) printf '02:00:0a:58:00:%02x' "$2" ;;
	esac
}

# plug_device HOST NAME: one more end of the segment `lan` in a host, without addresses. Its other
# end, in the bridge, says nothing of its own.
plug_device() {
	# shellcheck disable=SC2016 # for the inner shell
	in_host "$1" sh -ec '
		ip link add "$1" type veth peer name "$1-lan"
		for name in "$1" "$1-lan"; do echo 1 >"/proc/sys/net/ipv6/conf/$name/disable_ipv6"; done
		ip link set "$1-lan" master br-lan
		ip link set "$1-lan" up
		ip link set "$1" up' - "$2"
}

unwire_host() {
	local segment
	for segment in "${SEGMENTS[@]}"; do
		in_switch ip link del "$1-$segment" 2>/dev/null || true
	done
}

# set_ports HOST up|down: the switch's side of both cables at once.
set_ports() {
	local segment
	for segment in "${SEGMENTS[@]}"; do
		echo "link set $1-$segment $2"
	done | in_switch ip -batch -
}

# Shape both cables of a host to the rate that is noted for it, in both
# directions: what leaves the switch's port and what leaves the host's.
link_shape() {
	local host=$1 pid=$2 rate=none segment
	[[ ! -e $LAB_RUN/$host/rate ]] || rate=$(<"$LAB_RUN/$host/rate")
	for segment in "${SEGMENTS[@]}"; do
		shape_port "$rate" "$host-$segment" in_switch
		shape_port "$rate" "${HOST_PORT[$segment]}" nsenter --target "$pid" --net
	done
}

shape_port() {
	local rate=$1 port=$2 bytes burst
	shift 2
	if [[ $rate == none ]]; then
		"$@" tc qdisc del dev "$port" root 2>/dev/null || true
		return
	fi
	# The bucket holds 4 ms, and never less than one large segment (GSO) or the link stands still.
	bytes=$(rate_bytes_per_s "$rate")
	burst=$((bytes / 250))
	((burst >= 131072)) || burst=131072
	"$@" tc qdisc replace dev "$port" root tbf rate "$((bytes * 8))bit" burst "$burst" latency 100ms
}

# rate_bytes_per_s RATE: as tc understands it, e.g. 100mbit, 1gbit, 12500kbps (kilobytes).
rate_bytes_per_s() {
	local number unit
	[[ ${1,,} =~ ^([1-9][0-9]*)(bit|kbit|mbit|gbit|bps|kbps|mbps|gbps)$ ]] ||
		usage_error "'$1' is not a rate: give e.g. 100mbit, 1gbit, 500kbit or 'none'"
	number=${BASH_REMATCH[1]} unit=${BASH_REMATCH[2]}
	case $unit in
	k*) number=$((number * 1000)) ;;
	m*) number=$((number * 1000000)) ;;
	g*) number=$((number * 1000000000)) ;;
	esac
	[[ $unit == *bps ]] || number=$((number / 8))
	((number >= 1000)) || usage_error "'$1' is too slow: at least 8kbit"
	echo "$number"
}
