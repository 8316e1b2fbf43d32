#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lab_down_test.sh - after `lab down` the machine is as it was before `lab up`
#
# Compares processes, namespaces, mounts, cgroups, interfaces and firewall rules.
# All but cgroups have a namespace, so the test runs in new ones: what else
# happens on the machine is not seen, and what the lab leaves has nowhere to
# hide. Of cgroups only those count that were made meanwhile by the lab, which
# is told by the name. First of all the comparison must see what is planted.
#
# Prints TAP. Needs root, tools/setup --lab and nothing else.

set -uo pipefail

tree=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
export LAB_NAME=down-test
mark=reberth-lab-$LAB_NAME

if ((EUID != 0)); then
	echo "1..0 # SKIP needs root"
	exit 0
fi
if [[ ${1:-} != --inside ]]; then
	exec unshare --mount --net --pid --fork --kill-child --mount-proc "$0" --inside
fi

kinds=(processes namespaces mounts cgroups interfaces firewall)
tests=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

lab() { "$tree/lab" "$@"; }

# ok STATUS NAME: one test; what is in $work/why goes with a failure.
ok() {
	tests=$((tests + 1))
	if (($1 == 0)); then
		echo "ok $tests - $2"
	else
		failed=$((failed + 1))
		echo "not ok $tests - $2"
		sed 's/^/# /' "$work/why"
	fi
	: >"$work/why"
}

# run COMMAND...: a step that has to succeed, as a test.
run() {
	"$@" >"$work/why" 2>&1
	ok $? "$*"
}

snapshot_processes() {
	local dir
	for dir in /proc/[0-9]*; do
		# Ourselves, the pipeline that we are, and what has died since.
		[[ ! -r $dir/exe ]] || is_ours "${dir#/proc/}" || echo "${dir#/proc/} $(tr '\0' ' ' <"$dir/cmdline")"
	done 2>/dev/null
}

# True for this shell and its children that serve the comparison.
is_ours() {
	local stat
	[[ $1 != "$$" && $1 != "$BASHPID" ]] || return 0
	read -r stat <"/proc/$1/stat" || return 0
	read -ra stat <<<"${stat##*) }"
	[[ ${stat[1]} == "$$" && $(tr '\0' ' ' <"/proc/$1/cmdline") == *"$0 --inside"* ]]
}

snapshot_namespaces() {
	find /proc/[0-9]*/ns -type l -printf '%l\n' 2>/dev/null | sort -u
	ls /run/netns 2>/dev/null
}

snapshot_mounts() { cut -d' ' -f3-6 /proc/self/mountinfo | sort; }

snapshot_cgroups() { find /sys/fs/cgroup -type d -path "*/$mark*" 2>/dev/null | sort; }

snapshot_interfaces() { ip -o link show | sed 's/^[0-9]*: //' | sort; }

snapshot_firewall() {
	nft list ruleset
	iptables-save 2>&1 | grep -v '^#'
	ip6tables-save 2>&1 | grep -v '^#'
}

snapshot() {
	local kind
	mkdir -p "$work/$1"
	for kind in "${kinds[@]}"; do
		"snapshot_$kind" >"$work/$1/$kind"
	done
}

# same KIND: true if nothing of that kind has come or gone since the snapshot
# `before`. What is dying gets time to.
same() {
	local end=$((SECONDS + 10))
	while :; do
		"snapshot_$1" >"$work/now"
		diff "$work/before/$1" "$work/now" >"$work/why" && return 0
		((SECONDS < end && ${2:-1})) || return 1
		sleep 0.2
	done
}

all_same() {
	local kind
	for kind in "${kinds[@]}"; do
		same "$kind"
		ok $? "$1: $kind as before"
	done
}

# sees KIND NAME: the comparison notices what has just been planted.
sees() {
	! same "$1" 0
	ok $? "the comparison sees $2"
}

prove_that_it_can_fail() {
	local pid dir
	sleep 1000 &
	pid=$!
	sees processes "a process"
	kill "$pid"
	wait "$pid" 2>/dev/null
	unshare --net sleep 1000 &
	pid=$!
	until [[ $(readlink /proc/$pid/ns/net) != "$(readlink /proc/$$/ns/net)" ]]; do sleep 0.01; done
	sees namespaces "a namespace"
	kill "$pid"
	wait "$pid" 2>/dev/null
	mount -t tmpfs planted "$work"/planted
	sees mounts "a mount"
	umount "$work/planted"
	dir=$(find /sys/fs/cgroup -name cgroup.procs -printf '%h\n' -quit 2>/dev/null)/$mark-planted
	mkdir "$dir"
	sees cgroups "a cgroup"
	rmdir "$dir"
	ip link add planted type bridge
	sees interfaces "an interface"
	ip link del planted
	nft add table inet planted
	sees firewall "a firewall rule"
	nft delete table inet planted
}

# What others mount comes and goes: containers, named namespaces, temporary things.
awk -v tree="$tree/" '$5 ~ "^/(run|tmp|var/tmp)/|/merged$" && index(tree, $5 "/") != 1 { print $5 }' \
	/proc/self/mountinfo | tac | xargs -r umount -l
mount -t tmpfs run /run

mkdir "$work/planted"
: >"$work/why"
lab down
snapshot before

prove_that_it_can_fail
all_same "planted and removed"

run lab up 2
run lab image h1 busybox
run lab sh h1 docker run -d --name one --network lan busybox sleep 1000
run lab sh h1 docker run -d --name two -p 8080:80 busybox sleep 1000
for kind in processes namespaces cgroups; do sees "$kind" "the lab: $kind"; done
for kind in mounts interfaces firewall; do
	same "$kind" 0
	ok $? "a running lab leaves alone: $kind"
done
run lab link h1 --rate 100mbit
run lab cut h2
run lab down
all_same "down after a cut"

run lab up 2
run lab image h1 busybox
run lab sh h1 docker run -d --name frozen --network lan busybox sleep 1000
run lab sh h1 docker pause frozen
run lab kill h2
run lab restart --no-wait h2
run lab down
all_same "down with a frozen container and a booting host"

for delay in 0.1 0.2 0.4 0.8; do
	lab up 2 >/dev/null 2>&1 &
	pid=$!
	sleep "$delay"
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null
	run lab down
	all_same "down after 'lab up' was killed at $delay s"
done

run lab down
[[ ! -e /run/$mark && ! -e /var/lib/$mark ]]
ok $? "no files left"

echo "1..$tests"
((failed == 0))
