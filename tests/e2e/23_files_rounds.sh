#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 23_files_rounds.sh - files that change all the time while the container moves: rounds look only at what has
# changed, and all of it arrives

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up
note_inventory h1 h2

# 8,000 files in the writable layer, some in a volume; then everything that can be done to files, in both.
# The image's own files are changed, removed and replaced, too.
readonly CHURN='
	fill() { mkdir -p $1; i=0; while [ $i -lt $2 ]; do echo $i >$1/$i; i=$((i+1)); done; }
	n=0; while [ $n -lt 40 ]; do fill /work/d$n 200; n=$((n+1)); done
	fill /data/v 500
	cp /bin/busybox /work/program; dd if=/dev/zero of=/work/sparse bs=1 seek=4G count=0 2>/dev/null
	dd if=/dev/urandom of=/work/large bs=1M count=8 2>/dev/null
	exec 5<>/work/open 6>>/data/appended
	echo ready
	i=0
	while [ ! -e /tmp/stop ]; do
		i=$((i+1)); d=/work/d$((i % 40)); v=/data/v
		echo $i >$d/$((i % 200)); echo $i >>/data/appended; echo $i >&5
		rm -f $d/link; ln $d/$((i % 200)) $d/link; ln -sf $i $d/soft
		ln -f $v/$((i % 500)) $v/other$((i % 7)); echo $i >$v/other$((i % 5))
		mkdir -p $d/new/deep; echo $i >$d/new/deep/file; rm -rf /work/moved$((i % 9)); mv $d/new /work/moved$((i % 9))
		rm -rf /work/usr; cp -r /etc/network /work/usr 2>/dev/null || mkdir /work/usr
		chmod $((600 + i % 8)) $v/$((i % 500)); touch $v/$((i % 300))
		dd if=/dev/urandom of=/work/large bs=4k seek=$((i * 7 % 2048)) count=1 conv=notrunc 2>/dev/null
		printf x | dd of=/work/sparse bs=1 seek=$((i * 1048576 % 4294967296)) conv=notrunc 2>/dev/null
		rm -rf /opt /srv/x; mkdir -p /opt /srv; echo $i >/opt/mine; mknod /srv/null$((i % 3)) c 1 3 2>/dev/null
		rm -f /etc/issue; [ $((i % 2)) = 0 ] || echo $i >/etc/issue; mv /srv/null0 /srv/x 2>/dev/null
		usleep 3000
	done
	echo stopped; exec sleep 1000'
run_container h1 rounds --volume stuff:/data victim sh -c "$CHURN" || bail "no container"
wait_for 60 has_log_lines h1 rounds 1 || bail "the files are not made"
init=$(docker_on h1 inspect -f '{{.State.Pid}}' rounds)
on h1 python3 - "$init" <<'END'
import os, struct, sys
root = f"/proc/{sys.argv[1]}/root"
os.setxattr(root + "/work/d1", "trusted.deep", b"d")
os.setxattr(root + "/work/program", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
# an access control list: user 1000 may read and write
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in
	((1, 6, 0xffffffff), (2, 6, 1000), (4, 4, 0xffffffff), (16, 6, 0xffffffff), (32, 4, 0xffffffff)))
os.setxattr(root + "/data/v/7", "system.posix_acl_access", acl)
END
rounds_of() { report_field ".files[] | select(.what == \"$1\") | .rounds | $2"; }
here=h1 there=h2
for ((move = 1; move <= 4; move++)); do
	moves "move $move" "$here" rounds "$there" --verify || break
	at_least "move $move: files were compared" "$(report_field .verified_files)" 8500
	for tree in rootfs volume; do
		at_least "move $move: $tree: rounds" "$(rounds_of $tree length)" 3
		# others on this host may do so much that the watch loses count, but not all the time
		at_most "move $move: $tree: rounds but for the first one that have looked at all" "$(rounds_of $tree '[.[1:][] | select(.walked)] | length')" 1
		is "move $move: $tree: the last one was in the freeze" "$(rounds_of $tree '[.[] | .frozen] | [.[-1], any(.[:-1][]; .)] | join(" ")')" "true false"
	done
	at_most "move $move: files in the last round" "$(rounds_of rootfs '.[-1].files')" 6000
	read -r here there <<<"$there $here"
done
has_stopped() { [[ $(docker_on "$1" logs --tail 1 rounds) == stopped ]]; }
docker_on "$here" exec rounds touch /tmp/stop
check "the writer goes on, up to its end" wait_for 20 has_stopped "$here"
is "a file that it had open all the time" "$(docker_on "$here" exec rounds sh -c 'seq $(wc -l </work/open) | cmp - /work/open && echo same')" same
is "one that grew in the volume" "$(docker_on "$here" exec rounds sh -c 'seq $(wc -l </data/appended) | cmp - /data/appended && echo same')" same
# one byte in each MiB of 4 GiB, which takes a block of 16 KiB where it was patched (fs/blocks.h)
at_most "sparse files are sparse, KiB" "$(docker_on "$here" exec rounds sh -c 'du -k /work/sparse | cut -f 1')" 100000
docker_on "$here" rm -fv rounds >/dev/null
docker_on "$here" volume rm stuff >/dev/null
nothing_left "rounds" h1 h2

# --- a host's mount that comes between two rounds ends the move

run_container h1 covered --volume stuff:/data victim sh -c 'mkdir /data/d; echo ready; exec sleep 1000' || bail "no container"
wait_for 10 has_log_lines h1 covered 1 || bail "no container"
arm h1 source.memory.begin pause 1
in_background late h1 reberth migrate --json covered h2
wait_for 30 fault_reached h1 || bail "source.memory.begin is not reached"
on h1 mount -t tmpfs tmpfs /var/lib/docker/volumes/stuff/_data/d
release h1
wait "$last_pid"
is "a mount inside of a volume: not moved" "$(jq -r .result <"$E2E_WORK/late.out")" rolled-back
like "why" "$(jq -r .reason <"$E2E_WORK/late.out")" "is a file system of its own"
disarm h1
on h1 umount /var/lib/docker/volumes/stuff/_data/d
moves "without it" h1 covered h2
docker_on h2 rm -fv covered >/dev/null
docker_on h2 volume rm stuff >/dev/null
nothing_left "a mount inside" h1 h2
e2e_done
