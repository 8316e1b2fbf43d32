#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 16_group.sh - containers that share one network namespace move together (--group), or not at all
#
# `lead` owns the network: a server, with clients on a third host. `talk` has a connection to it over
# 127.0.0.1 and asks all the time. `keep` counts into a volume. Whatever is broken, all three are in
# one place in the end, with the memory that they had.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim redis
warm_up
run_container h2 gone --volume gonedata:/data victim true
docker_on h2 rm -fv gone >/dev/null
docker_on h2 volume rm gonedata >/dev/null
note_inventory h1 h2

readonly GROUP=(lead talk keep) LAN_IP=10.88.200.6 PORT=7000
here=h1 there=h2

new_group() {
	run_container "$here" lead --ip $LAN_IP --restart always victim /victims/seqd $PORT /proc/self/cgroup || bail "no leader"
	docker_on "$here" run -d --name talk --network container:lead --restart on-failure victim \
		/victims/witness -t -i 10 -l /talk.log 127.0.0.1 $PORT >/dev/null || bail "no member"
	# shellcheck disable=SC2016 # for the inner shell
	docker_on "$here" run -d --name keep --network container:lead --volume groupdata:/data victim \
		sh -c 'n=0; while :; do n=$((n + 1)); echo $n >/data/n; echo $n; sleep 0.05; done' >/dev/null || bail "no member"
	# the switch may have seen its hardware address on another host
	docker_on "$here" exec lead ping -c 1 10.88.0.3 >/dev/null
	in_background tcp h3 "$VICTIMS/witness" -t -i 20 -l "$E2E_WORK/tcp.log" $LAN_IP $PORT
	tcp=$last_pid
	wait_for 10 counts_on || bail "the group does not work"
}

# --- how far they are; "0 0 0" when one cannot be asked

# the requests of talk, the lines of keep, the answers that the client on h3 had
counters() {
	local talk keep
	# its log is buffered, so the last line may be half of one
	talk=$(docker_on "$1" exec talk tail -n 2 /talk.log 2>/dev/null | head -n 1 | cut -d' ' -f2)
	keep=$(docker_on "$1" exec keep cat /data/n 2>/dev/null)
	echo "$((talk + 0)) $((keep + 0)) $(wc -l <"$E2E_WORK/tcp.log" 2>/dev/null || echo 0)"
}
last=(0 0 0)
# all three count, from where they were
counts_on() {
	local now
	read -ra now <<<"$(counters "$here")"
	((now[0] > last[0] && now[1] > last[1] && now[2] > last[2]))
}
note_counters() { read -ra last <<<"$(counters "$here")"; }
nonce() { tail -n 2 "$E2E_WORK/tcp.log" | head -n 1 | cut -d' ' -f4; }
states() { local name; for name in "${GROUP[@]}"; do container_state "$1" "$name"; done | xargs; }
# descriptions INVENTORY; whether keep sleeps just then is a matter of chance
descriptions() {
	local name
	for name in "${GROUP[@]}"; do of_container "$1" "$name"; done | grep -v ' keep process sleep '
}
# as nothing_left, and the containers are what they were; one inventory is for both
like_before() {
	local all host
	for host in "$here" "$there"; do
		all=$(inventory "$host")
		seen=$(of_host "$all")
		wanted=${noted[$host]}
		[[ $seen == "$wanted" ]] || return
		[[ $host == "$there" ]] || seen=$(descriptions "$all")
		wanted=$described
		[[ $host == "$there" || $seen == "$wanted" ]] || return
	done
}

# what Docker says of it; the id of the leader is another one each time
describe() { same_everywhere "$1" "$2" | sed 's/container:[0-9a-f]\{64\}/container:LEAD/'; }

# all_are NAME: on $here, all of them, and as they were; and none on $there
all_are() {
	is "$1: all run on $here, none on $there" "$(states "$here"), $(states "$there")" "running running running, none none none"
	# a client whose packets were lost for a while sends the next one when its patience has doubled often
	if wait_for 30 counts_on; then
		pass "$1: all count on"
	else
		fail "$1: all count on" "they were at ${last[*]}, and are at $(counters "$here")"
	fi
	is "$1: the memory is the one it had" "$(nonce)" "$memory"
	check "$1: the client's connection lives" kill -0 "$tcp"
	is "$1: no second copy was heard" "$(grep -cE ' (REPEAT|STEP-BACK|OLD-COPY)$' "$E2E_WORK/tcp.log")" 0
	if wait_for 5 like_before; then
		pass "$1: they are what they were, and nothing was left"
	else
		is "$1: they are what they were, and nothing was left" "$seen" "$wanted"
	fi
}
swap() { local name=$here && here=$there there=$name; }

new_group
memory=$(nonce)
described=$(descriptions "$(inventory h1)")
declare -A inspected=()
for name in "${GROUP[@]}"; do inspected[$name]=$(describe h1 "$name"); done

# --- alone they do not go

for name in lead talk; do
	migrate h1 $name h2
	is "$name without --group: exit status" "$status" 5
	like "$name without --group: what to do" "$message" "move them together with --group"
done
docker_on h1 run -d --name tty -t --network container:lead victim sleep 600 >/dev/null
docker_on h1 run -d --name pid --pid container:lead --network container:lead victim sleep 600 >/dev/null
docker_on h1 create --name idle --network container:lead victim sleep 600 >/dev/null
migrate h1 --dry-run --group talk h2
is "obstacles of members: exit status" "$status" 5
said=$(report_field '.obstacles[] | "\(.severity) \(.container) \(.what)"')
like "obstacles of members: a terminal, and whose" "$said" "error tty container 'tty': the container has a terminal"
like "obstacles of members: a shared PID namespace, and whose" "$said" "error pid container 'pid': PidMode is 'container:"
like "obstacles of members: one that stays" "$said" "warning lead container 'lead': container 'idle', which does not run"
docker_on h1 rm -f tty pid idle >/dev/null
docker_on h2 run -d --name keep victim sleep 600 >/dev/null
migrate h1 --dry-run --group talk h2
like "obstacles there: a member's name" "$(report_field '.obstacles[].what')" "node 'h2' has a container 'keep'"
docker_on h2 rm -f keep >/dev/null

migrate h1 --dry-run --group keep h2
is "--dry-run: exit status" "$status" 0
is "--dry-run: it names all" "$(report_field '[.members[].container] | sort | join(" ")')" "keep lead talk"

# --- there and back

for name in talk keep; do
	note_counters
	moves "named $name" "$here" $name "$there" --group || bail "nothing moves"
	is "named $name: the report names all" "$(report_field '[.members[].container] | sort | join(" ")')" "keep lead talk"
	is "named $name: and their ids" "$(report_field '[.members[] | .new_id] | sort | join(" ")')" \
		"$(for member in "${GROUP[@]}"; do docker_on "$there" inspect -f '{{.Id}}' "$member"; done | sort | xargs)"
	swap
	all_are "named $name"
	lead=$(docker_on "$here" inspect -f '{{.Id}}' lead)
	for member in "${GROUP[@]}"; do
		[[ $member == lead ]] ||
			is "named $name: $member is in the leader's network" "$(docker_on "$here" inspect -f '{{.HostConfig.NetworkMode}}' "$member")" "container:$lead"
		is "named $name: Docker describes $member as before" "$(describe "$here" "$member")" "${inspected[$member]}"
	done
	is "named $name: exec in a member" "$(docker_on "$here" exec talk hostname)" "$(docker_on "$here" inspect -f '{{.Config.Hostname}}' lead)"
done
is "docker logs: not a line is missing" "$(docker_on h1 logs keep | awk 'NR != $1' | wc -l)" 0

# --- a second migration of any of them

arm h1 source.sync.begin pause 1
note_counters
on h1 reberth migrate --detach --group talk h2 >/dev/null
wait_for 10 fault_reached h1
migrate h1 --group keep h2
is "a second one: exit status" "$status" 4
like "a second one: is refused" "$message" "is being migrated already"
# who comes too late to be taken along keeps it from going
docker_on h1 run -d --name late --network container:lead victim sleep 600 >/dev/null
release h1
wait_for 20 no_active_migration h1
like "one that has joined since: is said" "$(api h1 /migrations | jq -r '.[0].reason')" "container 'late' has joined the network of"
disarm h1
docker_on h1 rm -f late >/dev/null
all_are "one that has joined since"

# --- failures before COMMIT

for point in "there target.start.end" "there target.ready.begin" "here source.commit.begin"; do
	read -r side point <<<"$point"
	note_counters
	arm "${!side}" "$point" fail 1
	migrate "$here" --group talk "$there"
	is "failure at $point: result" "$result" rolled-back
	disarm h1 h2
	all_are "failure at $point"
done

# --- killed workers

both_ended() { no_active_migration h1 && no_active_migration h2; }
worker_of() { api "$1" /migrations | jq -r '[.[] | select(.active)][0].worker'; }

# strike WHOM SIDE POINT WANT: KILL on side here or there while it stands at the point; then it runs on
# the source, on the target, or on either
strike() {
	local whom=$1 side=$2 point=$3 want=$4 name="killed $1, $2, at $3" host=$here place=source pids
	[[ $point == source.* ]] || host=$there
	note_counters
	arm "$host" "$point" pause 1
	on "$here" reberth migrate --detach --group talk "$there" >/dev/null
	wait_for 20 fault_reached "$host" || fail "$name: $point is not reached"
	case $whom in
	worker) pids=$(worker_of "${!side}") ;;
	criu) pids=$(on "${!side}" pgrep -f 'criu [s]wrk' | head -n 1) ;;
	placeholder) pids=$(on "${!side}" pgrep -x reberth-holder | tail -n 1) ;;
	leader) pids=$(on "${!side}" pgrep -x reberth-holder | head -n 1) ;;
	esac
	on "${!side}" kill -KILL "${pids:-none}" || fail "$name: there is nobody to kill"
	release "$host"
	wait_for 40 both_ended || fail "$name: no agreement" "$(for host in h1 h2; do api $host /migrations | jq -c '.[0] | [.role, .state, .reason]'; done)"
	disarm h1 h2
	if [[ $(states "$there") == "running running running" ]]; then
		swap
		place=target
	fi
	[[ $want == either ]] || is "$name: they run on" "$place" "$want"
	all_are "$name"
}

for side in here there; do
	strike worker $side source.freeze.end source
	strike worker $side source.dump.end source
	strike worker $side source.restore.end either
	strike worker $side source.commit.written target
	strike worker $side target.go.end target
done
# one of several CRIUs, or placeholders: all are restored once more
strike criu there source.commit.written target
strike placeholder there source.commit.written target
strike leader there source.commit.written target

# --- the end

finish "$tcp"
is "the client on h3 is content" $? 0
docker_on "$here" kill -s TERM talk >/dev/null
is "the client in the group is content" "$(docker_on "$here" wait talk)" 0
check "docker restart of a member" docker_on "$here" restart -t 1 keep
check "docker rm" docker_on "$here" rm -fv "${GROUP[@]}"
docker_on "$here" volume rm groupdata >/dev/null
nothing_left "the end" h1 h2

# --- a volume that several use, and images of several; --keep-source

docker_on h1 run -d --name lead --network lan --ip $LAN_IP victim sleep 600 >/dev/null
docker_on h1 run -d --name one --network container:lead --volume both:/one victim sh -c 'echo 1 >/one/1; sleep 600' >/dev/null
docker_on h1 run -d --name two --network container:one --volume both:/two victim sh -c 'echo 2 >/two/2; sleep 600' >/dev/null
moves "a volume of two, and a chain" h1 one h2 --group --keep-source
is "both find the volume" "$(docker_on h2 exec one cat /one/1 /one/2 | xargs) $(docker_on h2 exec two cat /two/1 /two/2 | xargs)" "1 2 1 2"
is "who joined whom" "$(docker_on h2 inspect -f '{{.HostConfig.NetworkMode}}' two)" "container:$(docker_on h2 inspect -f '{{.Id}}' one)"
is "--keep-source keeps all" "$(docker_on h1 ps -a --format '{{.Names}} {{.State}}' | sed 's/-moved-[0-9a-f]*//' | sort | xargs)" "lead exited one exited two exited"

e2e_clean
nothing_left "--keep-source" h1 h2

# --- a unix socket from one to the other cannot go along

docker_on h1 run -d --name lead --network lan --user root --volume both:/one redis redis-server --port 0 --unixsocket /one/sock >/dev/null
docker_on h1 run -d --name one --network container:lead --user root --volume both:/one redis sh -c 'until redis-cli -s /one/sock subscribe x; do sleep 0.1; done' >/dev/null
subscribed() { [[ $(docker_on h1 logs one 2>/dev/null) == *subscribe* ]]; }
wait_for 10 subscribed || bail "nobody subscribes: $(docker_on h1 logs one 2>&1)"
migrate h1 --dry-run --group one h2
is "a unix socket between two: exit status" "$status" 5
like "a unix socket between two: is said" "$(report_field '.obstacles[].what')" "container 'one': the container has a unix socket connected with one of container 'lead'"

e2e_done
