# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# daemons.sh - dockerd and reberthd of a host; runs inside it
#
# Sourced by init.sh for the boot and run by `lab daemon` later:
#   daemons.sh HOST start|stop|kill|restart dockerd|reberthd [NAME=VALUE...]

if [[ -z ${LAB_TREE:-} ]]; then
	set -euo pipefail
	LAB_TREE=$(cd "$(dirname "$0")/../.." && pwd)
	readonly LAB_TREE
	# shellcheck source=tools/lab/common.sh
	. "$LAB_TREE/tools/lab/common.sh"
fi

# The lab's own corner in a host's /run.
readonly LAB_INSIDE=/run/lab
readonly DOCKER_SOCKET=/var/run/docker.sock
readonly REBERTH_SOCKET=/run/reberth/api.sock

# launch NAME [VARIABLE=VALUE...] COMMAND...: start a daemon with a clean
# environment and remember its pid. Orphaned by our end, it belongs to PID 1.
launch() {
	local name=$1
	shift
	setsid env -i HOME=/root LANG=C.UTF-8 "LAB_OF=$LAB" "PATH=$LAB_PATH" "$@" \
		</dev/null >>"$LAB_INSIDE/log/$name.log" 2>&1 &
	remember_process "$LAB_INSIDE/$name.pid" $!
}

daemon_pid() { recall_process "$LAB_INSIDE/$1.pid"; }

# answers SOCKET: true if an HTTP server answers there, whatever it says.
answers() { curl -s -o /dev/null -m 2 --unix-socket "$1" http://localhost/_ping; }

# await NAME SOCKET: until the daemon answers; fails at once if it died.
await() {
	local name=$1 socket=$2
	wait_until "$BOOT_TIMEOUT_S" answers_or_died "$name" "$socket" && daemon_pid "$name" >/dev/null &&
		return
	say "$HOST: $name does not answer; the end of its log:"
	tail -n 5 "$LAB_INSIDE/log/$name.log" >&2
	return 1
}

answers_or_died() { answers "$2" || ! daemon_pid "$1" >/dev/null; }

# Where images and containers are kept: as the host's disk has been set up for (host.sh).
dockerd_start() {
	local store=(--storage-driver overlay2)
	! grep -qs containerd-snapshotter /etc/docker/daemon.json || store=()
	launch dockerd "$@" dockerd --host "unix://$DOCKER_SOCKET" \
		--bip 172.30.0.1/16 "${store[@]}" --live-restore=false \
		--exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$LAB/$HOST" \
		--add-runtime "reberth-runtime=$REBERTH_BIN/reberth-runtime"
}

dockerd_wait() { await dockerd "$DOCKER_SOCKET"; }

# Every host takes its containers' addresses from a range of its own out of the
# common subnet, so that they never clash, and has its own address in it.
lan_create() {
	local number=${HOST#h}
	docker network create --driver bridge --opt com.docker.network.bridge.name=br-lan \
		--subnet "$LAN_NET.0.0/16" --gateway "$LAN_NET.0.$number" --ip-range "$LAN_NET.$number.0/24" \
		--aux-address "reserved=$LAN_NET.$number.0" lan >/dev/null
}

# Put the cable into the bridge of Docker's network. The bridge keeps one
# hardware address whatever is plugged into it, over restarts too.
lan_attach() {
	docker network inspect lan >/dev/null 2>&1 || lan_create || return 1
	ip -batch - <<-END
		link set lan0 master br-lan
		link set br-lan address 02:00:0a:58:01:0${HOST#h}
	END
}

reberthd_start() {
	[[ -x $REBERTH_BIN/reberthd ]] || return 0 # not built yet
	launch reberthd "$@" "$REBERTH_BIN/reberthd" --config /etc/reberth/reberth.json
}

reberthd_wait() {
	[[ ! -x $REBERTH_BIN/reberthd ]] || await reberthd "$REBERTH_SOCKET"
}

daemon_start() {
	local name=$1
	! daemon_pid "$name" >/dev/null || return 0
	"${name}_start" "${@:2}" && "${name}_wait" || return 1
	[[ $name != dockerd ]] || lan_attach
}

# daemon_end NAME SIGNAL
daemon_end() {
	local pid
	pid=$(daemon_pid "$1") || return 0
	kill -"$2" "$pid"
	wait_until "$BOOT_TIMEOUT_S" process_is_gone "$pid" || die "$HOST: $1 (pid $pid) does not end"
}

daemons_main() {
	local verb=$1 name=$2
	case $verb in
	start) daemon_start "$name" "${@:3}" ;;
	stop) daemon_end "$name" TERM ;;
	kill) daemon_end "$name" KILL ;;
	restart)
		daemon_end "$name" TERM
		daemon_start "$name" "${@:3}"
		;;
	esac
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
	readonly HOST=$1
	daemons_main "${@:2}"
fi
