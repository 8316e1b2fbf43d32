# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# cgroup.sh - the cgroups of a host's containers, in version 1, 2 or both
#
# Version 1 is why this exists: a frozen task does not die of SIGKILL until its
# cgroup is thawed, and must not be thawed before the signal is there, or it
# would run on for a moment.

# Print the directory of a cgroup (lab or lab/host) in every hierarchy where it exists.
cgroup_dirs() {
	local where type
	while read -r where type; do
		[[ $type != cgroup && $type != cgroup2 ]] || [[ ! -d $where/$1 ]] || echo "$where/$1"
	done < <(awk '$4 == "/" { for (i = 7; $i != "-"; i++); print $5, $(i + 1) }' /proc/self/mountinfo)
}

# Print the pids of all processes in a cgroup and below it.
cgroup_pids() {
	local dirs
	mapfile -t dirs < <(cgroup_dirs "$1")
	((${#dirs[@]})) || return 0
	find "${dirs[@]}" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un
}

cgroup_thaw() {
	local file
	while read -r file; do
		case $file in
		*/freezer.state) echo THAWED ;;
		*) echo 0 ;;
		esac >"$file" 2>/dev/null || true
	done < <(cgroup_dirs "$1" | xargs -r -I{} find {} \( -name freezer.state -o -name cgroup.freeze \))
}

# Remove a cgroup and all below it. Tasks leave theirs a little after their death.
cgroup_remove() {
	wait_until 5 cgroup_try_remove "$1" || say "cgroup /$1 does not go: $(cgroup_pids "$1" | xargs)"
}

cgroup_try_remove() {
	local dirs
	mapfile -t dirs < <(cgroup_dirs "$1")
	((${#dirs[@]})) || return 0
	find "${dirs[@]}" -depth -type d -exec rmdir {} \; 2>/dev/null || true
	[[ -z $(cgroup_dirs "$1") ]]
}
