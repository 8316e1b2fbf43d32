# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# stop_and_copy.sh - the peer "runc": what a person does with runc, CRIU and tar, without Docker's checkpoints
#
# A container of Docker's is dumped with `runc checkpoint` out of Docker's own runtime folder, which
# ends it; the images go through a TCP connection; on the other host `runc restore` makes it again
# from a bundle that waits there with its files and its network. Docker there knows nothing of it.
#
# peer_runc_move FROM TO does it once, with a container of its own, and sets $runc_times (began
# dumped bytes copied restored) and $runc_beat (ms, as a listener of UDP sees it). A client with a TCP
# connection must be served again, too.

# variables of lib.sh; text in single quotes is for a host's shell
# shellcheck disable=SC2154,SC2016

readonly RUNC_SERVER=copied RUNC_PORT=7501
# In memory, on both sides, to the peer's advantage.
readonly RUNC_DIR=/run/lab/copied

# The bundle: Docker's own, with the files that Docker mounts beside it, and a network that is there already.
# Nothing is written to the container's files, so its image has them all.
readonly RUNC_BUNDLE='
	cd "$1" && mkdir -p rootfs images work &&
	docker create --name "$2" echod /echod >/dev/null && docker export "$2" | tar -x -C rootfs && docker rm "$2" >/dev/null &&
	ip netns add moved && ip -n moved link set lo up &&
	ip link add moved0 type veth peer name eth0 address "$4" netns moved && ip link set moved0 master br-lan &&
	ip -n moved address add "$3/16" dev eth0 && ip -n moved link set eth0 up'

# On the target: take the images, plug the cable in, restore.
readonly RUNC_TARGET='
	cd "$1" || exit
	python3 -c "$4" "$2" images || exit
	copied=${EPOCHREALTIME/./}
	ip link set moved0 up
	runc restore --detach --tcp-established --file-locks --bundle . --image-path images --work-path work \
		"$3" </dev/null >output 2>&1 || { grep -h Error work/restore.log output | tail -n 3 >&2; exit 1; }
	echo "$copied ${EPOCHREALTIME/./}"'

# On the source: dump, which ends the container, and send. Docker gave it a network namespace without a
# name, which CRIU has to be told to leave alone.
readonly RUNC_SOURCE='
	mkdir -p "$1/images" "$1/work" && cd "$1" || exit
	printf "external net[%s]:extRootNetNS\n" "$(stat -L -c %i "/proc/$2/ns/net")" >/etc/criu/runc.conf
	began=${EPOCHREALTIME/./}
	runc --root /run/docker/runtime-runc/moby checkpoint --tcp-established --file-locks --image-path images --work-path work \
		"$3" >output 2>&1 || { grep -h Error work/dump.log output | tail -n 3 >&2; exit 1; }
	dumped=${EPOCHREALTIME/./}
	tar -b2048 -c -C images . >"/dev/tcp/$4/$5" || exit
	echo "$began $dumped $(du -sb images | cut -f1)"'

# peer_runc_prepare FROM TO: sets $runc_id and $runc_pid
peer_runc_prepare() {
	local mac from_files=/var/lib/docker/containers
	server_start "$1" lan "$RUNC_SERVER"
	runc_id=$(on "$1" docker inspect -f '{{.Id}}' "$RUNC_SERVER")
	runc_pid=$(on "$1" docker inspect -f '{{.State.Pid}}' "$RUNC_SERVER")
	mac=$(on "$1" docker inspect -f '{{.NetworkSettings.Networks.lan.MacAddress}}' "$RUNC_SERVER")
	# the switch may remember the address at the other host, from the last move
	on "$1" nsenter -t "$runc_pid" -n busybox ping -c 1 -w 5 "10.88.0.${CLIENT_HOST#h}" >/dev/null
	on "$2" mkdir -p "$RUNC_DIR/files/mounts/shm"
	on "$1" tar -c -C "$from_files/$runc_id" hosts hostname resolv.conf | on "$2" tar -x -C "$RUNC_DIR/files"
	on "$1" cat "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/$runc_id/config.json" |
		jq --arg here "$from_files/$runc_id" --arg there "$RUNC_DIR/files" --arg from "$1" --arg to "$2" '
			.root.path = "rootfs" | del(.hooks) | .linux.cgroupsPath |= sub("/" + $from + "/"; "/" + $to + "/") |
			(.linux.namespaces[] | select(.type == "network")).path = "/run/netns/moved" |
			.mounts[].source |= (if type == "string" and startswith($here) then $there + .[($here | length):] else . end)' |
		on "$2" tee "$RUNC_DIR/config.json" >/dev/null
	on "$2" sh -c "$RUNC_BUNDLE" - "$RUNC_DIR" "$RUNC_SERVER" "$server_address" "$mac"
}

peer_runc_clear() {
	on "$2" sh -c 'runc delete --force "$1"; ip netns del moved; ip link del moved0' - "$RUNC_SERVER" >/dev/null 2>&1 || true
	on "$1" sh -c 'docker rm -f "$1"; rm -f /etc/criu/runc.conf' - "$RUNC_SERVER" >/dev/null 2>&1 || true
	on "$1" rm -rf "$RUNC_DIR"
	on "$2" rm -rf "$RUNC_DIR"
}

peer_runc_move() {
	local target source
	peer_runc_clear "$1" "$2"
	peer_runc_prepare "$1" "$2" || die "runc: $2 cannot be prepared"
	client_start copied
	client_start beat --beat
	client_begin copied
	client_begin beat
	on "$2" bash -o pipefail -c "$RUNC_TARGET" - "$RUNC_DIR" "$RUNC_PORT" "$RUNC_SERVER" "$RECEIVE" >"$bench_work/target" 2>"$bench_work/target.err" &
	target=$!
	wait_for 10 receives "$2" "$RUNC_PORT" || die "runc: nobody takes the copy on $2"
	if ! source=$(on "$1" bash -o pipefail -c "$RUNC_SOURCE" - "$RUNC_DIR" "$runc_pid" "$runc_id" "$2" "$RUNC_PORT" 2>"$bench_work/source.err"); then
		kill "$target" 2>/dev/null || true
		die "runc checkpoint: $(<"$bench_work/source.err")"
	fi
	wait "$target" || die "runc restore: $(<"$bench_work/target.err")"
	# shellcheck disable=SC2034 # used by the benchmark
	runc_times="$source $(<"$bench_work/target")"
	client_longest beat
	# shellcheck disable=SC2034
	runc_beat=$longest
	client_longest copied
	client_stop beat
	client_stop copied
	peer_runc_clear "$1" "$2"
}
