# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# lib.sh - what the end-to-end tests share: TAP, a lab of three hosts, containers that move
#
# A test begins with
#
#   . "$(dirname "$0")/lib.sh"
#   e2e_begin IMAGE...
#
# and ends with `e2e_done`. The lab is the one named $LAB_NAME (default e2e); a
# test that finds none makes one and takes it down again. Whatever way a test
# ends, its containers, volumes, background processes, fault points and cut
# cables are gone afterwards. Nothing here sleeps for a fixed time to let
# something happen: wait_for polls for it.

set -uo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

E2E_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
E2E_TREE=$(cd "$E2E_DIR/../.." && pwd)
export LAB_NAME=${LAB_NAME-e2e}
export REBERTH_BIN=${REBERTH_BIN:-$E2E_TREE/build}
readonly E2E_DIR E2E_TREE
readonly HOSTS=(h1 h2 h3)
# where the clients of the tests' servers are
# shellcheck disable=SC2034 # used by the tests
readonly VICTIMS=$REBERTH_BIN/tests/victims CLIENTS=$REBERTH_BIN/tests/clients

# --- TAP

tap_number=0 tap_failed=0

# pass NAME, fail NAME [DIAGNOSIS]
pass() { echo "ok $((++tap_number)) - $1"; }

fail() {
	echo "not ok $((++tap_number)) - $1"
	((++tap_failed))
	[[ -z ${2-} ]] || diag "$2"
}

diag() {
	local line
	while IFS= read -r line; do echo "# $line"; done <<<"$1"
}

skip() { echo "ok $((++tap_number)) - $1 # SKIP $2"; }

# check NAME COMMAND...: ok if the command succeeds; what it prints is shown if it fails.
check() {
	local name=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	if ((status == 0)); then
		pass "$name"
	else
		fail "$name" "$* ended with $status${output:+: $output}"
	fi
}

# is NAME GOT WANT: both are printed if they differ.
is() {
	if [[ $2 == "$3" ]]; then
		pass "$1"
	elif [[ $2$3 == *$'\n'* ]]; then
		fail "$1" "$(diff -U1 --label wanted --label got <(echo "$3") <(echo "$2") | head -n 40)"
	else
		fail "$1" "got '$2', wanted '$3'"
	fi
}

isnt() {
	if [[ $2 != "$3" ]]; then pass "$1"; else fail "$1" "got '$2', which it must not be"; fi
}

# like NAME GOT REGEX
like() {
	if [[ $2 =~ $3 ]]; then pass "$1"; else fail "$1" "got '$2', wanted something like '$3'"; fi
}

# at_least NAME GOT MINIMUM, at_most NAME GOT MAXIMUM: whole numbers.
at_least() {
	if [[ $2 =~ ^-?[0-9]+$ ]] && (($2 >= $3)); then pass "$1 ($2)"; else fail "$1" "got '$2', wanted at least $3"; fi
}

at_most() {
	if [[ $2 =~ ^-?[0-9]+$ ]] && (($2 <= $3)); then pass "$1 ($2)"; else fail "$1" "got '$2', wanted at most $3"; fi
}

bail() {
	echo "Bail out! $1"
	exit 1
}

# --- time

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# wait_for SECONDS COMMAND...: until it succeeds, asking every 10 ms. Fractions are allowed.
wait_for() {
	local seconds=$1 end
	shift
	end=$((${EPOCHREALTIME/./} + ${seconds%.*} * 1000000 + 0$( [[ $seconds != *.* ]] || printf '%-6.6s' "${seconds#*.}" | tr ' ' 0)))
	until "$@"; do
		((${EPOCHREALTIME/./} < end)) || return 1
		pause 0.01
	done
}

# As sleep, without a process.
pause() { read -rt "$1" <&"$nothing" || :; }
exec {nothing}<> <(:)

# --- the lab

lab() { "$E2E_TREE/lab" "$@"; }
on() { lab sh "$@"; }
docker_on() { lab sh "$1" docker "${@:2}"; }

declare -A host_pids=()

# root_of HOST: set $root to the directory under which the host's files are seen from here.
# No process is started while the host lives.
root_of() {
	local pid=${host_pids[$1]-}
	if [[ -z $pid || ! -e /proc/$pid/root/run/lab ]]; then
		pid=$(lab pid "$1") || return
		host_pids[$1]=$pid
	fi
	root=/proc/$pid/root
}

# api HOST PATH [CURL-OPTION...]: ask a host's reberthd; prints nothing and fails if it is down.
api() {
	local root
	root_of "$1" || return
	curl -sf -m 5 --unix-socket "$root/run/reberth/api.sock" "http://localhost/v1$2" "${@:3}"
}

reberthd_answers() { api "$1" /version >/dev/null; }

lab_is_up() {
	local host
	for host in "${HOSTS[@]}"; do lab pid "$host" >/dev/null 2>&1 || return 1; done
}

e2e_begin() {
	local image
	((EUID == 0)) || bail "must be root"
	E2E_WORK=$(mktemp -d)
	e2e_owns_lab=no
	trap e2e_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	[[ -x $REBERTH_BIN/reberthd ]] || bail "there is no $REBERTH_BIN/reberthd: meson setup build && ninja -C build"
	if ! lab_is_up; then
		e2e_owns_lab=yes
		lab up "${#HOSTS[@]}" || bail "no lab"
	fi
	for host in "${HOSTS[@]}"; do
		reberthd_answers "$host" || lab daemon "$host" start reberthd || bail "reberthd on $host does not answer"
	done
	for image; do
		lab image "${HOSTS[@]}" "$image" || bail "no image $image"
	done
	e2e_clean
}

e2e_end() {
	local status=$?
	trap '' INT TERM HUP
	e2e_clean
	# what a test adds to that
	! declare -F e2e_tidy >/dev/null || e2e_tidy
	if [[ $e2e_owns_lab == yes ]]; then
		lab down || status=1
	fi
	rm -rf "$E2E_WORK"
	exit "$status"
}

e2e_done() {
	echo "1..$tap_number"
	((tap_failed == 0)) && ((tap_number)) || exit 1
	exit 0
}

# Whatever a test may have left, also one that was killed.
e2e_clean() {
	local host pid root
	for pid in "${background[@]-}"; do
		[[ -z $pid ]] || kill "$pid" 2>/dev/null
	done
	background=()
	for host in "${HOSTS[@]}"; do
		root_of "$host" 2>/dev/null || continue
		[[ ! -e /run/reberth-lab${LAB_NAME:+-$LAB_NAME}/$host/cut ]] || lab heal "$host"
		rm -f "$root"/run/reberth/{faults,fault.reached}
		clean_host "$host"
	done
	clean_networks
}

# Networks across hosts; of all nodes that can be reached.
clean_networks() {
	local host network
	for host in "${HOSTS[@]}"; do
		for network in $(api "$host" /networks | jq -r '.[].name' 2>/dev/null); do
			on "$host" reberth network rm --force "$network" >/dev/null 2>&1
		done
	done
}

clean_host() {
	wait_for 20 no_active_migration "$1" || diag "$1: a migration does not end: $(api "$1" /migrations | jq -c '.[] | select(.active)')"
	# shellcheck disable=SC2016 # for the inner shell
	on "$1" sh -c 'docker ps -aq | xargs -r docker rm -fv; docker volume ls -q | xargs -r docker volume rm; reberth forward rm --all' >/dev/null 2>&1
	# The next container with an address may be on another host than the last one, with the same hardware
	# address, and silent: who still knows its neighbour does not ask, so the switch sends it to the old place.
	on "$1" ip neigh flush all
}

no_active_migration() { [[ $(api "$1" /migrations | jq 'any(.active)') != true ]]; }

# in_background NAME HOST COMMAND...: output goes to $E2E_WORK/NAME.out and .err; sets $last_pid.
background=()
in_background() {
	local name=$1
	shift
	"$E2E_TREE/lab" sh "$@" >"$E2E_WORK/$name.out" 2>"$E2E_WORK/$name.err" </dev/null &
	last_pid=$!
	background+=("$last_pid")
}

# finish PID: SIGTERM, and wait for its end. Return: its status.
finish() {
	kill "$1" 2>/dev/null
	wait "$1"
}

# --- containers

# run_container HOST NAME ARGUMENT...: `docker run` in network lan.
run_container() {
	local host=$1 name=$2
	shift 2
	docker_on "$host" run -d --name "$name" --network lan "$@" >/dev/null
}

container_state() {
	local state
	state=$(docker_on "$1" inspect -f '{{.State.Status}}' "$2" 2>/dev/null)
	echo "${state:-none}"
}
container_ip() { docker_on "$1" inspect -f '{{.NetworkSettings.Networks.lan.IPAddress}}' "$2"; }

# log_lines HOST CONTAINER
log_lines() { docker_on "$1" logs "$2" 2>/dev/null | wc -l; }
has_log_lines() { (($(log_lines "$1" "$2") >= $3)); }

# What of `docker inspect` must be the same after a move. The gateway is the host's own
# address, Docker adds the beginning of the container's id to the network's aliases, and what
# address and hardware address were given, at random, are asked for on the target.
same_everywhere() {
	docker_on "$1" inspect "$2" | jq -S '.[0] | {
		Name, Path, Args, Config: (.Config | del(.MacAddress)), Image, Platform, Driver, MountLabel, AppArmorProfile,
		HostConfig: (.HostConfig | del(.Runtime, .ConsoleSize, .CgroupParent)),
		Mounts: [.Mounts[] | {Type, Name, Destination, Driver, Mode, RW, Propagation}] | sort_by(.Destination),
		Networks: (.NetworkSettings.Networks | map_values({
			IPAddress, IPPrefixLen, MacAddress, GlobalIPv6Address,
			Aliases: [.Aliases // [] | .[] | select(test("^[0-9a-f]{12}$") | not)] | sort})),
		Ports: .NetworkSettings.Ports,
		State: (.State | {Status, Running, Paused, Restarting, OOMKilled, Dead})}'
}

# image_store HOST: overlay2, or overlayfs where Docker keeps images in containerd's store
image_store() { docker_on "$1" info -f '{{.Driver}}'; }

# counts CHECK NAME ...: a check of how much of an image was sent. With containerd's store that is all of it.
counts() {
	[[ -n ${e2e_store-} ]] || e2e_store=$(image_store h2)
	if [[ $e2e_store == overlayfs ]]; then
		skip "$2" "to containerd's store whole images are sent"
	else
		"$@"
	fi
}

# --- migrations

# migrate HOST ARGUMENT...: `reberth migrate --json`; sets status, report (its output), message (its errors).
migrate() {
	local host=$1
	shift
	report=$(on "$host" reberth migrate --json "$@" 2>"$E2E_WORK/migrate.err" </dev/null)
	status=$?
	message=$(<"$E2E_WORK/migrate.err")
	result=$(jq -r '.result // empty' <<<"$report" 2>/dev/null)
}

# What the daemon of a host said last, and which containers it has.
last_words() {
	echo "$1: $(docker_on "$1" ps -a --format '{{.Names}} {{.Status}}' 2>&1 | paste -sd ',')"
	lab logs "$1" reberthd | tail -n 20
}

# moves NAME HOST CONTAINER NODE [OPTION...]: migrate, and fail if it was not completed.
moves() {
	local name=$1
	shift
	migrate "$@"
	if ((status == 0)) && [[ $result == completed ]]; then
		pass "$name: $1 to $3 with $(jq -r .downtime_ms <<<"$report") ms of downtime, $(jq -r .total_ms <<<"$report") ms in all"
	else
		fail "$name: $1 to $3 completed" "status $status, result '$result': $message
$(last_words "$1")
$(last_words "$3")"
		return 1
	fi
}

report_field() { jq -r "$1" <<<"$report"; }

# --- fault points (src/base/fault.h)

# arm HOST POINT ACTION [COUNT]
arm() {
	local root host=$1
	shift
	root_of "$host"
	echo "$*" >>"$root/run/reberth/faults"
}

disarm() {
	local root host
	for host; do
		root_of "$host" || continue
		rm -f "$root/run/reberth/faults"
		rm -f "$root/run/reberth/fault.reached"
	done
}

fault_reached() {
	local root
	root_of "$1" && [[ -s $root/run/reberth/fault.reached ]]
}

# Let the process that waits at a point go on.
release() {
	local root
	root_of "$1" && rm -f "$root/run/reberth/fault.reached"
}

# --- what there is on a host

inventory() { on "$1" "$E2E_DIR/inventory.sh" "reberth-lab${LAB_NAME:+-$LAB_NAME}"; }

# The lines of an inventory that are about the host, or about a container.
of_host() { grep -v '^container ' <<<"$1"; }
of_container() { grep "^container $2 " <<<"$1"; }

# note_inventory HOST...: remember what the host is like now.
declare -A noted=()
note_inventory() {
	local host
	for host; do noted[$host]=$(of_host "$(inventory "$host")"); done
}

inventory_is_noted() {
	seen=$(of_host "$(inventory "$1")")
	[[ $seen == "${noted[$1]}" ]]
}

# nothing_left NAME HOST...: each host is as it was noted, but for containers that it has. What ends
# by itself gets a moment for it.
nothing_left() {
	local name=$1 host
	shift
	for host; do
		if wait_for 5 inventory_is_noted "$host"; then
			pass "$name: nothing was left on $host"
		else
			is "$name: nothing was left on $host" "$seen" "${noted[$host]}"
		fi
	done
}

# warm_up: run a container once everywhere, so that what Docker makes at the first one is there.
warm_up() {
	local host
	for host in "${HOSTS[@]}"; do
		docker_on "$host" run --rm --network lan victim true || bail "no container starts on $host"
	done
}
