# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# host.sh - a host's life, seen from outside: power on, wait, power off
#
# A host is five namespaces (network, mount, process, IPC, name) that hang on
# its PID 1. No namespace has a file name anywhere: when the processes are gone,
# so are mounts, interfaces and firewall rules.

host_power_on() {
	local host=$1 run=$LAB_RUN/$1 disk=$LAB_DIR/$1 outer pid cables
	mkdir -p "$run" "$disk/etc/reberth" "$disk/log"
	node_certificate "$host" "$disk/etc/reberth"
	reberth_config "$host" >"$disk/etc/reberth/reberth.json"
	[[ -e $disk/etc/docker ]] || image_store_config "$disk/etc/docker"

	rm -f "$run/cables" "$run/pid"
	mkfifo "$run/cables"
	exec {cables}<>"$run/cables"
	setsid env -i "LAB_OF=$LAB" LAB_NAME="${LAB_NAME:-}" "LAB_DIR=$LAB_DIR" \
		"REBERTH_BIN=$REBERTH_BIN" "PATH=$LAB_PATH" \
		unshare --mount --propagation private --net --uts --ipc --pid --fork --mount-proc \
		"$LAB_PARTS/init.sh" "$host" <&"$cables" {cables}>&- {LAB_LOCK}>&- \
		>"$disk/log/boot.log" 2>&1 &
	outer=$!
	wait_until 5 has_child "$outer" || die "$host does not start: $(cat "$disk/log/boot.log")"
	read -r pid <"/proc/$outer/task/$outer/children" || [[ -n $pid ]] # no newline at its end
	remember_process "$run/pid" "$pid"
	wire_host "$host" "$pid"
	echo >&"$cables"
	exec {cables}>&-
	rm -f "$run/cables"
}

# A disk keeps the store that it was made with: Docker sees nothing of what is in the other.
image_store_config() {
	mkdir -p "$1"
	case ${LAB_IMAGE_STORE:-overlay2} in
	overlay2) ;;
	containerd) echo '{"features": {"containerd-snapshotter": true}}' >"$1/daemon.json" ;;
	*) usage_error "LAB_IMAGE_STORE is overlay2 or containerd, not '$LAB_IMAGE_STORE'" ;;
	esac
}

has_child() { [[ -n $(cat "/proc/$1/task/$1/children" 2>/dev/null) ]]; }

# Wait until Docker and reberthd answer; if one does not, pass on why.
host_wait() {
	local host=$1 pid
	wait_until "$((BOOT_TIMEOUT_S * 2))" host_has_settled "$host" || die "$host does not come up: 'lab logs $host boot'"
	pid=$(host_pid "$host") || die "$host died while booting: $(tail -n 3 "$LAB_DIR/$host/log/boot.log")"
	[[ -e /proc/$pid/root/run/lab/ready ]] || {
		cat "/proc/$pid/root/run/lab/error" >&2
		die "$host is up, but not all of it: see 'lab logs $host'"
	}
}

host_has_settled() {
	local pid
	pid=$(host_pid "$1") || return 0
	[[ -e /proc/$pid/root/run/lab/ready || -e /proc/$pid/root/run/lab/failed ]]
}

# Print the fields of `lab status` for a host.
host_status() {
	local host=$1 pid root state=off daemon daemons=() containers=- cables=up rate=none
	if pid=$(host_pid "$host"); then
		root=/proc/$pid/root
		state=booting
		[[ ! -e $root/run/lab/failed ]] || state=failed
		[[ ! -e $root/run/lab/ready ]] || state=up
		containers=$(find "$root"/run/docker/runtime-runc/moby/* -maxdepth 0 2>/dev/null | wc -l) || containers=0
	fi
	for daemon in dockerd reberthd; do
		daemons+=("$([[ $state != off ]] && daemon_runs "$root" "$daemon" && echo up || echo -)")
	done
	[[ ! -e $LAB_RUN/$host/cut ]] || cables="cut"
	[[ ! -e $LAB_RUN/$host/rate ]] || rate=$(<"$LAB_RUN/$host/rate")
	echo "$host" "$state" "${pid:--}" "$(host_mgmt_address "$host")" "$(host_lan_address "$host")" \
		"$rate" "$cables" "${daemons[@]}" "$containers"
}

# daemon_runs ROOT NAME: from outside; the pid is one of the host's own process namespace.
daemon_runs() {
	local pid
	read -r pid _ 2>/dev/null <"$1/run/lab/$2.pid" && grep -q '^State:	[^ZX]' "$1/proc/$pid/status" 2>/dev/null
}

# Power loss. The cables go first, so that dying sockets tell nobody.
host_power_off() {
	local host=$1 pid pids
	! switch_pid >/dev/null || set_ports "$host" down 2>/dev/null || true
	if pid=$(host_pid "$host"); then
		mapfile -t pids < <(cgroup_pids "$LAB/$host" && visitors "$pid")
		kill -KILL "$pid" "${pids[@]}" 2>/dev/null || true
		wait_until 20 host_is_dead "$host" "$pid" || die "$host: processes do not die"
	fi
	kill_strays "$host"
	cgroup_remove "$LAB/$host"
	! switch_pid >/dev/null || unwire_host "$host"
	rm -f "$LAB_RUN/$host/pid" "$LAB_RUN/$host/cables"
}

# Print the pids of processes that are in a host's network or mount namespace.
# Most are in its process namespace too, but who came by nsenter need not be.
visitors() {
	local net mnt
	net=$(readlink "/proc/$1/ns/net")
	mnt=$(readlink "/proc/$1/ns/mnt")
	# The names have brackets, which are to be taken literally.
	{ find /proc/[0-9]*/ns/{net,mnt} \( -lname "${net/[/\\[}" -o -lname "${mnt/[/\\[}" \) 2>/dev/null || true; } |
		cut -d/ -f3 | sort -u
}

host_is_dead() {
	cgroup_thaw "$LAB/$1"
	process_is_gone "$2"
}

# kill_strays [HOST]: kill what an interrupted command started and had no time to
# remember. Everything that is to live on bears the lab's mark in its environment.
kill_strays() {
	local file pid
	while read -r file; do
		pid=${file//[^0-9]/}
		[[ -n ${1:-} && $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") != *" $LAB_PARTS/init.sh $1 " ]] ||
			kill -KILL "$pid" 2>/dev/null || true
	done < <(grep -lzx "LAB_OF=$LAB" /proc/[0-9]*/environ 2>/dev/null || true)
}
