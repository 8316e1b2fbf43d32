#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# init.sh - PID 1 of a lab host: `init.sh HOST`, started by host.sh in new namespaces
#
# Makes the machine's file system look like the host's own where Docker, CRIU
# and reberth keep things, waits for the cables (one line on standard input),
# boots, and from then on only adopts and reaps orphans. Its death is the
# host's power cut: the kernel kills everything in its process namespace.

set -euo pipefail

LAB_TREE=$(cd "$(dirname "$0")/../.." && pwd)
readonly LAB_TREE
# shellcheck source=tools/lab/common.sh
. "$LAB_TREE/tools/lab/common.sh"
# shellcheck source=tools/lab/daemons.sh
. "$LAB_TREE/tools/lab/daemons.sh"

readonly HOST=$1
readonly DISK=$LAB_DIR/$HOST

mount_run() {
	mount -t tmpfs -o mode=755,nosuid,nodev run /run
	mkdir -p /run/lock "$LAB_INSIDE"
	chmod 1777 /run/lock
	[[ /var/run -ef /run ]] || mount --bind /run /var/run
	mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
}

# Copies of what others have mounted on this machine (containers, namespaces)
# would keep it alive when they are done with it.
drop_foreign_mounts() {
	local where type
	while read -r where type; do
		case $type:$where in
		nsfs:* | overlay:*/merged | *:/run/* | *:/var/lib/docker/* | *:/var/lib/containers/*)
			umount -l "$(printf '%b' "$where")" 2>/dev/null || true
			;;
		esac
	done < <(awk '{ for (i = 7; $i != "-"; i++); print $5, $(i + 1) }' /proc/self/mountinfo | tac)
}

# A /sys of this network namespace, with the cgroups of the machine in it. What
# else is mounted below the machine's /sys stays out on purpose: without
# securityfs Docker loads no AppArmor profiles, which would outlive the lab.
mount_sys() {
	local aside=$LAB_INSIDE/cgroup
	mkdir "$aside"
	mount --rbind /sys/fs/cgroup "$aside"
	mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
	mount --rbind "$aside" /sys/fs/cgroup
	umount -l "$aside"
	rmdir "$aside"
}

# Where mount points may be missing, they must not be made on the machine: what
# is written to the directory from here on stays in memory.
mount_scratch_over() {
	local dir=$1 scratch=$LAB_INSIDE/scratch$1
	mkdir -p "$scratch/upper" "$scratch/work"
	mount -t overlay -o "lowerdir=$dir,upperdir=$scratch/upper,workdir=$scratch/work" scratch "$dir"
}

mount_disks() {
	local disk=$LAB_INSIDE/disk dir
	mkdir "$disk"
	mount --bind "$DISK" "$disk"
	mount_scratch_over /etc
	mount_scratch_over /var/lib
	for dir in /var/lib/docker /var/lib/containerd /var/lib/reberth /etc/reberth /etc/docker /etc/criu; do
		mkdir -p "$disk$dir" "$dir"
		mount --bind "$disk$dir" "$dir"
	done
	mkdir -p "$disk/log" "$LAB_INSIDE/log"
	mount --bind "$disk/log" "$LAB_INSIDE/log"
}

# What makes a reboot seen: the identity of this run of the kernel.
mount_boot_id() {
	cat /proc/sys/kernel/random/uuid >"$LAB_INSIDE/boot_id"
	mount --bind "$LAB_INSIDE/boot_id" /proc/sys/kernel/random/boot_id
}

set_names() {
	local number
	echo "$HOST" >/proc/sys/kernel/hostname
	echo "$HOST" >/etc/hostname
	{
		echo "127.0.0.1 localhost"
		for ((number = 1; number <= MAX_HOSTS; number++)); do
			echo "$MGMT_NET.$number h$number"
		done
	} >/etc/hosts
	# There is no name server: whoever asks is told so at once. A real file, not the machine's link.
	rm -f /etc/resolv.conf
	echo "nameserver $(host_mgmt_address "$HOST")" >/etc/resolv.conf
}

# With cgroup v2 alone, the daemons leave the session that the lab was started
# from. (With v1 they stay in its root cgroups.)
enter_cgroup() {
	[[ -e /sys/fs/cgroup/cgroup.controllers ]] || return 0
	mkdir -p "/sys/fs/cgroup/$LAB/$HOST/system"
	echo 0 >"/sys/fs/cgroup/$LAB/$HOST/system/cgroup.procs"
}

configure_network() {
	local port
	for port in eth0 lan0; do
		echo 1 >"/proc/sys/net/ipv6/conf/$port/disable_ipv6"
	done
	# Neighbours learn a restarted host's addresses at once.
	echo 1 >/proc/sys/net/ipv4/conf/default/arp_notify
	ip -batch - <<-END
		link set lo up
		link set eth0 up
		link set lan0 up
		address add $(host_mgmt_address "$HOST")/24 dev eth0
	END
}

# reberthd first: Docker asks it for addresses when it starts containers of its networks.
boot() {
	daemon_start reberthd && daemon_start dockerd
}

drop_foreign_mounts
mount_run
mount_sys
mount_disks
mount_boot_id
mount --make-rshared / # as systemd does
set_names
enter_cgroup
cd /

read -r -t 30 _ || die "$HOST: nobody plugged the cables in"
configure_network
exec </dev/null

if boot 2>"$LAB_INSIDE/error"; then
	cat "$LAB_INSIDE/error" >&2
	touch "$LAB_INSIDE/ready"
else
	touch "$LAB_INSIDE/failed"
fi

set +e
while :; do
	sleep infinity &
	wait
done
