# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# verbs.sh - one function per command of the lab

# shellcheck source=tools/lab/config.sh
. "$LAB_PARTS/config.sh"
# shellcheck source=tools/lab/cgroup.sh
. "$LAB_PARTS/cgroup.sh"
# shellcheck source=tools/lab/network.sh
. "$LAB_PARTS/network.sh"
# shellcheck source=tools/lab/host.sh
. "$LAB_PARTS/host.sh"
# shellcheck source=tools/lab/image.sh
. "$LAB_PARTS/image.sh"

lab_help() { cat "$LAB_PARTS/help.txt"; }

# lab up [N | HOST...]
lab_up() {
	local hosts=() host number
	if (($# == 0)) || [[ $1 =~ ^[0-9]+$ ]]; then
		(($# <= 1)) || usage_error "up takes one number, or names of hosts"
		number=${1:-3}
		((number >= 1 && number <= MAX_HOSTS)) || usage_error "the lab has 1 to $MAX_HOSTS hosts"
		mapfile -t hosts < <(seq -f 'h%.0f' "$number")
	else
		hosts=("$@")
	fi
	check_names "${hosts[@]}"

	take_lock
	echo "$REBERTH_BIN" >"$LAB_RUN/programs"
	ca_create
	switch_start
	for host in "${hosts[@]}"; do
		host_is_up "$host" && continue
		host_power_off "$host"
		host_power_on "$host"
	done
	for host in "${hosts[@]}"; do host_wait "$host"; done
	[[ -x $REBERTH_BIN/reberthd ]] || say "the hosts run without reberthd: there is no $REBERTH_BIN/reberthd"
}

lab_down() {
	local keep=no host
	case ${1:-} in
	'') ;;
	--keep) keep=yes ;;
	*) usage_error "down takes --keep or nothing" ;;
	esac
	take_lock
	for host in $(known_hosts); do host_power_off "$host"; done
	switch_stop
	kill_strays
	cgroup_remove "$LAB"
	[[ $keep == yes ]] || rm -rf --one-file-system "$LAB_DIR"
	rm -rf "$LAB_RUN"
}

lab_kill() {
	(($#)) || usage_error "kill which host?"
	local host
	check_names "$@"
	take_lock
	for host; do
		[[ -d $LAB_RUN/$host ]] || die "there is no $host"
		host_power_off "$host"
	done
}

# lab restart [--no-wait] HOST...
lab_restart() {
	local wait=yes hosts=() host
	for host; do
		case $host in
		--no-wait) wait=no ;;
		*) hosts+=("$host") ;;
		esac
	done
	((${#hosts[@]})) || usage_error "restart which host?"
	check_names "${hosts[@]}"
	take_lock
	for host in "${hosts[@]}"; do
		[[ -d $LAB_RUN/$host ]] || die "there is no $host: 'lab up $host' makes it"
		host_power_off "$host"
		host_power_on "$host"
	done
	[[ $wait == yes ]] || return 0
	for host in "${hosts[@]}"; do host_wait "$host"; done
}

# lab sh HOST [COMMAND...]: standard input, exit status, signals and the current
# directory are those of the caller. The command is a child of nsenter's, in the
# host's process namespace; this shell stands between and dies with it.
lab_sh() {
	(($#)) || usage_error "sh on which host?"
	need_root
	local pid directory=/
	check_running "$1"
	pid=$(host_pid "$1")
	shift
	(($#)) || set -- "${SHELL:-/bin/bash}"
	[[ ! -d /proc/$pid/root$PWD ]] || directory=$PWD
	export PATH=$LAB_PATH:$PATH DOCKER_HOST=unix:///var/run/docker.sock
	unset DOCKER_CONTEXT LC_ALL
	exec nsenter --target "$pid" --mount --uts --ipc --net --pid --no-fork --wdns="$directory" \
		/bin/bash "$LAB_PARTS/run.sh" "$@"
}

# Hosts that are up; all cut or healed at the switch's side.
lab_cut() {
	(($#)) || usage_error "cut which host off?"
	local host
	take_lock
	check_running "$@"
	for host; do
		touch "$LAB_RUN/$host/cut"
		set_ports "$host" down
	done
}

lab_heal() {
	(($#)) || usage_error "heal which host?"
	local host
	take_lock
	check_running "$@"
	for host; do
		rm -f "$LAB_RUN/$host/cut"
		set_ports "$host" up
	done
}

# lab link HOST --rate RATE|none
lab_plug() {
	(($# == 2)) || usage_error "plug HOST NAME"
	[[ $2 =~ ^[a-z][a-z0-9]{0,7}$ ]] || usage_error "'$2' cannot be a device's name here: letters and digits, 8 at most"
	take_lock
	check_running "$1"
	plug_device "$1" "$2"
}

lab_link() {
	(($# == 3)) || usage_error "link HOST --rate RATE|none"
	local host=$1 pid
	[[ $2 != --delay ]] || die "there is no delay: many kernels lack netem, so the lab does not use it"
	[[ $2 == --rate ]] || usage_error "unknown option '$2'"
	[[ $3 == none ]] || rate_bytes_per_s "$3" >/dev/null
	take_lock
	check_running "$host"
	pid=$(host_pid "$host")
	echo "$3" >"$LAB_RUN/$host/rate"
	[[ $3 != none ]] || rm "$LAB_RUN/$host/rate"
	link_shape "$host" "$pid"
}

# lab daemon HOST start|stop|kill|restart dockerd|reberthd [NAME=VALUE...]
lab_daemon() {
	(($# >= 3)) || usage_error "daemon HOST start|stop|kill|restart dockerd|reberthd [NAME=VALUE...]"
	local host=$1 verb=$2 name=$3
	[[ $verb =~ ^(start|stop|kill|restart)$ ]] || usage_error "unknown verb '$verb'"
	[[ $name =~ ^(dockerd|reberthd)$ ]] || usage_error "unknown daemon '$name'"
	need_root
	close_inherited
	check_running "$host"
	in_host "$host" LAB_NAME="${LAB_NAME:-}" "REBERTH_BIN=$REBERTH_BIN" \
		bash "$LAB_PARTS/daemons.sh" "$host" "$verb" "$name" "${@:4}"
}

# lab logs HOST [dockerd|reberthd|boot] [-f]
lab_logs() {
	(($#)) || usage_error "logs of which host?"
	local host=$1 names=() follow=() name
	check_names "$host"
	for name in "${@:2}"; do
		case $name in
		-f) follow=(-F) ;;
		docker) names+=(dockerd) ;;
		dockerd | reberthd | boot) names+=("$name") ;;
		*) usage_error "there is no log '$name'" ;;
		esac
	done
	((${#names[@]})) || names=(boot dockerd reberthd)
	[[ -d $LAB_DIR/$host/log ]] || die "there are no logs of $host"
	cd "$LAB_DIR/$host/log" || exit
	touch "${names[@]/%/.log}"
	exec tail -n +1 "${follow[@]}" "${names[@]/%/.log}"
}

# lab image HOST... NAME
lab_image() {
	(($# >= 2)) || usage_error "image HOST... NAME, one of: $(image_names | xargs)"
	local name=${*: -1} hosts=("${@:1:$#-1}") host dir loads=() load
	[[ -e $RECIPES/$name.sh ]] || usage_error "there is no image '$name', but $(image_names | xargs)"
	need_root
	check_running "${hosts[@]}"
	mkdir -p "$LAB_CACHE"
	exec {cache_lock}>"$LAB_CACHE/lock"
	flock "$cache_lock"
	dir=$(image_build "$name")
	for host in "${hosts[@]}"; do
		image_load "$host" "$name" "$dir" &
		loads+=($!)
	done
	for load in "${loads[@]}"; do wait "$load"; done
}

lab_wait() {
	(($#)) || usage_error "wait for which host?"
	local host
	need_root
	check_running "$@"
	for host; do host_wait "$host"; done
}

# What a host's PID 1 sees is read through /proc/PID/root; nothing is run there.
lab_status() {
	(($# == 0)) || usage_error "status takes no arguments"
	need_root
	local host row='%-5s %-8s %-8s %-11s %-11s %-9s %-6s %-8s %-9s %s\n'
	[[ -n $(known_hosts) ]] || {
		say "no hosts: 'lab up' makes some"
		return
	}
	# shellcheck disable=SC2059 # the format is ours
	printf "$row" HOST STATE PID MGMT LAN RATE CABLES DOCKERD REBERTHD CONTAINERS
	for host in $(known_hosts); do
		# shellcheck disable=SC2046,SC2059 # one word per column
		printf "$row" $(host_status "$host")
	done
}

lab_pid() {
	(($# == 1)) || usage_error "pid of which host?"
	check_running "$1"
	host_pid "$1"
}
