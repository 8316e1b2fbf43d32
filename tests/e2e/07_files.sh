#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 07_files.sh - everything that a file can be arrives as it was: in the writable layer, in a volume,
# open, deleted, or taken away from the image; and of the image only the layers that are missing

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim redis
warm_up
note_inventory h1 h2

# The victim works on open files: it writes to them before and after, and shows what is in them.
readonly SCRIPT='
	exec 3>/tmp/open.log 4<>/tmp/deleted 5>>/data/appended 6</etc/passwd
	rm /tmp/deleted
	echo before >&3; echo before >&4; echo before >&5
	read -r first <&6
	mkdir /tmp/gone; cd /tmp/gone
	echo ready
	until [ -e /tmp/go ]; do sleep 0.05; done
	echo after >&3; echo after >&4; echo after >&5
	read -r second <&6
	echo "log: $(cat /tmp/open.log | xargs)"
	echo "deleted: $(cat /proc/$$/fd/4 | xargs)"
	echo "appended: $(cat /data/appended | xargs)"
	echo "read on: ${first%%:*} ${second%%:*}"
	echo "in: $(pwd)"
	while :; do sleep 1; done'
readonly MAKE='set -e
	for dir in /work /data/work; do
		mkdir -p $dir/sub/deep $dir/empty "$dir/with blank" $dir/café
		cd $dir
		echo one >file; ln file hard1; ln file sub/hard2
		ln -s file soft; ln -s /nowhere dangling; ln -s "$(printf %0200d 1)" long
		dd if=/dev/zero of=sparse bs=1 seek=20M count=0 2>/dev/null; echo end >>sparse
		dd if=/dev/urandom of=sub/random bs=64k count=40 2>/dev/null
		mkfifo pipe; mknod null c 1 3
		echo x >setuid; chown 1000:2000 setuid; chmod 6751 setuid
		chmod 1777 empty; chown 65534:65534 "with blank"
		echo odd >"$(printf "new\nline")"; echo odd >"with blank/tab	x"; : >zero
		touch -d "1999-12-31 23:59:58" old; touch -h -d "2001-02-03 04:05:06" soft
		i=0; while [ $i -lt 300 ]; do echo $i >sub/deep/$i; i=$((i+1)); done
	done
	rm /bin/yes; rm -r /home; mkdir /home; echo new >/home/mine
	echo changed >>/etc/group; chmod 600 /etc/passwd; mv /var/tmp /var/moved'
# One line for everything that can be told of a file, for all files.
readonly LIST='cd /; find work data home etc bin var tmp -xdev \( -path tmp/go -o -path etc/hosts -o -path etc/hostname -o -path etc/resolv.conf \) -prune -o -print0 |
	sort -z | xargs -0 sh -c "for f; do
		sum=- target=- size=-
		if [ -L \"\$f\" ]; then target=\$(readlink \"\$f\"); elif [ -f \"\$f\" ]; then sum=\$(md5sum <\"\$f\"); fi
		[ -d \"\$f\" ] || size=\$(stat -c %s \"\$f\")
		echo \"\$f \$(stat -c \"%f %h %u:%g %t:%T\" \"\$f\") \$size \$sum \$target\"
	done" -'
readonly TIMES='cd /; find work data home -xdev ! -path data/appended -print0 | sort -z | xargs -0 stat -c "%n %y"'

run_container h1 files --volume stuff:/data victim sh -c "$SCRIPT" || bail "no container"
docker_on h1 exec files sh -c "$MAKE" || bail "the files cannot be made"

# Attributes, which busybox has no tools for.
attributes() { on "$1" python3 - "$(docker_on "$1" top files -eo pid | sed -n 2p)" "$2"; }
attributes h1 set <<'END'
import os, sys
root = f"/proc/{sys.argv[1]}/root"
for base in ("/work", "/data/work"):
    os.setxattr(root + base + "/file", "user.colour", b"green\0\xff")
    os.setxattr(root + base + "/sub", "trusted.deep", b"d")
    os.setxattr(root + base + "/zero", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
os.setxattr(root + "/etc/group", "user.copied-up", b"yes")
END
readonly READ_ATTRIBUTES='
import os, sys
root = f"/proc/{sys.argv[1]}/root"
for base in ("/work", "/data/work", "/etc", "/home"):
    for where, dirs, files in os.walk(root + base):
        for name in sorted(dirs + files) + ["."]:
            path = os.path.join(where, name)
            if not os.path.islink(path):
                for key in sorted(os.listxattr(path)):
                    print(path[len(root):], key, os.getxattr(path, key).hex())
'
listing=$(docker_on h1 exec files sh -c "$LIST")
times=$(docker_on h1 exec files sh -c "$TIMES")
xattrs=$(attributes h1 get <<<"$READ_ATTRIBUTES")
at_least "files to compare" "$(wc -l <<<"$listing")" 700
at_least "attributes to compare" "$(wc -l <<<"$xattrs")" 7
wait_for 5 has_log_lines h1 files 1

compare() {
	is "$2: every file is as it was" "$(docker_on "$1" exec files sh -c "$LIST")" "$listing"
	is "$2: times" "$(docker_on "$1" exec files sh -c "$TIMES")" "$times"
	is "$2: attributes" "$(attributes "$1" get <<<"$READ_ATTRIBUTES")" "$xattrs"
	is "$2: what was deleted from the image stays so" "$(docker_on "$1" exec files sh -c 'ls /bin/yes /home/* /var/tmp 2>/dev/null')" "/home/mine"
	is "$2: hard links are links" "$(docker_on "$1" exec files sh -c 'cd /work; stat -c %i file hard1 sub/hard2 | uniq | wc -l')" 1
	at_most "$2: sparse files are sparse, blocks" "$(docker_on "$1" exec files stat -c %b /work/sparse)" 64
	at_most "$2: in volumes, too, blocks" "$(docker_on "$1" exec files stat -c %b /data/work/sparse)" 64
	is "$2: a device works" "$(docker_on "$1" exec files sh -c 'echo x >/work/null && wc -c </work/null')" 0
}

# a byte that is lost on the way: it stays where it was
arm h2 target.verify.begin pause 1
on h1 reberth migrate --detach --verify files h2 >/dev/null
check "all is there, to be compared" wait_for 30 fault_reached h2
on h2 sh -c 'file=$(find /var/lib/docker -xdev -path "*/work/sub/random" ! -path "*/volumes/*") && printf x | dd of="$file" bs=1 seek=1234567 conv=notrunc 2>/dev/null'
disarm h2
check "a byte differs: rolled back" wait_for 20 no_active_migration h1
wait_for 20 no_active_migration h2
like "a byte differs: why" "$(api h1 /migrations | jq -r '[.[] | select(.container == "files")][0].reason')" "'work/sub/random' has another content"
is "a byte differs: it runs on where it was" "$(container_state h1 files)" running
nothing_left "a byte differs" h2

moves "files" h1 files h2 --verify || bail "nothing to compare"
at_least "files were compared" "$(report_field .verified_files)" 640
compare h2 "on h2"
moves "files, back" h2 files h1
compare h1 "back on h1"
docker_on h1 exec files touch /tmp/go
wait_for 10 has_log_lines h1 files 6
is "open files go on where they were" "$(docker_on h1 logs files)" "ready
log: before after
deleted: before after
appended: before after
read on: root nobody
in: /tmp/gone"
docker_on h1 rm -fv files >/dev/null
docker_on h1 volume rm stuff >/dev/null
nothing_left "files" h1 h2

# --- folders that runc masks, one of them with a volume behind it

masks() {
	docker_on "$1" exec masked sh -c 'for dir in /proc/acpi /proc/scsi /sys/firmware; do
		[ -d $dir ] || continue
		touch $dir/new 2>/dev/null; mount -o remount,rw $dir 2>/dev/null
		echo $dir $(stat -c %a:%u:%g $dir) $(ls -A $dir | wc -l) $(grep " $dir " /proc/1/mountinfo | tail -n 1 | sed "s/.* - //; s/,.*//")
	done'
}
run_container h1 masked --volume behind:/sys/firmware victim sleep 1000 || bail "no container"
in_volume() { on "$1" sh -c 'cat /var/lib/docker/volumes/behind/_data/here'; }
on h1 sh -c 'echo kept >/var/lib/docker/volumes/behind/_data/here'
before=$(masks h1)
like "masked folders" "$before" "/sys/firmware .* 0 tmpfs tmpfs ro"
for there in h2 h1 h2; do
	[[ $there == h2 ]] && here=h1 || here=h2
	moves "masked folders" "$here" masked "$there" || break
	is "masked folders are as they were" "$(masks "$there")" "$before"
	is "behind one of them, the volume" "$(in_volume "$there")" kept
done
docker_on h2 rm -fv masked >/dev/null
docker_on h2 volume rm behind >/dev/null
nothing_left "masked folders" h1 h2

# --- what changes while it moves: the last state counts

run_container h1 busy --volume stuff:/data victim sh -c '
	i=0
	while [ ! -e /tmp/stop ]; do
		i=$((i+1)); echo $i >>/data/log; echo $i >/tmp/last; mv /tmp/last /tmp/latest
		mkdir -p /data/d$((i % 50)); echo $i >/data/d$((i % 50))/f; rm -rf /data/d$(((i + 25) % 50))
		echo $i
		usleep 2000
	done
	echo stopped; exec sleep 1000' || bail "no container"
wait_for 10 has_log_lines h1 busy 200
has_stopped() { [[ $(docker_on "$1" logs --tail 1 busy) == stopped ]]; }
for there in h2 h1 h2; do
	[[ $there == h2 ]] && here=h1 || here=h2
	moves "while it writes" "$here" busy "$there" || break
	at=$(log_lines "$there" busy)
	wait_for 10 has_log_lines "$there" busy $((at + 100))
done
# Between two rounds, not in the middle of one.
docker_on "$there" exec busy touch /tmp/stop
wait_for 10 has_stopped "$there" || bail "the writer does not stop"
count=$(docker_on "$there" logs --tail 2 busy | head -n 1)
volume=$(on "$there" docker volume inspect -f '{{.Mountpoint}}' stuff)
logged=$(on "$there" cat "$volume/log")
is "a file that grew has all its lines" "$logged" "$(seq "$(wc -l <<<"$logged")")"
is "up to the last" "$(wc -l <<<"$logged")" "$count"
is "of folders made and removed all the time, the right ones" "$(on "$there" ls "$volume" | sort | xargs)" \
	"$(for ((i = 0; i < 25; i++)); do echo "d$(((count + 50 - i) % 50))"; done | sort | xargs) log"
docker_on "$there" rm -fv busy >/dev/null
docker_on "$there" volume rm stuff >/dev/null

# --- files that change when the target has begun to restore: what it has looked up is looked up again

run_container h1 files --volume stuff:/data victim sh -c 'echo ready; while :; do sleep 1; done'
wait_for 10 has_log_lines h1 files 1 || bail "no container"
# a dump itself changes no folder: that would be such a change
times() { docker_on h1 exec files stat -c '%n %Z' / /tmp; }
before=$(times)
arm h1 source.transfer.begin fail 1
migrate h1 files h2
is "a dump that comes to nothing" "$result" rolled-back
is "has changed no folder" "$(times)" "$before"
disarm h1
docker_on h1 exec files sh -c 'echo old >/etc/issue; echo old >/etc/old; echo old >/data/file'
arm h1 source.freeze.begin pause 1
in_background late h1 reberth migrate --json files h2
wait_for 30 fault_reached h1 || bail "source.freeze.begin is not reached"
docker_on h1 exec files sh -c 'echo new >/etc/issue; rm /etc/old; mkdir /etc/made; echo new >/etc/made/file; echo new >/data/file'
release h1
wait "$last_pid"
is "files change late: moved" "$? $(jq -r .result <"$E2E_WORK/late.out")" "0 completed"
disarm h1
is "its log is its own" "$(docker_on h2 logs files 2>&1)" ready
is "a changed one" "$(docker_on h2 exec files cat /etc/issue)" new
is "a new one" "$(docker_on h2 exec files cat /etc/made/file)" new
is "one that is gone" "$(docker_on h2 exec files ls /etc/old 2>&1 | grep -c 'No such file')" 1
is "one of a volume" "$(docker_on h2 exec files cat /data/file)" new
docker_on h2 rm -fv files >/dev/null
docker_on h2 volume rm stuff >/dev/null

# The dump has to be tried again, for nobody accepts a connection; by then these files have come.
run_container h1 files victim /victims/deaf 7000
wait_for 10 has_log_lines h1 files 1 || bail "no container"
in_background peer h3 bash -c 'exec 3<>"/dev/tcp/$1/7000"; echo connected; cat <&3' - "$(container_ip h1 files)"
peer=$last_pid
wait_for 10 grep -q connected "$E2E_WORK/peer.out" || bail "no connection: $(cat "$E2E_WORK/peer.err")"
arm h1 source.freeze.begin pause 1
in_background late h1 reberth migrate --json files h2
move=$last_pid
wait_for 30 fault_reached h1 || bail "source.freeze.begin is not reached"
docker_on h1 exec files sh -c 'echo new >/etc/issue; mkdir /etc/made; echo new >/etc/made/file'
release h1
tries_again() { lab logs h1 reberthd | grep -q 'just being made'; }
check "the dump is tried again" wait_for 10 tries_again
on h1 pkill -USR1 -x deaf
wait "$move"
is "files change late, the dump is tried again: moved" "$? $(jq -r .result <"$E2E_WORK/late.out")" "0 completed"
disarm h1
is "a changed one" "$(docker_on h2 exec files cat /etc/issue)" new
is "a new one" "$(docker_on h2 exec files cat /etc/made/file)" new
is "the folder can be written to" "$(docker_on h2 exec files sh -c 'echo more >/etc/more && cat /etc/more')" more
finish "$peer"
docker_on h2 rm -fv files >/dev/null

# --- images: the same container to a host with nothing, one with the base, one with all of it

sent_to() {
	migrate h1 small h2
	sent=$(report_field .bytes_sent)
	is "$1: moved" "$status $message" "0 "
}
bring_home() {
	docker_on h2 rm -fv small >/dev/null 2>&1
	docker_on h1 rm -fv small >/dev/null 2>&1
	run_container h1 small redis
}
forget_images() { on h2 sh -c 'docker image ls -aq | sort -u | xargs -r docker image rm -f' >/dev/null 2>&1; }
image_id() { docker_on "$1" image inspect -f '{{.Id}} {{.RepoTags}}' redis; }

bring_home
sent_to "image there"
sent_all=$sent
bring_home
forget_images
lab image h2 rb-base
sent_to "base there"
sent_base=$sent
is "the image is the same" "$(image_id h2)" "$(image_id h1)"
is "and good for more containers" "$(docker_on h2 run --rm redis redis-server --version | cut -d' ' -f1-2)" "Redis server"
bring_home
forget_images
sent_to "nothing there"
sent_none=$sent
is "the image is the same, all of it sent" "$(image_id h2)" "$(image_id h1)"
lab image h1 rb-base
base_bytes=$(docker_on h1 image inspect -f '{{.Size}}' rb-base)
image_bytes=$(docker_on h1 image inspect -f '{{.Size}}' redis)
at_most "bytes sent, image there" "$sent_all" $((image_bytes / 4))
# packed or not, as the link and the processors were just then
at_least "bytes sent, nothing there" "$sent_none" $((image_bytes / 8))
counts at_most "bytes sent, base there" "$sent_base" $((sent_none - base_bytes / 8))
at_least "bytes sent, base there, more than with all there" "$sent_base" $((sent_all + (image_bytes - base_bytes) / 8))

# --- a move that fails takes the image back

bring_home
forget_images
note_inventory h1 h2
arm h1 source.transfer.begin fail 1
migrate h1 small h2
is "a failed move" "$result" rolled-back
disarm h1
nothing_left "a failed move, image and all" h1 h2
e2e_done
