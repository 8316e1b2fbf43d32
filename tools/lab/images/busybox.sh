# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
#
# busybox - one static binary under all its names

config='{"Cmd": ["sh"]}'

inputs() { sha256sum /bin/busybox; }

files() {
	local root=$1 name
	mkdir -p "$root"/{bin,dev,etc,home,proc,root,sys,tmp,usr,var/tmp}
	chmod 700 "$root/root"
	chmod 1777 "$root/tmp" "$root/var/tmp"
	cp /bin/busybox "$root/bin/busybox"
	for name in $(/bin/busybox --list); do
		[[ $name == busybox ]] || ln -s busybox "$root/bin/$name"
	done
	ln -s ../bin "$root/usr/bin"
	ln -s bin "$root/sbin"
	printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nobody:x:65534:65534:nobody:/home:/bin/false' >"$root/etc/passwd"
	printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >"$root/etc/group"
}
