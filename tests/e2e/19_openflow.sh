#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 19_openflow.sh - the controller of a network moves while its switches are connected to it
#
# Open vSwitch's test controller is the container. h3 has two switches, s1 and s2, with a cable
# between them and end hosts a1, b1, a2, ... each in a network namespace of its own: aN is at s1, bN
# at s2. What flows between them the controller says, over one OpenFlow connection for each switch.
# A pair aN, bN that never spoke can speak only by new flows in both switches.
#
# The daemons of Open vSwitch keep their files, sockets and end hosts in h3's /run/openflow.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly SWITCHES=(s1 s2) PAIRS=4
readonly RUNDIR=/run/openflow OVS_TIMEOUT_S=20
# The switches ask a controller that is silent whether it is there: more often than any move
# takes on a slow machine would be a test of the machine.
readonly PROBE_MS=30000

ovs() { on h3 env OVS_RUNDIR=$RUNDIR OVS_LOGDIR=$RUNDIR OVS_DBDIR=$RUNDIR "$@"; }
vsctl() { ovs ovs-vsctl --timeout=$OVS_TIMEOUT_S --db=unix:$RUNDIR/db.sock "$@"; }
ofctl() { ovs ovs-ofctl --timeout=$OVS_TIMEOUT_S -O OpenFlow10 "$1" "$RUNDIR/$2.mgmt" "${@:3}"; }

switches_begin() {
	on h3 mkdir -p $RUNDIR
	ovs ovsdb-tool create $RUNDIR/conf.db /usr/share/openvswitch/vswitch.ovsschema || return
	in_background ovsdb h3 env OVS_RUNDIR=$RUNDIR ovsdb-server --unixctl=$RUNDIR/ovsdb.ctl --remote=punix:$RUNDIR/db.sock \
		--pidfile=$RUNDIR/ovsdb.pid $RUNDIR/conf.db
	wait_for 10 on h3 test -S $RUNDIR/db.sock || return
	vsctl --no-wait init || return
	in_background vswitchd h3 env OVS_RUNDIR=$RUNDIR ovs-vswitchd --unixctl=$RUNDIR/vswitchd.ctl --pidfile=$RUNDIR/vswitchd.pid \
		--log-file=$RUNDIR/vswitchd.log unix:$RUNDIR/db.sock
	# It makes a port of the switch's own name, and waits until all of it is there.
	vsctl -- add-br s1 -- set bridge s1 datapath_type=netdev fail_mode=secure protocols=OpenFlow10 \
		-- add-br s2 -- set bridge s2 datapath_type=netdev fail_mode=secure protocols=OpenFlow10 \
		-- add-port s1 s1-s2 -- set interface s1-s2 type=patch options:peer=s2-s1 \
		-- add-port s2 s2-s1 -- set interface s2-s1 type=patch options:peer=s1-s2
}

# end_host NAME ADDRESS SWITCH: one that says nothing by itself.
end_host() {
	# shellcheck disable=SC2016 # for the inner shell
	on h3 sh -c 'unshare --net sh -c "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
			echo \$\$ >'$RUNDIR/'$1.pid; exec sleep infinity" </dev/null >/dev/null 2>&1 &
		until pid=$(cat '$RUNDIR/'$1.pid 2>/dev/null) && [ "$pid" ]; do sleep 0.01; done
		ip link add $1 type veth peer name eth0 netns $pid
		echo 1 >/proc/sys/net/ipv6/conf/$1/disable_ipv6
		ip link set $1 up
		nsenter --target $pid --net sh -c "ip address add $2/24 dev eth0; ip link set lo up; ip link set eth0 up"' - "$1" "$2"
	vsctl add-port "$3" "$1"
}

switches_end() {
	local root
	root_of h3 || return
	# shellcheck disable=SC2016 # for the inner shell
	[[ ! -e $root$RUNDIR ]] || on h3 sh -c 'cd '$RUNDIR'
		for name in vswitchd ovsdb; do [ ! -e $name.ctl ] || ovs-appctl -t $PWD/$name.ctl exit $([ $name = ovsdb ] || echo --cleanup); done
		for file in [ab]*.pid; do
			[ ! -e $file ] || kill $(cat $file)
			ip link del ${file%.pid} 2>/dev/null
		done
		cd /; rm -rf '$RUNDIR
}
e2e_begin victim
e2e_tidy() { switches_end; }
switches_end
lab image h1 h2 openflow || bail "no image openflow"
warm_up
note_inventory h1 h2 h3

# speak N: can aN reach bN?
speak() {
	# shellcheck disable=SC2016 # for the inner shell
	on h3 sh -c 'exec nsenter --target $(cat '$RUNDIR'/a$1.pid) --net busybox ping -q -c 1 -W 1 10.99.0.$((100 + $1))' - "$1" >/dev/null 2>&1
}
connected() { [[ $(vsctl --columns=is_connected --format=csv --no-headings list controller | sort -u) == true ]]; }
flows() { ofctl dump-flows "$1" | grep -c 'in_port'; }

# What must be the same afterwards: the switches' ends of the connections, the controller's, and how
# often the switches connected.
ends_at_switches() { on h3 ss -Htn state established dst "$ip" | awk '{ print $3, $4 }' | sort; }
ends_at_controller() {
	local pid
	pid=$(docker_on "$1" inspect -f '{{.State.Pid}}' controller)
	on "$1" nsenter --target "$pid" --net ss -Htn state established sport 6653 | awk '{ print $4, $3 }' | sort
}
connects() {
	root_of h3
	grep -c 'rconn.*: connected$' "$root$RUNDIR/vswitchd.log"
}
complaints() {
	root_of h3
	grep -E 'rconn.*(connection (closed|dropped|failed|timed out)|no response|disconnect|waiting)' "$root$RUNDIR/vswitchd.log"
}

# --- the testbed

run_container h1 controller openflow || bail "no controller"
ip=$(container_ip h1 controller)
switches_begin || bail "no switches: $(cat "$E2E_WORK"/{ovsdb,vswitchd}.err)"
for ((i = 1; i <= PAIRS; i++)); do
	end_host "a$i" 10.99.0.$i s1
	end_host "b$i" 10.99.0.$((100 + i)) s2
done
for switch in "${SWITCHES[@]}"; do
	vsctl set-controller "$switch" "tcp:$ip:6653" -- set controller "$switch" connection_mode=out-of-band inactivity_probe=$PROBE_MS
done
check "both switches reach their controller" wait_for 20 connected
# Until the controller has told the switches how it wants to hear of packets, it misses some.
check "the first pair speaks" wait_for 20 speak 1
switch_ends=$(ends_at_switches)
is "there is one connection for each switch" "$(wc -l <<<"$switch_ends")" "${#SWITCHES[@]}"
is "both ends see the same ones" "$(ends_at_controller h1)" "$switch_ends"
connects=$(connects)

# --- the controller moves there and back

here=h1 there=h2 pair=1
while ((pair < PAIRS - 1)); do
	((pair++))
	before_s1=$(flows s1) before_s2=$(flows s2)
	moves "move $((pair - 1))" "$here" controller "$there" || break
	is "move $((pair - 1)): the connections are the same at the switches" "$(ends_at_switches)" "$switch_ends"
	is "move $((pair - 1)): and at the controller" "$(ends_at_controller "$there")" "$switch_ends"
	check "move $((pair - 1)): a pair that never spoke can speak" wait_for 10 speak $pair
	at_least "move $((pair - 1)): it has flows in s1" "$(($(flows s1) - before_s1))" 2
	at_least "move $((pair - 1)): it has flows in s2" "$(($(flows s2) - before_s2))" 2
	check "move $((pair - 1)): pair 1 still speaks" wait_for 10 speak 1
	read -r here there <<<"$there $here"
done
is "no switch connected anew" "$(connects)" "$connects"
is "no switch complained of its controller" "$(complaints)" ""

# --- without a controller nothing new: what was seen above was the controller's work

docker_on "$here" stop -t 1 controller >/dev/null
not_connected() { [[ $(vsctl --columns=is_connected --format=csv --no-headings list controller | sort -u) == false ]]; }
check "the switches see their controller go" wait_for 20 not_connected
isnt "and say so" "$(complaints)" ""
speak $PAIRS
isnt "a pair that never spoke cannot without a controller" "$?" 0
check "pair 1 still speaks, by its flows" speak 1

docker_on "$here" rm -f controller >/dev/null
switches_end
nothing_left "openflow" h1 h2 h3
e2e_done
