# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
#
# common.sh - names, places and small helpers shared by the parts of the lab
#
# What the lab leaves on the machine while it runs:
#   $LAB_DIR     disks, certificates and logs of the hosts; survives `lab restart`
#   $LAB_RUN     what is true until the next power cut: pids, links
#   $LAB_CACHE   built images; survives `lab down`
#   a cgroup     /$LAB in every hierarchy
#   processes    one that holds the switch's namespace, one PID 1 per host and
#                its children; namespaces and mounts live and die with them

export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

LAB=reberth-lab${LAB_NAME:+-$LAB_NAME}
LAB_DIR=${LAB_DIR:-/var/lib/$LAB}
LAB_RUN=/run/$LAB
LAB_CACHE=${LAB_CACHE:-/var/cache/reberth-lab}
# Where the programs are is asked for once, by `lab up`.
[[ -n ${REBERTH_BIN:-} ]] || REBERTH_BIN=$(cat "$LAB_RUN/programs" 2>/dev/null || echo "$LAB_TREE/build")
REBERTH_BIN=$(readlink -m "$REBERTH_BIN")
LAB_PATH=/opt/reberth/bin:$REBERTH_BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
readonly LAB LAB_DIR LAB_RUN LAB_CACHE LAB_PATH REBERTH_BIN

readonly LAB_PARTS=$LAB_TREE/tools/lab
readonly MAX_HOSTS=9
readonly MGMT_NET=10.77.0 LAN_NET=10.88
# How long daemons get to answer. A machine with two cores starts nine hosts at once in half of it.
readonly BOOT_TIMEOUT_S=60

say() { printf 'lab: %s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

usage_error() {
	say "$*"
	say "try 'lab help'"
	exit 2
}

need_root() {
	((EUID == 0)) || die "must be root"
}

# Close what our caller left open: hosts outlive it, and must not keep its pipes.
close_inherited() {
	local fd
	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		# 255 is the script that bash reads.
		((fd <= 2 || fd == 255)) || exec {fd}>&-
	done
}

# Hold the lab's lock until this process ends. Whatever is to live longer must
# be started with {LAB_LOCK}>&-.
take_lock() {
	need_root
	close_inherited
	mkdir -p "$LAB_RUN"
	exec {LAB_LOCK}>"$LAB_RUN/lock"
	flock -w 300 "$LAB_LOCK" || die "another lab command does not end"
}

# wait_until SECONDS COMMAND...: poll until the command succeeds.
wait_until() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@"; do
		((${EPOCHREALTIME/./} < end)) || return 1
		sleep 0.03
	done
}

# --- processes that we started: remembered as "PID STARTTIME", because a pid alone may be anyone's

# Print the time at which a process started, in ticks since boot.
start_time() {
	local stat
	read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
	# The name in parentheses may hold anything; after it, the start time is the 20th field.
	read -ra stat <<<"${stat##*) }"
	echo "${stat[19]}"
}

remember_process() {
	local file=$1 pid=$2
	echo "$pid $(start_time "$pid")" >"$file"
}

# True if the process has ended, even if nobody has waited for it yet.
process_is_gone() {
	! grep -q '^State:	[^ZX]' "/proc/$1/status" 2>/dev/null
}

# Print the remembered pid if that very process still lives (a zombie does not).
recall_process() {
	local pid time now
	read -r pid time 2>/dev/null <"$1" || return 1
	now=$(start_time "$pid") && [[ $now == "$time" ]] || return 1
	! process_is_gone "$pid" || return 1
	echo "$pid"
}

# --- hosts: h1 to h9

check_names() {
	local host
	for host; do
		[[ $host =~ ^h[1-9]$ ]] || usage_error "'$host' is not a host: they are called h1 to h$MAX_HOSTS"
	done
}

host_mgmt_address() { echo "$MGMT_NET.${1#h}"; }
host_lan_address() { echo "$LAN_NET.0.${1#h}"; }

# Print the pid, seen from here, of a host's PID 1; fails if it is off.
host_pid() { recall_process "$LAB_RUN/$1/pid"; }

host_is_up() { host_pid "$1" >/dev/null; }

# Hosts that are off are an error.
check_running() {
	local host
	check_names "$@"
	for host; do
		host_is_up "$host" || die "$host is not running: 'lab up $host' starts it"
	done
}

# Print the hosts that were ever started since the last `lab down`, running or not.
known_hosts() {
	local dir
	for dir in "$LAB_RUN"/h[1-9]; do
		[[ ! -d $dir ]] || echo "${dir##*/}"
	done
}

# Enter a host's namespaces and run a command there, at its root directory.
in_host() {
	local pid
	check_running "$1"
	pid=$(host_pid "$1")
	shift
	nsenter --target "$pid" --mount --uts --ipc --net --pid \
		env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" "PATH=$LAB_PATH" "$@"
}
