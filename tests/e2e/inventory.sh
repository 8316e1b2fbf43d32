#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# inventory.sh - what there is on a lab host, as sorted lines to compare; runs inside the host
#
#   inventory.sh LAB
#
# What belongs to a container that exists is left out of the lists (its mounts,
# its processes, its cgroups, its files), and described in lines "container NAME ..."
# of its own, without what differs between hosts: so the host that runs a moved
# container should show its own lines from before, and the container's lines that
# the other host had. A container is found in what it owns by its tokens: its id,
# and the names of its writable layer, its network namespace and its volumes.

set -euo pipefail
export LC_ALL=C

readonly LAB=$1 HOST=$HOSTNAME
readonly RUN=/run/reberth STATE=/var/lib/reberth

tokens=() # of all containers
pids=()   # of all processes that are to be told apart, with their cgroups
declare -A name_of

# --- containers

read_containers() {
	local id name layer sandbox volumes
	while IFS=$'\t' read -r id name layer sandbox volumes; do
		name_of[$id]=$name
		tokens+=("$id")
		[[ -z $layer ]] || tokens+=("$layer")
		[[ -z $sandbox ]] || tokens+=("$sandbox")
		# shellcheck disable=SC2206 # names of volumes have no blanks
		[[ -z $volumes ]] || tokens+=($volumes)
	done < <(docker ps -aq --no-trunc | xargs -r docker inspect | jq -r '.[] | [
		.Id, .Name[1:],
		(.GraphDriver.Data.UpperDir // "" | split("/") | .[-2] // ""),
		(.NetworkSettings.SandboxKey // "" | split("/") | .[-1] // ""),
		([.Mounts[]? | select(.Type == "volume") | .Name] | join(" "))] | join("\t")')
}

# Drop the lines that hold a token of a container.
foreign_lines() {
	if ((${#tokens[@]})); then
		grep -vF "$(printf '%s\n' "${tokens[@]}")" || true
	else
		cat
	fi
}

# Print what a container is like: nothing of that may change by a move.
describe_container() {
	local id=$1 name=${name_of[$1]} pid state
	docker inspect "$id" | jq -r --arg name "$name" '.[0] | "container \($name) " + (
		"state \(.State.Status)",
		"policy \(.HostConfig.RestartPolicy.Name)",
		"volumes \([.Mounts[] | select(.Type == "volume") | .Name] | sort | join(" "))")'
	pid=$(docker inspect -f '{{.State.Pid}}' "$id")
	((pid)) || return 0
	# the ports of Docker's name server are given at random
	nsenter --target "$pid" --net nft list ruleset 2>/dev/null |
		sed "/^$/d; s/counter packets [0-9]* bytes [0-9]* *//; s/127.0.0.11:[0-9]*/127.0.0.11:PORT/; s/sport [0-9]*/sport PORT/
			s/^/container $name nft /"
	nsenter --target "$pid" --net ip -br link | awk -v name="$name" '$1 != "lo" {
		sub(/@.*/, "", $1); print "container", name, "link", $1, $2, $3 }'
	nsenter --target "$pid" --net ip -br -4 address | awk -v name="$name" '{
		sub(/@.*/, "", $1); print "container", name, "address", $1, $3 }'
	state=$(freezer_of "$id")
	echo "container $name freezer ${state:-none}"
}

freezer_of() {
	local file
	for file in /sys/fs/cgroup/freezer/"$LAB/$HOST/$1"/freezer.state \
		/sys/fs/cgroup/"$LAB/$HOST/$1"/cgroup.freeze; do
		[[ ! -e $file ]] || sed 's/^0$/THAWED/; s/^1$/FROZEN/' "$file"
	done
}

# --- processes: all of this host's, but those that somebody came in with from outside

list_processes() {
	local pid parent stat args cgroup id visitors=" $$ "
	mapfile -t pids < <(ps -eo pid=,ppid=,stat=,args= --sort pid)
	for line in "${pids[@]}"; do
		read -r pid parent stat args <<<"$line"
		if ((parent == 0 && pid != 1)) || [[ $visitors == *" $parent "* ]]; then
			visitors+="$pid "
			continue
		fi
		cgroup=$(cat "/proc/$pid/cgroup" 2>/dev/null) || continue
		for id in "${!name_of[@]}"; do
			[[ $cgroup == *"$id"* ]] || continue
			# the two that stand for a container that arrived live as long as it does
			[[ $(cat "/proc/$pid/comm" 2>/dev/null) == reberth-@(holder|guard) ]] ||
				echo "container ${name_of[$id]} process $args"
			continue 2
		done
		[[ $args != *"--worker layers"* ]] || continue # comes by now and then
		[[ $stat != Z* ]] || args="zombie $args"
		echo "process $args"
	done | foreign_lines
}

# --- the rest

list_mounts() {
	awk '{ for (i = 7; $i != "-"; i++); print "mount", $5, $(i + 1), $4 }' /proc/self/mountinfo |
		grep -vE '^mount (/run/docker/netns/default|/var/tmp/|/tmp/[^.])' | foreign_lines # Docker's own, the machine's
}

# Docker from 28 on has a rule per container that is there: reached only through its bridge.
list_firewall() {
	local address of_docker=(-e $'\1')
	for address in $(docker ps -q | xargs -r docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}'); do
		of_docker+=(-e "ip daddr $address iifname != ")
	done
	nft list ruleset 2>/dev/null | sed 's/counter packets [0-9]* bytes [0-9]* *//; /^$/d; s/^/nft /' |
		grep -vF "${of_docker[@]}"
}

# Of the interfaces of containers there must be as many as containers have in networks.
list_links() {
	local endpoints
	ip -br link | awk '!/^veth/ { sub(/@.*/, "", $1); print "link", $1, $1 == "docker0" ? "" : $3 }'
	endpoints=$(docker network ls -q | xargs -r docker network inspect | jq '[.[].Containers | length] | add')
	echo "link veth surplus $(($(ip -br link | grep -c ^veth || true) - endpoints))"
}

list_cgroups() {
	local dir
	for dir in /sys/fs/cgroup/*/"$LAB/$HOST" /sys/fs/cgroup/"$LAB/$HOST"; do
		[[ ! -d $dir ]] || find "$dir" -mindepth 1 -type d -printf 'cgroup %p\n'
	done | sort -u | foreign_lines
}

# Files of ended migrations, of the engine's containers and layers.
list_files() {
	find "$RUN" "$STATE" -mindepth 1 \( -type d -printf 'dir %p/\n' -o -printf 'file %p\n' \) 2>/dev/null |
		grep -vE "^(file|dir) $STATE/layers.db" | # what layers hold
		grep -vE "^file $STATE/journal.db-(wal|shm)\$|^file $RUN/(fault|criu.checked|images.lock|pushes/|volumes.lock|forwards.lock|networks.lock|(plugin|mesh).lock)|^dir ($RUN|$STATE)/(migrations|arrivals|placeholders|pushes)/\$|^(file|dir) $STATE/images/" | foreign_lines
	find /var/lib/docker/{containers,volumes,overlay2} /run/docker/{netns,containerd/daemon/io.containerd.runtime.v2.task/moby} \
		/run/docker/{runtime-runc,runtime-reberth-runtime}/moby /var/lib/docker/image/overlay2/layerdb/mounts \
		/var/lib/docker/rootfs/overlayfs \
		-mindepth 1 -maxdepth 1 -type d -printf 'docker file %p\n' 2>/dev/null | foreign_lines
}

list_objects() {
	docker volume ls -q | sed 's/^/volume /' | foreign_lines
	docker network ls -q | sed 's/^/network /'
	docker image ls -aq --no-trunc | sort -u | sed 's/^/image /'
}

list_connections() {
	ss -Htan 'sport = :7480 or dport = :7480' | awk '$1 !~ /LISTEN|TIME-WAIT/ { print "connection", $1 }'
}

read_containers
{
	for id in "${!name_of[@]}"; do describe_container "$id"; done
	list_processes
	list_mounts
	list_firewall
	list_links
	list_cgroups
	list_files
	list_objects
	list_connections
} | sort
