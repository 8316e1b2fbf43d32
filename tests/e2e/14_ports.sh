#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 14_ports.sh - published ports: who came by the old host's stays connected, who comes later is led
# on, and what cannot be kept is said before anything moves

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up
note_inventory h1 h2 h3

# an address of each host that is not on the containers' segment
readonly OUT1=10.77.0.1 OUT2=10.77.0.2 OUT3=10.77.0.3
readonly PORTS=(-p 8080:7000 -p 9090:7000/udp)

answers() { on "$1" timeout 2 bash -c "exec 3<>/dev/tcp/$2/$3; echo 1 >&3; read -r -t 1 line <&3" 2>/dev/null; }
refused() { ! on "$1" timeout 2 bash -c "exec 3<>/dev/tcp/$2/$3" 2>/dev/null; }
said() { report_field ".obstacles[]? | select(.severity == \"$1\") | .what"; }
forwards() { on "$1" reberth forward ls --json; }

run_container h1 web --restart always "${PORTS[@]}" victim /victims/seqd 7000 || bail "no container"
check "the port is open on h1" wait_for 10 answers h3 $OUT1 8080

# --- a port that is taken there

migrate h1 --dry-run web h2
is "nothing is in the way: nothing is said" "$(report_field '.obstacles | length')" 0
docker_on h2 run -d --name squatter -p 8080:80 victim sleep 600 >/dev/null
migrate h1 web h2
is "a port of a container there: refused" "$status" 5
like "a port of a container there: is said" "$message$report" "TCP port 8080 of node 'h2' is taken by container 'squatter'"
docker_on h2 rm -f squatter >/dev/null
in_background squatter h2 "$VICTIMS/seqd" 9090
udp_is_bound() { [[ $(on h2 ss -Huln 'sport = 9090') ]]; }
check "a server on h2" wait_for 10 udp_is_bound
migrate h1 --dry-run web h2
like "a port of a process there: is said" "$(said error)" "UDP port 9090 of node 'h2' is taken by process seqd \(pid [0-9]+\)"
finish "$last_pid" 2>/dev/null
udp_is_free() { ! udp_is_bound; }
check "and gone" wait_for 10 udp_is_free
run_container h1 bound -p $OUT1:8081:7000 victim /victims/seqd 7000
migrate h1 --dry-run bound h2
like "an address that h2 has not: is said" "$(said error)" "TCP port 8081 is published on $OUT1, which is no address of node 'h2'"
docker_on h1 rm -f bound >/dev/null

# --- what is lost is counted

in_background local h1 "$VICTIMS/witness" -t -i 50 127.0.0.1 8080
proxied() { [[ $(on h1 ss -Htn state established 'sport = 8080' | wc -l) == 1 ]]; }
check "a connection through docker-proxy" wait_for 10 proxied
migrate h1 --dry-run web h2
is "through docker-proxy: is counted" "$(said warning)" "1 connection through docker-proxy of this host (from this host itself, or by IPv6) will end"
finish "$last_pid" 2>/dev/null

# --- connections that are kept: by published ports, from outside and from the host itself, and one
# that a container made to the outside

in_background server h3 "$VICTIMS/seqd" 7100
server=$last_pid
check "a server on h3" wait_for 10 answers h1 $OUT3 7100
run_container h1 caller victim /victims/witness -t -i 10 $OUT3 7100 || bail "no container"
declare -A pids=()
begin_witnesses() {
	in_background tcp h3 "$VICTIMS/witness" -t -i 10 $OUT1 8080
	pids[tcp]=$last_pid
	in_background udp h3 "$VICTIMS/witness" -i 40 $OUT1 9090
	pids[udp]=$last_pid
	in_background local h1 "$VICTIMS/witness" -t -i 10 $OUT1 8080
	pids[local]=$last_pid
	wait_for 10 connections 2 || diag "not all are connected"
	pause 0.5
}
connections() { (($(on h1 conntrack -L -p tcp 2>/dev/null | grep -c "dst=$OUT1 .*dport=8080.*ASSURED") >= $1)); }
end_witnesses() {
	kill "${pids[@]}"
	for name in tcp udp local; do
		wait "${pids[$name]}"
		is "$1: witness '$name' is content" "$?" 0
		seen=$(<"$E2E_WORK/$name.out")
		diag "$name: $seen $(tail -n 3 "$E2E_WORK/$name.err")"
		# UDP on a busy machine may lose one at an end of the move; what was not kept would lose many
		at_most "$1, $name: none lost" "$(jq '.requests - .answers' <<<"$seen")" "$([[ $name == udp ]] && echo 3 || echo 0)"
		at_least "$1, $name: answers" "$(jq .answers <<<"$seen")" 10
		is "$1, $name: the same connection" "$(jq .resets <<<"$seen")" 0
	done
}

begin_witnesses
migrate h1 --dry-run --no-forward web h2
like "--no-forward: what ends is counted" "$(said warning)" "^[3-9] connections through this host \(published ports, NAT\) will end: nothing is forwarded"
moves "away" h1 caller h2
moves "away" h1 web h2
is "h1 forwards" "$(forwards h1 | jq -r '.[] | select(.container == "web") | "\(.moved_to) \(.ports | length) \(.connections >= 3)"')" "h2 2 true"
check "new connections by h1" answers h3 $OUT1 8080
check "new connections by h1, from h1" answers h1 $OUT1 8080
check "new connections by h2" answers h3 $OUT2 8080
check "new connections by h2, by docker-proxy" answers h2 127.0.0.1 8080


# --- and on, over a restart of Docker, and with a worker that dies while it finishes

lab daemon h1 restart dockerd >/dev/null 2>&1 || bail "Docker does not come back"
check "over a restart of Docker: new connections" wait_for 5 answers h3 $OUT1 8080
arm h2 source.finish.kept kill 1
moves "further" h2 web h3
arm h2 source.ports.noted kill 1
moves "further" h2 caller h3
disarm h2
ended() { no_active_migration h1 && no_active_migration h2 && no_active_migration h3; }
check "all migrations have ended" wait_for 20 ended
check "new connections by h1, again" answers h3 $OUT1 8080
check "new connections by h2, again" answers h3 $OUT2 8080
check "new connections by h3" answers h1 $OUT3 8080
moves "home" h3 web h1
is "h1 forwards no port any more" "$(forwards h1 | jq -c '[.[] | select(.container == "web") | .ports | length]')" "[0]"
check "new connections by h1, at home" answers h3 $OUT1 8080
check "new connections by h2, still" answers h3 $OUT2 8080
moves "away again" h1 web h2
end_witnesses "moved four times"
docker_on h3 kill -s TERM caller >/dev/null
docker_on h3 wait caller >/dev/null
seen=$(docker_on h3 logs caller 2>&1 | tail -n 1)
diag "caller: $seen"
is "what the container called: none lost" "$(jq '.requests - .answers' <<<"$seen")" 0
at_least "what the container called: answers" "$(jq .answers <<<"$seen")" 100
docker_on h3 rm -f caller >/dev/null

# --- rules that somebody takes away come back

id=$(forwards h1 | jq -r '[.[] | select((.ports | length) > 0)][0].id')
check "there are rules to flush" on h1 nft delete table ip "reberth_fwd_$id"
check "and one of Docker's firewall" on h1 iptables -F DOCKER-USER
check "after a flush: new connections" wait_for 10 answers h3 $OUT1 8080
on h1 iptables -A DOCKER-USER -j RETURN

# --- the port of one that left is not free for another

docker_on h2 rename web mover
run_container h3 web -p 8080:7000 victim /victims/seqd 7000
migrate h3 --dry-run web h1
like "a port that is forwarded there: is said" "$(said error)" "TCP port 8080 of node 'h1' is taken by the forward to container 'web'"
docker_on h3 rm -f web >/dev/null
docker_on h2 rename mover web

# --- rm

is "forward rm" "$(on h1 reberth forward rm web | sort -u)" web
check "forward rm: h1 does not lead there any more" wait_for 5 refused h3 $OUT1 8080
on h1 reberth forward rm web >/dev/null 2>&1
is "forward rm: a second one finds nothing" "$?" 3
for host in "${HOSTS[@]}"; do on "$host" reberth forward rm --all >/dev/null; done
docker_on h2 rm -f web >/dev/null
nothing_left "moved about" h1 h2 h3

# --- roll-backs, and --no-forward

run_container h1 web "${PORTS[@]}" victim /victims/seqd 7000
# its hardware address was seen elsewhere, and switches remember: let it speak
on h1 nsenter -t "$(docker_on h1 inspect -f '{{.State.Pid}}' web)" -n bash -c 'echo >/dev/udp/10.88.0.1/9'
check "the port is open again" wait_for 10 answers h3 $OUT1 8080
begin_witnesses
for point in "h1 source.ports.end" "h1 source.dump.end" "h2 target.ready.end"; do
	read -r host at <<<"$point"
	arm "$host" "$at" fail 1
	migrate h1 web h2
	isnt "rolled back at $at" "$status" 0
	disarm "$host"
done
arm h1 source.ports.noted kill 1
migrate h1 web h2
check "rolled back after a worker died" wait_for 20 ended
disarm h1
end_witnesses "rolled back"
is "rolled back: nothing is forwarded" "$(forwards h1)" "[]"
moves "without a forward" h1 --no-forward web h2
check "--no-forward: h1 leads nowhere" refused h3 $OUT1 8080
is "--no-forward: nothing is forwarded" "$(forwards h1)" "[]"
finish "$server" 2>/dev/null
docker_on h2 rm -f web >/dev/null
nothing_left "rolled back, or not forwarded" h1 h2 h3
e2e_done
