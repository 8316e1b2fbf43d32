#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fault_matrix.sh - break a migration in every stage, on both sides, in every way
#
#   fault_matrix.sh [--list] [--only PATTERN] [--shard K/N] [--strategy NAME]
#
# A case is KIND SIDE POINT: one fault of a kind strikes one side while a migration stands at a
# fault point (src/base/fault.h). The migration is then left to itself, but for what a machine would
# get from outside: cables are plugged in again, hosts boot, init starts daemons. In the end
#
#   - both hosts agree, by themselves, and nothing of the migration goes on
#   - the container runs on exactly one of them: where the table says, with the memory that it
#     had; or a fresh one, when the host that had its memory was switched off
#   - the witness on the third host, who asked it all the time, never had answers of two copies,
#     nor one that knew less than an earlier one; its TCP connection was not reset
#   - on the segment exactly one host answers for its address
#   - both hosts are what they were: mounts, firewall, links, cgroups, processes, files and
#     Docker's objects; and the container is what it was
#
# PATTERN is a regular expression over the names of cases, as --list prints them. The container
# stays where a case left it: the next one migrates from there. So every host plays both sides.

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

only='' shard=1 shards=1 list=no strategy=auto
while (($#)); do
	case $1 in
	--list) list=yes ;;
	--only)
		only=$2
		shift
		;;
	--strategy)
		strategy=$2
		shift
		;;
	--shard)
		shard=${2%/*} shards=${2#*/}
		shift
		;;
	*)
		echo "usage: fault_matrix.sh [--list] [--only PATTERN] [--shard K/N] [--strategy NAME]" >&2
		exit 2
		;;
	esac
	shift
done

# --- what is expected

# The points in the order in which they are passed, and how far both sides are then.
#   A0 the target has not heard of it   A both prepare   B source frozen   C target READY
#   D source has COMMIT   E target has GO   F it runs there   G the target is done
# At a point with a star everything strikes; at the others what is only about that very stage.
readonly POINTS=(
	source.connect.begin:A0* source.check.begin:A0 source.check.end:A* source.image.begin:A source.create.begin:A
	target.create.begin:A target.create.end:A source.sync.begin:A target.tree.begin:A target.tree.end:A* target.log.begin:A
	source.start.begin:A target.start.begin:A target.runtime.create:A* target.start.end:A*
	source.memory.begin:A target.pages.begin:A target.pages.end:A* source.memory.end:A
	source.ports.begin:A source.ports.end:A
	source.arm.begin:A target.arm.begin:A target.arm.end:A* source.arm.end:A* source.freeze.begin:A source.freeze.silent:B* source.freeze.end:B
	source.dump.begin:B source.dump.look:B* source.criu.post-dump:B source.dump.end:B* source.transfer.begin:B target.images.end:B target.restore.begin:B*
	target.criu.pre-restore:B target.criu.pages:B* source.transfer.end:B source.restore.begin:B
	target.ready.begin:B target.criu.held:B* target.ready.end:C* source.restore.end:C source.commit.begin:C*
	target.criu.told:E* target.criu.pre-resume:E target.go.end:F* target.running.begin:F
	target.running.end:F* target.frames.begin:F target.settle.begin:F* target.settle.end:F
	source.commit.end:F source.finish.begin:F* source.finish.kept:F target.finish.begin:F* target.finish.end:G source.finish.end:G*
)
declare -A phase_of=() always=()
for point in "${POINTS[@]}"; do
	name=${point%:*} phase=${point#*:}
	phase_of[$name]=${phase%\*}
	[[ $phase != *\* ]] || always[$name]=yes
done

# expected KIND SIDE POINT: print where the container has to be in the end
#   source, target              with its memory
#   fresh-source, fresh-target  started again
#   maybe-fresh-target          there, started again unless it had all of its memory
#   either                      on one side with its memory, and both journals say so
#   none of these (empty)       there is no such case
expected() {
	local kind=$1 side=$2 point=$3 phase=${phase_of[$3]}
	case $kind-$side in
	kill-daemon-source) echo target ;; # workers go on
	kill-daemon-target) [[ $phase == A0 ]] && echo either || echo target ;; # the next one may be asked
	kill-worker-source | cut-source | cut-target) before_commit source target ;;
	kill-worker-target) [[ $phase == A0 ]] || before_commit source target ;;
	kill-criu-source)
		[[ $point =~ ^source\.(arm.end|freeze\.|criu) ]] && echo source
		;;
	kill-criu-target)
		# it has begun before there are images, and another one is started
		[[ $point == target.arm.end ]] && echo target
		[[ $point =~ ^(target\.criu|target\.ready\.begin|source\.transfer\.end) && $phase == B ]] && echo source
		after_ready
		;;
	kill-pager-target)
		# once the tasks are told to run it depends on how far they came
		[[ $point =~ ^(target\.criu\.held|target\.ready\.end|source\.commit\.begin)$ ]] || return 0
		[[ $phase == B ]] && echo source
		after_ready
		;;
	kill-placeholder-target)
		[[ $point == target.start.end || $point == source.arm.end || $phase == B ]] && echo source
		after_ready
		# killed while it runs: as any container, it is started again as its policy says
		[[ $phase == F ]] && echo fresh-target
		;;
	enospc-source)
		[[ $point =~ ^source\..*(\.begin|\.silent|post-dump)$ ]] || return 0
		[[ $phase == F ]] && echo target || echo source
		;;
	enospc-target)
		[[ $point =~ ^target\.(.*\.begin|runtime.*|criu.*|ready\.end)$ && $point != *pre-resume ]] || return 0
		[[ $phase == [DEFG] ]] && echo target || echo source
		;;
	timeout-source) [[ $point =~ ^source.*(begin|silent)$ && $phase == [ABC]* ]] && echo source ;;
	timeout-target) [[ $point =~ ^target.*(begin|create|held|pages)$ && $phase == [AB] ]] && echo source ;;
	cancel-source)
		[[ $point =~ ^source.*(begin|silent|written)$ ]] || return 0
		before_commit source target
		;;
	reboot-source)
		# without the source's memory the target has nothing, however ready it is
		if [[ $strategy == post-copy ]]; then
			case $phase in
			A0 | [ABC]) echo fresh-source ;;
			E) echo fresh-target ;;
			F) echo maybe-fresh-target ;;
			G) echo target ;;
			esac
			return 0
		fi
		case $phase in
		A0 | A) echo fresh-source ;;
		B) [[ $point == target.* ]] && echo fresh-source-or-target || echo fresh-source ;;
		*) echo target ;;
		esac
		;;
	reboot-target)
		case $phase in
		A0) [[ $point == source.connect.begin ]] && echo either || echo source ;; # it may be up before it is asked
		[EFG]) echo fresh-target ;;
		*) before_commit source target ;;
		esac
		;;
	esac
	return 0
}

# What was READY can be restored once more, as long as it is sure that it did not run.
after_ready() {
	case $phase-$point in
	C-*) echo either ;;
	*-*pre-resume) echo fresh-target ;; # CRIU holds the tasks by ptrace alone: they run when it dies
	[DE]-*) echo target ;;
	esac
}

# A source that has committed waits for its target; one that is just about to does not know better.
before_commit() {
	case $phase in
	[AB]*) echo "$1" ;;
	C) [[ $kind == cancel || $point == target.ready.end ]] && echo "$1" || echo either ;;
	*) echo "$2" ;;
	esac
}

readonly KINDS=(
	kill-daemon:source kill-daemon:target kill-worker:source kill-worker:target
	kill-criu:source kill-criu:target kill-pager:target kill-placeholder:target
	cut:source cut:target enospc:source enospc:target timeout:source timeout:target cancel:source
	reboot:source reboot:target
)

cases=()
for kind in "${KINDS[@]}"; do
	for point in "${POINTS[@]}"; do
		point=${point%:*}
		[[ ${always[$point]-} || $kind =~ ^(kill-(criu|pager)|enospc|timeout|cancel) ]] || continue
		want=$(expected "${kind%:*}" "${kind#*:}" "$point")
		[[ -z $want ]] || cases+=("${kind%:*} ${kind#*:} $point $want")
	done
done

selected() {
	local row number=0
	for row in "${cases[@]}"; do
		[[ -z $only || ${row% *} =~ $only ]] || continue
		((number++ % shards == shard - 1)) && echo "$row"
	done
}
mapfile -t chosen < <(selected)
if [[ $list == yes ]]; then
	((${#chosen[@]} == 0)) || printf '%s\n' "${chosen[@]}"
	exit 0
fi
((${#chosen[@]})) || bail "no case is called '$only'"

# --- the container and its witnesses

readonly NAME=seq PORT=7000 LAN_IP=10.88.200.1
here=h1 there=h2
witness=0

# A new container on $here, and new witnesses.
new_container() {
	run_container "$here" $NAME --ip $LAN_IP --restart always --volume seqdata:/data victim \
		/victims/seqd $PORT /proc/self/cgroup || bail "no container starts on $here"
	described=$(of_container "$(inventory "$here")" "$NAME")
	# the switch may have seen its hardware address on another host
	docker_on "$here" exec "$NAME" ping -c 1 10.88.0.3 >/dev/null
	new_witnesses
}

new_witnesses() {
	end_witnesses
	((++witness))
	log=$E2E_WORK/witness.$witness.log
	in_background "udp.$witness" h3 "$VICTIMS/witness" -R -i 10 -l "$log" $LAN_IP $PORT
	udp=$last_pid
	wait_for 10 has_answer_from "$here" || bail "the container on $here does not answer"
	in_background "tcp.$witness" h3 "$VICTIMS/witness" -t -i 20 -l "$E2E_WORK/tcp.$witness.log" $LAN_IP $PORT
	tcp=$last_pid
	nonce=$(last_answer 4)
}

end_witnesses() {
	[[ -z ${udp-} ]] || finish "$udp"
	[[ -z ${tcp-} ]] || finish "$tcp"
	udp='' tcp=''
}

# last_answer FIELD: of the log's last whole line (see witness.c)
last_answer() { tail -n 2 "$log" 2>/dev/null | head -n 1 | cut -d' ' -f"$1"; }

# True if there are answers since the log was $seen_bytes long, and the latest is of a copy on the
# host. With cgroups of version 2 a container does not see the name of its host.
has_answer_from() {
	local where
	(($(stat -c %s "$log" 2>/dev/null || echo 0) > ${seen_bytes:-0} + 200)) || return 1
	where=$(last_answer 5)
	[[ $where == *"/$1/"* || $where != */h[1-9]/* ]]
}

# --- faults

# kill_in HOST PID...: SIGKILL, and wait until they have ended, though maybe nobody fetched them: a
# process goes on for a moment, and so does what it takes along
kill_in() {
	# shellcheck disable=SC2016 # for the shell over there
	on "$1" timeout 5 sh -c 'kill -KILL "$@"; for pid; do while grep -qs "^State:.[^ZX]" /proc/$pid/status; do sleep 0.005; done; done' - "${@:2}"
}

# The worker, as the journal knows it.
worker_of() { api "$1" "/migrations/$id" | jq -r .worker; }

strike_kill-daemon() {
	lab daemon "$1" kill reberthd
	release "$host"
	lab daemon "$1" start reberthd
}
strike_kill-worker() {
	local pid
	pid=$(worker_of "$1")
	kill_in "$1" "$pid"
	release "$host"
}
strike_kill-criu() {
	local pids before=
	# runc asks CRIU's version with one first, which is gone a moment later
	for _ in {1..40}; do
		mapfile -t pids < <(on "$1" pgrep -f 'criu swrk')
		[[ -z ${pids[*]} || ${pids[*]} != "$before" ]] || break
		before=${pids[*]}
		sleep 0.05
	done
	((${#pids[@]})) || problem "there is no CRIU to kill on $1"
	((${#pids[@]} == 0)) || kill_in "$1" "${pids[@]}"
	release "$host"
}
# Its guard kills the container then.
strike_kill-pager() {
	local pids
	mapfile -t pids < <(on "$1" pgrep -x reberth-pager)
	((${#pids[@]})) || problem "there is no pager to kill on $1"
	((${#pids[@]} == 0)) || kill_in "$1" "${pids[@]}"
	release "$host"
}
strike_kill-placeholder() {
	local pids
	mapfile -t pids < <(on "$1" pgrep -x reberth-holder)
	((${#pids[@]})) || problem "there is no placeholder to kill on $1"
	((${#pids[@]} == 0)) || kill_in "$1" "${pids[@]}"
	release "$host"
}
# Long enough for both to notice, or for the source to have rolled back.
strike_cut() {
	lab cut "$1"
	release "$host"
	wait_for 9 has_ended "$here"
	lab heal "$1"
}
strike_reboot() {
	lab restart --no-wait "$1"
	[[ $host == "$1" ]] || release "$host"
	lab wait "$1"
}
strike_timeout() {
	wait_for 10 is_rolling_back "$here" || problem "the source does not give up: $(api "$here" "/migrations/$id" | jq -r .state)"
	wait_for 10 runs_on_since "$here" "$(stat -c %s "$log")" || problem "the container does not run on while the target hangs"
	release "$host"
}
strike_cancel() {
	local status=0
	on "$1" reberth migration cancel "$id" >/dev/null 2>"$E2E_WORK/cancel" || status=$?
	if [[ $want == source ]]; then
		((status == 0)) || problem "cancel: $(<"$E2E_WORK/cancel")"
	else
		((status == 4)) || problem "cancel after COMMIT ended with $status"
	fi
	release "$host"
}

is_rolling_back() { [[ $(api "$1" "/migrations/$id" | jq -r .state) == abort* ]]; }

runs_on_since() {
	local seen_bytes=$2
	has_answer_from "$1"
}

# --- a case

problem() { problems+=("$1"); }

begin_migration() {
	api "$here" /migrations -d "{\"container\": \"$NAME\", \"target\": \"$there\", \"strategy\": \"$strategy\", \"timeout_ms\": $1}" | jq -r .id
}

# A host that never heard of it has nothing to end.
has_ended() {
	local answer
	answer=$(api "$1" "/migrations/$id") || { reberthd_answers "$1"; return; }
	[[ $answer == *'"active":false'* || $answer == *'"active": false'* ]]
}
both_ended() { has_ended "$here" && has_ended "$there"; }

break_it() {
	local kind=$1 side=$2 point=$3 struck
	host=$here
	[[ $point != target.* ]] || host=$there
	struck=$here
	[[ $side != target ]] || struck=$there
	case $kind in
	enospc) arm "$host" "$point" enospc 1 ;;
	timeout) arm "$host" "$point" "$([[ $side == source ]] && echo hang || echo pause)" 1 ;;
	*) arm "$host" "$point" pause 1 ;;
	esac
	id=$(begin_migration "$([[ $kind == timeout ]] && echo 4000 || echo 60000)")
	[[ $id =~ ^[0-9a-f]{16}$ ]] || {
		problem "the migration does not begin: $id"
		return
	}
	if [[ $kind != enospc && $kind-$side != timeout-source ]]; then
		if wait_for 15 fault_reached "$host"; then
			"strike_$kind" "$struck"
		else
			problem "$point is not reached: $(api "$here" "/migrations/$id" | jq -c '[.state, .stage, .reason]')"
		fi
	fi
	wait_for 25 both_ended || problem "no agreement: $(for host in "$here" "$there"; do api "$host" "/migrations/$id" | jq -r '"\(.role) \(.state)"'; done | xargs)"
	disarm "$here" "$there"
}

# Where is it now? Sets $place.
find_place() {
	local states
	states="$(container_state "$here" $NAME) $(container_state "$there" $NAME)"
	case $states in
	"running none") place=source ;;
	"none running") place=target ;;
	*)
		place=lost
		problem "it does not run in exactly one place: source $states target"
		;;
	esac
}

check_outcome() {
	local kind=$1 want=$2 result reason code fresh=no
	[[ $strategy != post-copy || $want != maybe-* ]] || want=${want#maybe-} fresh=maybe
	find_place
	[[ $place != lost ]] || return
	result=$(api "$here" "/migrations/$id" | jq -r .result)
	reason=$(api "$here" "/migrations/$id" | jq -r .reason)
	code=$(api "$here" "/migrations/$id" | jq -r '.report.error.code // "ok"')
	case $want in
	fresh-source-or-target) [[ $place != source ]] || fresh=yes ;;
	fresh-*) [[ $fresh == maybe ]] || fresh=yes ;;
	esac
	case $want in
	either | fresh-source-or-target) ;;
	*) [[ ${want#fresh-} == "$place" ]] || problem "it runs on the $place, not on the ${want#fresh-} ($result: $reason)" ;;
	esac
	case $place-$result in
	source-rolled-back | target-completed) ;;
	*) problem "it runs on the $place, but the source's journal says $result" ;;
	esac
	[[ $result != rolled-back || -n $reason ]] || problem "nothing says why"
	[[ $place == target ]] || case $kind in
	# runc and CRIU only say that one of ours failed
	enospc) [[ $code == no-space || $point =~ \.(runtime|criu)\. ]] || problem "the error is '$code', not 'no-space': $reason" ;;
	timeout) [[ $code == timeout ]] || problem "the error is '$code', not 'timeout': $reason" ;;
	cancel) [[ $code == canceled ]] || problem "the error is '$code', not 'canceled': $reason" ;;
	esac
	diag_text="$result${reason:+: $reason}"
	check_witness "$fresh"
}

check_witness() {
	local fresh=$1 host=$here seen_bytes
	[[ $place == source ]] || host=$there
	seen_bytes=$(stat -c %s "$log")
	wait_for 8 has_answer_from "$host" || problem "no answer from $host; the last was from $(last_answer 5)"
	if [[ $fresh == maybe ]]; then
		fresh=no
		[[ $(last_answer 4) == "$nonce" ]] || fresh=yes
	fi
	if [[ $fresh == no ]]; then
		[[ $(last_answer 4) == "$nonce" ]] || problem "its memory is lost"
		kill -0 "$tcp" 2>/dev/null || problem "its connection was lost: $(tail -n 1 "$E2E_WORK/tcp.$witness.err")"
	elif [[ $(last_answer 4) == "$nonce" ]]; then
		problem "it was not started afresh"
	fi
	if grep -qE ' (REPEAT|STEP-BACK|OLD-COPY)$' "$log" "$E2E_WORK/tcp.$witness.log"; then
		problem "the witness saw two copies: $(grep -hE -m 3 ' (REPEAT|STEP-BACK|OLD-COPY)$' "$log" "$E2E_WORK/tcp.$witness.log" | xargs)"
	fi
}

check_inventories() {
	local host with seen
	for host in "$here" "$there"; do
		wait_for 4 inventory_is_noted "$host" ||
			problem "$host is not what it was: $(diff <(echo "${noted[$host]}") <(echo "$seen") | grep '^[<>]' | head -n 12)
$(lab status; lab logs "$host" boot | tail -n 5)"
	done
	with=$here
	[[ $place == source ]] || with=$there
	is_described() {
		seen=$(of_container "$(inventory "$with")" "$NAME")
		[[ $seen == "$described" ]]
	}
	wait_for 4 is_described ||
		problem "the container is not what it was: $(diff <(echo "$described") <(echo "$seen") | grep '^[<>]' | grep -v ' nft ' | head -n 12)
$(docker_on "$with" inspect -f '{{json .State}} {{.RestartCount}} {{.HostConfig.RestartPolicy.Name}}' "$NAME" 2>&1)"
	{ is_alone "$here" && is_alone "$there"; } || problem "there are other containers: $(docker_on "$here" ps -a --format '{{.Names}}' | xargs), $(docker_on "$there" ps -a --format '{{.Names}}' | xargs)"
}

# One question for the address on the segment; the answers come while the inventories are made.
ask_who_has() {
	in_background who_has h3 busybox arping -b -c 1 -w 1 -I br-lan $LAN_IP
	who_has=$last_pid
}

# Exactly one host answers. A busy one may need longer than that.
check_who_has() {
	local answers
	for _ in 1 2 3; do
		wait "$who_has"
		answers=$(sed -n 's/^Received \([0-9]*\) .*/\1/p' "$E2E_WORK/who_has.out")
		[[ $answers == 0 ]] || break
		ask_who_has
	done
	[[ $answers == 1 ]] || problem "for the address answer ${answers:-?} hosts: $(xargs <"$E2E_WORK/who_has.out")"
}

is_alone() { ! docker_on "$1" ps -a --format '{{.Names}}' | grep -qvx "$NAME"; }

# Something went wrong: begin with everything new. What was left by it is not held against the next.
scrub() {
	local host
	end_witnesses
	disarm h1 h2
	for host in h1 h2; do
		[[ ! -e /run/reberth-lab${LAB_NAME:+-$LAB_NAME}/$host/cut ]] || lab heal "$host"
		reberthd_answers "$host" || lab daemon "$host" start reberthd
		wait_for 2 no_active_migration "$host" || {
			lab daemon "$host" stop reberthd
			on "$host" sh -c 'rm -rf /var/lib/reberth/*'
			lab restart "$host"
		}
		on "$host" sh -c 'docker ps -aq | xargs -r docker rm -fv; docker volume ls -q | xargs -r docker volume rm' >/dev/null 2>&1
	done
	note_inventory h1 h2
	here=h1 there=h2
}

run_case() {
	local kind=$1 side=$2 point=$3 want=$4 name="$1 $2 $3" started
	started=$(now_ms)
	problems=() diag_text='' place=lost
	break_it "$kind" "$side" "$point"
	[[ -z ${id-} ]] || check_outcome "$kind" "$want"
	[[ $place == lost ]] || ask_who_has
	[[ $place == lost ]] || check_inventories
	[[ $place == lost ]] || check_who_has
	name="$name: $place ($(($(now_ms) - started)) ms)"
	if ((${#problems[@]} == 0)); then
		pass "$name"
		[[ -z ${VERBOSE-} ]] || diag "$diag_text"
	else
		fail "$name, wanted $want" "$(printf '%s\n' "${problems[@]}" "$diag_text")"
		scrub
		new_container
		return
	fi
	[[ $place == source ]] || { local swap=$here && here=$there there=$swap; }
	[[ $want != fresh* ]] || new_witnesses
}

e2e_begin victim
warm_up
run_container h2 gone --volume seqdata:/data victim true
docker_on h2 rm -fv gone >/dev/null
docker_on h2 volume rm seqdata >/dev/null
note_inventory h1 h2
new_container
for row in "${chosen[@]}"; do
	# shellcheck disable=SC2086 # four words
	run_case $row
done
end_witnesses
e2e_done
