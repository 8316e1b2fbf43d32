#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 15_reconnect.sh - what a move cannot keep of a container's network is said before anything moves; with
# --reconnect it takes new addresses: connections are reset for both ends, the rest moves as ever

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
remove_networks() {
	local host
	for host in h1 h2; do
		on "$host" sh -c 'docker network ls -q --filter name=^e2e- | xargs -r docker network rm' >/dev/null 2>&1
	done
}
remove_networks
warm_up
note_inventory h1 h2

# said SEVERITY: what the last dry run said
said() { report_field ".obstacles[]? | select(.severity == \"$1\") | .what + (if .remedy == \"\" then \"\" else \": \" + .remedy end)"; }
# refused NAME CONTAINER REGEX [OPTION...]
refused() {
	local name=$1 container=$2 regex=$3
	shift 3
	migrate h1 --dry-run "$@" "$container" h2
	is "$name: exit status" "$status" 5
	like "$name: is said" "$(said error)" "$regex"
}
# warned NAME REGEX: of container web
warned() { # NAME REGEX [OPTION...]
	migrate h1 --dry-run "${@:3}" web h2
	is "$1: may go" "$status" 0
	like "$1: is said" "$(said warning)" "$2"
}
# inside COMMAND...: in the network of container web
inside() { on h1 nsenter -t "$(docker_on h1 inspect -f '{{.State.Pid}}' web)" -n "$@"; }

# --- networks that cannot go along

docker_on h1 run -d --name plain victim sleep 600 >/dev/null
refused "default bridge" plain "default bridge, where it cannot keep its address: .*user-defined network"
docker_on h1 rm -f plain >/dev/null
docker_on h1 run -d --name hosty --network host victim sleep 600 >/dev/null
refused "host network" hosty "uses the host's network, which stays here: run it in a network of its own"
docker_on h1 rm -f hosty >/dev/null

run_container h1 web victim /victims/seqd 7000 || bail "no container"
ip=$(container_ip h1 web)
docker_on h1 run -d --name guest --network container:web victim sleep 600 >/dev/null
refused "another container's network" guest "shares the network of container 'web', which stays here: move them together with --group"
refused "who shares its network" web "container 'guest' shares the network of this one, and would lose it: move them together with --group"
docker_on h1 rm -f guest >/dev/null

# --- addresses that are taken

migrate h1 --dry-run web h2
is "nothing is in the way: exit status" "$status" 0
is "nothing is in the way: nothing is said" "$(report_field '.obstacles | length')" 0
on h3 ip addr add "$ip/32" dev br-lan
refused "an address that a third host has" web "somebody else answers for address $ip in network 'lan' \([0-9a-f:]+, heard by node 'h2'\)"
on h3 ip addr del "$ip/32" dev br-lan
on h2 ip addr add "$ip/32" dev lo
refused "an address of the target's own" web "address $ip in network 'lan' is node 'h2's own"
on h2 ip addr del "$ip/32" dev lo
docker_on h2 run -d --name squatter --network lan --ip "$ip" victim sleep 600 >/dev/null
refused "an address of a container there" web "address $ip in network 'lan' is taken by container 'squatter' on node 'h2'"
docker_on h2 rm -f squatter >/dev/null

for host in h1 h2; do
	docker_on "$host" network create --ipv6 --subnet 10.66.0.0/24 --subnet fd66::/64 e2e-six >/dev/null || bail "no network with IPv6"
done
docker_on h1 run -d --name six --network e2e-six --ip6 fd66::77 victim sleep 600 >/dev/null
docker_on h2 run -d --name squatter --network e2e-six --ip6 fd66::77 victim sleep 600 >/dev/null
refused "an IPv6 address of a container there" six "address fd66::77 in network 'e2e-six' is taken by container 'squatter'"
docker_on h2 rm -f squatter >/dev/null
docker_on h1 rm -f six >/dev/null
docker_on h2 network rm e2e-six >/dev/null
docker_on h2 network create --subnet 10.67.0.0/24 e2e-six >/dev/null
docker_on h1 run -d --name six --network e2e-six victim sleep 600 >/dev/null
refused "another subnet" six "network 'e2e-six' on node 'h2' has another subnet than here"
docker_on h1 rm -f six >/dev/null

# --- connections, groups and ports that are lost

# Both by a host's own address: one on the container's segment, one beyond it.
in_background server h1 "$VICTIMS/seqd" 7100
server_listens() { [[ $(on h1 ss -Htln 'sport = 7100') ]]; }
check "a server on the source host" wait_for 10 server_listens
connected_to() { [[ $(inside ss -Htn state established "dst $1") ]]; }
connect() { # NAME ADDRESS
	in_background "$1" h1 nsenter -t "$(docker_on h1 inspect -f '{{.State.Pid}}' web)" -n bash -c "exec 3<>/dev/tcp/$2/7100; read -r line <&3"
	wait_for 10 connected_to "$2" || bail "no connection to $2"
}
connect near 10.88.0.1
migrate h1 --dry-run web h2
is "a connection to the source host on the container's segment goes on" "$(report_field '.obstacles | length')" 0
on h2 ip addr add 10.88.0.1/32 dev lo
warned "a connection to an address that both hosts have" "^1 connection to 10.88.0.1, an address of the source host, will end: node 'h2' has the same address"
on h2 ip addr del 10.88.0.1/32 dev lo
connect far 10.77.0.1
migrate h1 --dry-run web h2
is "a connection to the source host beyond the segment goes on, by that host" "$(report_field '.obstacles | length')" 0
warned "the same, not forwarded" "1 connection to 10.77.0.1, an address of the source host, will end: from node 'h2'" --no-forward
finish "$last_pid" 2>/dev/null
in_background server2 h3 "$VICTIMS/seqd" 7100
listens_there() { [[ $(on h3 ss -Htln 'sport = 7100') ]]; }
check "a server on a third host" wait_for 10 listens_there
connect further 10.77.0.3
migrate h1 --dry-run web h2
is "a connection through the source host's NAT goes on, by that host" "$(report_field '.obstacles | length')" 0
warned "the same, not forwarded" "1 connection to 10.77.0.3 will end: it knows them by the source host's address" --no-forward

inside ip addr add 239.7.1.5/32 dev eth0 autojoin || bail "cannot join"
warned "multicast" "in multicast groups that no socket of its own has joined, and will not be any more: 239.7.1.5"
docker_on h1 rm -f web >/dev/null

docker_on h1 network create -d macvlan -o parent=eth0 --subnet 10.68.0.0/24 e2e-mac >/dev/null || bail "no macvlan"
docker_on h1 run -d --name mac --network e2e-mac -p 8080:80 victim sleep 600 >/dev/null
migrate h1 --dry-run mac h2
like "-p on macvlan: is said" "$(said warning)" "published ports \(-p\) do nothing in a network of driver macvlan"
docker_on h1 rm -f mac >/dev/null

remove_networks
e2e_clean
nothing_left "what was said" h1 h2

# --- groups of its sockets go along

# A datagram for the group, from a third host: who answers? Prints the nonce.
ask_group() {
	on h3 /usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.88.0.3"))
s.settimeout(1)
s.sendto(b"1", ("239.7.1.5", 7000))
print(s.recv(200).decode().split()[2])' 2>/dev/null
}
group_answers() { [[ $(ask_group) == "$1" ]]; }
run_container h1 member victim /victims/seqd 7000 /dev/null 239.7.1.5 || bail "no container"
wait_for 10 ask_group >/dev/null || bail "nobody answers in the group"
nonce=$(ask_group)
migrate h1 --dry-run member h2
is "multicast of its sockets: nothing is said" "$(report_field '.obstacles | length')" 0
for there in h2 h1; do
	[[ $there == h1 ]] && here=h2 || here=h1
	moves "a member of a group" "$here" member "$there" || break
	check "it hears the group on $there" wait_for 10 group_answers "$nonce"
done
docker_on h1 rm -f member >/dev/null

# --- --reconnect: Docker's default bridge

bridge_ip() { docker_on "$1" inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' "$2"; }
# ask HOST ADDRESS PORT: what seqd answers, its counter and nonce
ask() { on "$1" timeout 5 bash -c "exec 3<>/dev/tcp/$2/$3 && echo 1 >&3 && read -t 5 -r line <&3 && echo \"\$line\"" 2>/dev/null | awk '{ print $2, $3 }'; }
answers() { [[ $(ask "$@") ]]; }
# One connection that asks, asks once more when it is told to, and tells how it ends.
hold() { # NAME HOST ADDRESS PORT
	# shellcheck disable=SC2016 # for the inner shell
	in_background "$1" "$2" bash -c 'exec 3<>/dev/tcp/$1/$2 && echo 1 >&3 && read -r line <&3 && echo "$line"
		until [[ -e $3 ]]; do read -rt 0.05 <> <(:); done
		echo 2 >&3 && read -r line <&3 && echo "$line"
		read -r line <&3 || echo ended >&2' hold "$3" "$4" "$E2E_WORK/$1.more"
	wait_for 10 has_lines "$1" 1 || bail "'$1' does not connect"
}
has_lines() { [[ -e $E2E_WORK/$1.out ]] && (($(wc -l <"$E2E_WORK/$1.out") >= $2)); }
has_ended() { grep -q '^ended$' "$E2E_WORK/$1.err"; }
more() { touch "$E2E_WORK/$1.more"; wait_for 10 has_lines "$1" 2; }

docker_on h1 run -d --name plain --restart always victim /victims/seqd 7000 >/dev/null || bail "no container"
docker_on h2 run -d --name other victim sleep 600 >/dev/null
ip=$(bridge_ip h1 plain)
wait_for 10 answers h1 "$ip" 7000 || bail "seqd does not answer"
read -r counter nonce <<<"$(ask h1 "$ip" 7000)"
hold roller h1 "$ip" 7000

migrate h1 plain h2
is "without --reconnect: exit status" "$status" 5
like "without --reconnect: says what to do" "$message" "default bridge.*--reconnect"
migrate h1 --dry-run --reconnect plain h2
is "--dry-run --reconnect: exit status" "$status" 0
like "--dry-run --reconnect: counts the connections" "$(said warning)" "new address on the target \(--reconnect\): 1 TCP connection will be reset"

for point in source.restore.end source.commit.begin; do
	arm h1 $point fail 1
	migrate h1 --reconnect plain h2
	is "rolled back at $point" "$result" rolled-back
	disarm h1
done
check "rolled back: the connection is whole" more roller
hold client h1 "$ip" 7000
check "'client' is connected" more client
moves "--reconnect" h1 plain h2 --reconnect
is "--reconnect: the report says so" "$(report_field .reconnected)" true
new_ip=$(bridge_ip h2 plain)
is "--reconnect: the report has the new address" "$(report_field '.addresses[0] | "\(.network) \(.ipv4)"')" "bridge $new_ip"
isnt "--reconnect: the address is another" "$new_ip" "$ip"
for name in roller client; do
	check "--reconnect: '$name' learns of its end" wait_for 10 has_ended $name
	like "--reconnect: '$name' was reset" "$(<"$E2E_WORK/$name.err")" "Connection reset by peer"
done
wait_for 10 answers h2 "$new_ip" 7000
read -r counter_there nonce_there <<<"$(ask h2 "$new_ip" 7000)"
is "--reconnect: it is the same process" "$nonce_there" "$nonce"
at_least "--reconnect: which counts on" "$counter_there" $((counter + 4))
like "--reconnect: /etc/hosts has the new address" "$(docker_on h2 exec plain cat /etc/hosts)" "(^|"$'\n'")$new_ip"
# newer Dockers leave IPv6's loopback address to every container
addresses_of() { on "$1" nsenter -t "$(docker_on "$1" inspect -f '{{.State.Pid}}' "$2")" -n ip -o addr | awk '$4 != "::1/128" { print $4 }' | sort | paste -sd' '; }
is "--reconnect: it has no address but that" "$(addresses_of h2 plain)" "127.0.0.1/8 $new_ip/16"

# back, where the number that it gets is the old one: still another place
docker_on h1 run -d --name other victim sleep 600 >/dev/null
hold back h2 "$new_ip" 7000
check "'back' is connected" more back
moves "--reconnect to the same number" h2 plain h1 --reconnect
is "--reconnect to the same number: it is" "$(bridge_ip h1 plain)" "$new_ip"
check "--reconnect to the same number: the client learns of its end" wait_for 10 has_ended back
is "--reconnect to the same number: it is the same process" "$(ask h1 "$new_ip" 7000 | cut -d' ' -f2)" "$nonce"
docker_on h1 rm -f other plain >/dev/null
docker_on h2 rm -f other >/dev/null

# The source's worker is killed right behind the point of no return: its successor tells the peers.
docker_on h1 run -d --name plain victim /victims/seqd 7000 >/dev/null
ip=$(bridge_ip h1 plain)
wait_for 10 answers h1 "$ip" 7000
hold orphan h1 "$ip" 7000
check "'orphan' is connected" more orphan
arm h1 source.commit.written kill 1
on h1 reberth migrate --reconnect plain h2 >/dev/null 2>&1
disarm h1
check "killed behind COMMIT: it arrives" wait_for 20 answers h2 "$(bridge_ip h2 plain)" 7000
check "killed behind COMMIT: the client learns of its end" wait_for 20 has_ended orphan
docker_on h2 rm -f plain >/dev/null

# The CRIU that holds the tasks is killed when they were reset already: they are restored once more.
docker_on h1 run -d --name plain victim /victims/seqd 7000 >/dev/null
ip=$(bridge_ip h1 plain)
wait_for 10 answers h1 "$ip" 7000
nonce=$(ask h1 "$ip" 7000 | cut -d' ' -f2)
hold twice h1 "$ip" 7000
check "'twice' is connected" more twice
arm h1 source.commit.begin pause 1
on h1 reberth migrate --reconnect --detach plain h2 >/dev/null
check "held: READY is reached" wait_for 20 fault_reached h1
# shellcheck disable=SC2016 # for the inner shell
on h2 sh -c 'kill -KILL $(pgrep -f "criu [s]wrk")' || fail "there is a CRIU to kill"
# who may not know its neighbours any more tells them all the same
on h1 nsenter -t "$(docker_on h1 inspect -f '{{.State.Pid}}' plain)" -n ip neigh flush all
disarm h1
there_now() { answers h2 "$(bridge_ip h2 plain 2>/dev/null)" 7000; }
check "restored once more: it arrives" wait_for 20 there_now
is "restored once more: it is the same process" "$(ask h2 "$(bridge_ip h2 plain)" 7000 | cut -d' ' -f2)" "$nonce"
check "restored once more: the client learns of its end" wait_for 20 has_ended twice
docker_on h2 rm -f plain >/dev/null

# --- the container's own connections: to itself whole, to others made anew

in_background server3 h3 "$VICTIMS/seqd" 7200
wait_for 10 answers h3 127.0.0.1 7200 || bail "no server on h3"
docker_on h1 run -d --name states --workdir /tmp --volume stuff:/stuff --security-opt seccomp=unconfined victim /victims/states -d /stuff >/dev/null
docker_on h1 run -d --name caller victim /victims/witness -t -c -i 10 10.77.0.3 7200 >/dev/null
round() { docker_on "$1" logs --tail 1 states 2>/dev/null | sed -n 's/^ok \([0-9]*\)$/\1/p'; }
has_round() { (($(round "$1") + 0 >= $2)); }
wait_for 10 has_round h1 4 || bail "states does not work before a move: $(docker_on h1 logs states 2>&1 | tail -n 3)"
from_h1() { on h3 ss -Htn state established 'sport = 7200 and dst 10.77.0.1'; }
from_h2() { [[ $(on h3 ss -Htn state established 'sport = 7200 and dst 10.77.0.2') ]]; }
check "the caller is connected" wait_for 10 test -n "$(from_h1)"
moves "every kind of state, with --reconnect" h1 states h2 --reconnect && {
	at=$(round h2)
	check "it finds everything as it was, connections to itself, too" wait_for 20 has_round h2 $((${at:-0} + 8))
}
moves "a client, with --reconnect" h1 caller h2 --reconnect
check "it has connected anew" wait_for 10 from_h2
no_old() { [[ ! $(from_h1) ]]; }
check "its server knows that the old connection has ended" wait_for 10 no_old
docker_on h2 kill -s TERM caller >/dev/null
is "it was content" "$(docker_on h2 wait caller)" 0

# --- user-defined networks: other subnets there, and no way out of them here; IPv6 as well, and IPv4 on
# sockets of IPv6

docker_on h1 network create --internal --ipv6 --subnet 10.66.0.0/24 --subnet fd66::/64 e2e-own >/dev/null
docker_on h2 network create --ipv6 --subnet 10.67.0.0/24 --subnet fd67::/64 e2e-own >/dev/null
docker_on h1 run -d --name own --network e2e-own --ip 10.66.0.66 --ip6 fd66::66 victim /victims/seqd -6 7000 >/dev/null
wait_for 10 answers h1 10.66.0.66 7000
nonce=$(ask h1 10.66.0.66 7000 | cut -d' ' -f2)
hold inner h1 10.66.0.66 7000
check "'inner' is connected" more inner
# the bridge's own address may be used when duplicates were looked for, which begins with the first container
settled() { [[ ! $(on "$1" ip -6 addr show tentative) ]]; }
wait_for 10 settled h1
wait_for 20 answers h1 fd66::66 7000 || bail "no answer by IPv6"
hold inner6 h1 fd66::66 7000
check "'inner6' is connected" more inner6
moves "another subnet, with --reconnect" h1 own h2 --reconnect
own_ip=$(docker_on h2 inspect -f '{{(index .NetworkSettings.Networks "e2e-own").IPAddress}}' own)
like "it has an address of that" "$own_ip" '^10\.67\.0\.'
is "it is the same process" "$(ask h2 "$own_ip" 7000 | cut -d' ' -f2)" "$nonce"
for name in inner inner6; do
	check "its client '$name' learns of the end" wait_for 10 has_ended $name
	like "its client '$name' was reset" "$(<"$E2E_WORK/$name.err")" "Connection reset by peer"
done
own_ip6=$(docker_on h2 inspect -f '{{(index .NetworkSettings.Networks "e2e-own").GlobalIPv6Address}}' own)
like "it has an IPv6 address of that" "$own_ip6" '^fd67::'
wait_for 10 settled h2
check "it answers there, too" wait_for 20 answers h2 "$own_ip6" 7000
docker_on h2 rm -f own >/dev/null

# --- listening on an address that will be gone

docker_on h1 run -d --name plain victim /victims/seqd 7000 >/dev/null
ip=$(bridge_ip h1 plain)
in_background bound h1 nsenter -t "$(docker_on h1 inspect -f '{{.State.Pid}}' plain)" -n /usr/bin/python3 -c "
import socket
s = socket.create_server(('$ip', 7300))
print('listens', flush=True)
s.accept()"
check "something listens on the container's own address" wait_for 10 has_lines bound 1
refused "a listener on its own address" plain "listens on its own address $ip \(TCP port 7300\)" --reconnect

e2e_clean
remove_networks
nothing_left "--reconnect" h1 h2
e2e_done
