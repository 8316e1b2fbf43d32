#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 25_volumes.sh - bind mounts (--with-bind), storage that both hosts share, volumes that others use,
# and what is left of all of that when a move comes to nothing

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
readonly SRV=/run/srv CONFIG=/etc/reberth/reberth.json
e2e_begin victim redis
warm_up
e2e_tidy() {
	local host
	lab link h1 --rate none
	for host in h1 h2; do
		on "$host" sh -c "umount $SRV/small $SRV/vol 2>/dev/null; rm -rf $SRV"
	done
	on h2 sh -c "[ ! -e $CONFIG.saved ] || mv $CONFIG.saved $CONFIG"
}
for host in h1 h2; do on "$host" sh -c "umount $SRV/small $SRV/vol 2>/dev/null; rm -rf $SRV"; done

# All that can be told of what is in /run/srv.
readonly LIST="[ ! -e $SRV ] || { cd $SRV; find . -printf '%p %M %U:%G %s %t %l\\n' | sort; find . -type f | sort | xargs -r md5sum; }"
files_on() { on "$1" sh -c "$LIST"; }
# The same without the size and time of the folders above the container's own.
without_times() { sed -E 's/^((\.|\.\/a|\.\/a\/b) d[^ ]* [^ ]*) .*$/\1/' <<<"$1"; }
has_ended() { [[ $(api "$1" "/migrations/$id" | jq .active) == false ]]; }
refused() {
	local name=$1 exit=$2 why=$3
	shift 3
	migrate h1 "$@"
	is "$name: exit status" "$status" "$exit"
	like "$name: says so" "$message" "$why"
}

# --- bind mounts: a folder, a folder deep down, a file, a large one that is changed in place, a file inside of the folder

readonly MAKE="umask 022; mkdir -p $SRV/a/b/deep/sub $SRV/data/empty && cd $SRV
	echo one >data/file; ln data/file data/link; ln -s file data/soft; chmod 2751 data; chown 1000:2000 data data/file
	dd if=/dev/zero of=data/sparse bs=1 seek=8M count=0 2>/dev/null; echo end >>data/sparse
	echo deep >a/b/deep/sub/x; echo old >conf; chmod 640 conf; chown 0:2000 conf; touch -d '1999-12-31 23:59:58' data/empty
	dd if=/dev/urandom of=big bs=1M count=3 2>/dev/null"
# shellcheck disable=SC2016 # for the inner shell
readonly COUNT='i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo $i >>/data/log; echo "conf $i" >/etc/app.conf
	printf %08d $i | dd of=/etc/big bs=8 seek=200000 conv=notrunc 2>/dev/null; echo $i; sleep 0.02; done
	echo stopped; while :; do sleep 1; done'
run_app() {
	on "$1" sh -c "$MAKE" || bail "no files"
	run_container "$1" app -v $SRV/data:/data -v $SRV/a/b/deep:/deep:ro -v $SRV/conf:/etc/app.conf -v $SRV/data/file:/inner -v $SRV/big:/etc/big "${@:2}" victim sh -c "$COUNT" || bail "no container"
	wait_for 10 has_log_lines "$1" app 5
}
counts_on() {
	local at
	at=$(log_lines "$1" app)
	check "$2: it counts on" wait_for 5 has_log_lines "$1" app $((at + 5))
	is "$2: it lost no line" "$(on "$1" awk '$1 != NR { bad++ } END { print bad + 0 }' $SRV/data/log)" 0
}
stop_writing() {
	docker_on "$1" exec app touch /tmp/stop
	wait_for 10 has_stopped "$1" || bail "it does not stop"
}
has_stopped() { [[ $(docker_on "$1" logs --tail 1 app) == stopped ]]; }

run_app h1
note_inventory h1 h2
refused "unasked" 5 "'$SRV/.*' of this host is mounted, and is not copied unasked: say --with-bind.*4 more" app h2
refused "one of three" 5 "'$SRV/a/b/deep' of this host .* not copied unasked.*2 more" --with-bind=$SRV/data app h2
refused "one that it has not" 2 "no bind mount of '/nowhere'" --with-bind=/nowhere app h2
migrate h1 --dry-run --with-bind=$SRV/data/ --with-bind=$SRV/a/b/deep --with-bind=$SRV/conf --with-bind=$SRV/big app h2
is "all three by name" "$status $(report_field .possible)" "0 true"
is "--dry-run says what is copied" "$(report_field '[.storage[] | "\(.bind) \(.how)"] | sort | join(", ")')" \
	"$SRV/a/b/deep copied, $SRV/big copied, $SRV/conf copied, $SRV/data copied, $SRV/data/file inside"
like "--dry-run says that it is in memory there" "$(report_field '.obstacles[].what')" "'$SRV/data' of node 'h2' is in memory: what is brought there is gone when that host is restarted"
moves "--with-bind" h1 app h2 --with-bind --verify
at_most "a large file goes in rounds: bytes in the freeze" "$(report_field "[.files[] | select(.name == \"$SRV/big\") | .rounds[] | select(.frozen) | .bytes] | add")" 65536
counts_on h2 "--with-bind"
like "a single file is written to where it is mounted" "$(on h2 cat $SRV/conf)" "^conf [0-9]+$"
like "what was mounted read-only is so" "$(docker_on h2 exec app touch /deep/new 2>&1)" "Read-only"
is "a file inside of a folder is one file" "$(docker_on h2 exec app sh -c 'echo more >>/inner; cat /data/file')" $'one\nmore'
on h2 sh -c "echo one >$SRV/data/file; touch -r $SRV/data/soft $SRV/data/file"
stop_writing h2
is "a large file that is changed in place has its last change" "$(on h2 dd if=$SRV/big bs=8 skip=200000 count=1 2>/dev/null)" "$(printf %08d "$(on h2 tail -n 1 $SRV/data/log)")"
is "and the rest of it" "$(on h2 sh -c "head -c 1600000 $SRV/big | md5sum")" "$(on h1 sh -c "head -c 1600000 $SRV/big | md5sum")"
left=$(files_on h1)
is "with owners, modes, times and links" "$(without_times "$(files_on h2)" | grep -vE 'log|conf|big|/(file|link)|^\./data d')" \
	"$(without_times "$left" | grep -vE 'log|conf|big|/(file|link)|^\./data d')"
is "of its folder, too" "$(on h2 stat -c '%a %u:%g' $SRV/data)" "2751 1000:2000"
at_most "a sparse file is sparse, blocks" "$(on h2 stat -c %b $SRV/data/sparse)" 64
like "the source keeps its files" "$left" "\./data/file .* \./"

for side in source target; do
	like "energy of the $side, or why it is not known" "$(report_field ".energy | \"\(.${side}_j) \(.${side}_why)\"")" "^([0-9.]+ null|null this host has no RAPL counters.*)$"
done

# there and back: what it has left there is of no use any more, and makes way
moves "and back" h2 app h1 --with-bind
is "what it had left makes way" "$(without_times "$(files_on h1)")" "$(without_times "$(files_on h2)")"
# another one of this name is not the one that has left it
docker_on h1 rename app first
run_container h1 app -v $SRV/data:/data victim sleep 1000 || bail "no container"
docker_on h1 stop -t 0 first >/dev/null
refused "another one of its name" 5 "node 'h2' has '$SRV/data' with something in it, which this container has not left there" --with-bind app h2
docker_on h1 rm -f app >/dev/null
docker_on h1 rename first app
docker_on h1 start app >/dev/null
wait_for 10 has_log_lines h1 app 1
on h2 sh -c "echo mine >$SRV/data/mine"
refused "somebody has changed what it had left" 5 "node 'h2' has '$SRV/data' with something in it, which this container has not left there, or which was changed" --with-bind app h2
is "and it stays" "$(on h2 cat $SRV/data/mine)" mine
is "it runs on where it was" "$(container_state h1 app)" running
docker_on h1 rm -f app >/dev/null
for host in h1 h2; do on "$host" rm -rf $SRV; done

# what somebody changes in it during the move stays under its other name, and is listed
run_container h1 app -v $SRV/data:/data victim sh -c 'echo old >/data/file; while :; do sleep 1; done'
wait_for 10 on h1 test -s $SRV/data/file
moves "there" h1 app h2 --with-bind
moves "and back" h2 app h1 --with-bind
is "nothing stays" "$(on h1 reberth migration ls --stays --quiet)" ""
arm h1 source.memory.begin pause 1
id=$(on h1 reberth migrate --detach --with-bind app h2)
wait_for 20 fault_reached h1
on h2 sh -c "echo mine >$SRV/data.reberth-$id/mine"
release h1
check "once more" wait_for 30 has_ended h1
disarm h1
is "what was changed meanwhile stays" "$(on h2 cat "$SRV/data.reberth-$id/mine")" mine
is "and is listed" "$(on h2 reberth migration ls --stays --json | jq -r '.[] | "\(.path) \(.migration) \(.why)"')" \
	"$SRV/data.reberth-$id $id somebody has changed it during the move"
on h2 rm -rf "$SRV/data.reberth-$id"
is "until somebody removes it" "$(on h2 reberth migration ls --stays --quiet)" ""
docker_on h2 rm -f app >/dev/null
for host in h1 h2; do on "$host" rm -rf $SRV; done

# --- what may not be brought

like_refused() {
	run_container h1 odd -v "$2" victim sleep 1000 || bail "no container"
	refused "$1" 5 "$3" --with-bind odd h2
	docker_on h1 rm -f odd >/dev/null
}
like_refused "the kernel's own" /proc/sys:/data "'/proc/sys' is mounted: it is made by the kernel"
like_refused "Docker's socket" /var/run/docker.sock:/sock "connections to a host's Docker cannot move"
like_refused "the runtime's" /run/containerd:/data "'/run/containerd' is mounted: Docker's own files are in it"
like_refused "Docker's files" /var/lib/docker/volumes:/data "Docker's own files are in it"
on h1 mkdir -p $SRV
on h1 mkfifo $SRV/pipe
like_refused "a pipe" $SRV/pipe:/pipe "neither a folder nor a file"
on h1 sh -c "echo a >$SRV/conf"
run_container h1 odd -v $SRV/conf:/conf victim sleep 1000
on h1 sh -c "echo b >$SRV/new; mv $SRV/new $SRV/conf"
refused "a file that was replaced" 5 "not what the container has mounted" --with-bind odd h2
docker_on h1 rm -f odd >/dev/null
# links from one of them out of it, or into another: what is one folder here would be two there
on h1 sh -c "mkdir -p $SRV/one $SRV/two && ln -s ../two $SRV/one/out && ln -s two $SRV/way"
run_container h1 odd -v $SRV/one:/one -v $SRV/one/out:/out victim sleep 1000
refused "a link out of a folder" 5 "'$SRV/one/out' leads out of '$SRV/one', with which it would travel.*: mount what it leads to by its own path" --with-bind odd h2
docker_on h1 rm -f odd >/dev/null
run_container h1 odd -v $SRV/two:/two -v $SRV/way:/way victim sleep 1000
refused "a link into a folder" 5 "'$SRV/way' leads into '$SRV/two', which is copied, too" --with-bind odd h2
docker_on h1 rm -f odd >/dev/null
# a large file on a slow link
is_at() { [[ $(api h1 "/migrations/$id" | jq -r .stage) == "$1" ]]; }
on h1 dd if=/dev/urandom of=$SRV/image bs=1M count=64 2>/dev/null
run_container h1 odd -v $SRV/image:/image victim sleep 1000
lab link h1 --rate 20mbit
id=$(on h1 reberth migrate --detach --with-bind odd h2)
wait_for 20 is_at sync
on h1 reberth migration cancel "$id" >/dev/null
check "a large file on its way is called off" wait_for 10 has_ended h1
is "a large file on its way: rolled back" "$(api h1 "/migrations/$id" | jq -r .result)" rolled-back
lab link h1 --rate none
check "a large file on its way: the target ends it" wait_for 10 has_ended h2
is "a large file on its way: nothing stays there" "$(on h2 ls $SRV 2>/dev/null)" ""
docker_on h1 rm -f odd >/dev/null
# the path is another file's while it moves
on h1 sh -c "echo mine >$SRV/conf"
run_container h1 odd -v $SRV/conf:/conf victim sleep 1000
arm h1 source.memory.begin pause 1
in_background swapped h1 reberth migrate --json --with-bind --verify odd h2
wait_for 20 fault_reached h1
on h1 sh -c "echo secret >$SRV/other; mv $SRV/conf $SRV/aside; mv $SRV/other $SRV/conf; echo more >>$SRV/aside"
release h1
wait "$last_pid"
disarm h1
is "its path is another file's: the container's moves" "$(jq -r .result <"$E2E_WORK/swapped.out") $(on h2 cat $SRV/conf)" $'completed mine\nmore'
docker_on h2 rm -f odd >/dev/null
on h1 sh -c "rm -rf $SRV; mkdir -p $SRV; echo a >$SRV/conf"
on h2 rm -rf $SRV
on h2 sh -c "cp $CONFIG $CONFIG.saved; jq '.allow_bind = [\"/srv\"]' $CONFIG.saved >$CONFIG"
lab daemon h2 restart reberthd
like_refused "where the target lets nobody" $SRV/conf:/conf "does not let anybody bring something to '$SRV/conf': add it to \"allow_bind\""
on h2 mv $CONFIG.saved $CONFIG
lab daemon h2 restart reberthd
on h1 rm -rf $SRV

# --- storage that both hosts share: by their word, since this machine has none that can be recognised

readonly SHARED=$E2E_WORK/shared
mkdir -m 777 "$SHARED"
for host in h1 h2; do
	docker_on "$host" volume create -o type=none -o o=bind -o "device=$SHARED" both >/dev/null || bail "no volume"
done
docker_on h1 volume create -o type=none -o o=bind -o "device=$SHARED" mine >/dev/null
# shellcheck disable=SC2016 # for the inner shell
run_container h1 sharer -v both:/data -v "$SHARED:/again" victim sh -c 'i=0; while :; do i=$((i+1)); echo $i >>/data/log; echo $i; sleep 0.02; done' || bail "no container"
wait_for 10 has_log_lines h1 sharer 5
note_inventory h1 h2
refused "shared, and nobody said so" 5 "volume 'both' has a driver or options of its own.*if both hosts have it, say --shared-volume" sharer h2
refused "--shared-volume of none" 2 "no volume and no bind mount 'other'" --shared-volume other sharer h2
output=$(on h1 reberth migrate --dry-run --shared-volume both --shared-volume "$SHARED" sharer h2)
like "--dry-run says so" "$output" "volume both is not copied: both hosts share it"
moves "shared" h1 sharer h2 --shared-volume both --shared-volume "$SHARED"
is "the report says so" "$(report_field '[.storage[].how] | join(" ")')" "shared shared"
at=$(log_lines h2 sharer)
check "it counts on" wait_for 5 has_log_lines h2 sharer $((at + 5))
is "in the one file that there is" "$(awk '$1 != NR { bad++ } END { print bad + 0 }' "$SHARED/log")" 0
is "the volume stays on both" "$(docker_on h1 volume ls -q | grep -cx both) $(docker_on h2 volume ls -q | grep -cx both)" "1 1"
moves "shared, and back" h2 sharer h1 --shared-volume both --shared-volume "$SHARED"
tokens() { find "$SHARED" -name '.reberth-*'; }
is "no token is left" "$(tokens)" ""
# on the target it is not mounted: the folder is there, and empty
on h2 mount -t tmpfs none "$SHARED"
refused "it is not mounted there" 5 "'$SHARED' of node 'h2' is not the one that this host has: .*: mount the same there" --shared-volume both --shared-volume "$SHARED" sharer h2
is "it is not mounted there: seen before anything was made" "$(report_field .error.stage)" check
output=$(on h1 reberth migrate --dry-run --shared-volume both --shared-volume "$SHARED" sharer h2 2>&1)
like "--dry-run says that as well" "$output" "'$SHARED' of node 'h2' is not the one"
is "no token is left, either" "$(tokens)" ""
docker_on h1 rm -f sharer >/dev/null
run_container h1 sharer -v both:/data victim sleep 1000 || bail "no container"
refused "nor is what Docker mounts" 5 "volume 'both' of node 'h2' is not the one that this host has" --shared-volume both sharer h2
is "that is seen when it was mounted" "$(report_field .error.stage)" shared
is "it runs on where it was" "$(container_state h1 sharer)" running
is "the volume stays there" "$(docker_on h2 volume ls -q | grep -cx both)" 1
on h2 umount "$SHARED"
for point in source.check.end source.start.begin; do
	arm h1 "$point" kill 1
	id=$(on h1 reberth migrate --detach --shared-volume both sharer h2)
	check "kill at $point: the source ends it" wait_for 30 has_ended h1
	is "kill at $point: no token is left" "$(tokens)" ""
	check "kill at $point: the target ends it" wait_for 30 no_active_migration h2
	disarm h1
done
arm h1 source.start.begin pause 1
id=$(on h1 reberth migrate --detach --shared-volume both sharer h2)
wait_for 20 fault_reached h1
is "meanwhile there is one" "$(tokens)" "$SHARED/.reberth-$id"
release h1
check "and it moves" wait_for 30 has_ended h1
disarm h1
is "there it is" "$(container_state h2 sharer)" running
is "and no token is left" "$(tokens)" ""
docker_on h2 rm -f sharer >/dev/null
# one that locks a file, and keeps it locked
run_container h1 sharer -v both:/data redis redis-server --dir /data --save '' --cluster-enabled yes || bail "no container"
wait_for 10 test -s "$SHARED/nodes.conf"
refused "a lock on it" 5 "holds a file lock on '.*', which both hosts share" --shared-volume both sharer h2
docker_on h1 rm -f sharer >/dev/null
run_container h1 sharer -v mine:/data victim sleep 1000
refused "the other has no such volume" 5 "node 'h2' has no volume 'mine', which is on storage that both share" --shared-volume mine sharer h2
docker_on h2 volume create mine >/dev/null
refused "the other has another one" 5 "volume 'mine' of node 'h2' has another driver or other options" --shared-volume mine sharer h2
docker_on h1 rm -f sharer >/dev/null
docker_on h1 volume rm both mine >/dev/null
docker_on h2 volume rm both mine >/dev/null

# one that is empty stays so: Docker does not fill it from the image on the other host
for host in h1 h2; do
	docker_on "$host" volume create -o type=none -o o=bind -o "device=$SHARED" both >/dev/null
done
rm -f "$SHARED"/*
run_container h1 sharer -v both:/etc victim sleep 1000 || bail "no container"
docker_on h1 exec sharer sh -c 'rm -rf /etc/*' 2>/dev/null
moves "shared and empty" h1 sharer h2 --shared-volume both
is "it is empty still" "$(docker_on h2 exec sharer sh -c 'find /etc -type f -size +0 ! -name resolv.conf ! -name hosts ! -name hostname')" ""
docker_on h2 rm -f sharer >/dev/null
for host in h1 h2; do docker_on "$host" volume rm both >/dev/null; done

# one that is recognised
mount_vol() {
	on "$1" mkdir -p $SRV/vol
	in_background "vol$1" "$1" python3 "$E2E_DIR/shared_fs.py" "$2" $SRV/vol
	wait_for 10 grep -q mounted "$E2E_WORK/vol$1.out" || bail "no FUSE: $(cat "$E2E_WORK/vol$1.err")"
}
mount_vol h1 gluster:/vol
mount_vol h2 gluster:/other
run_container h1 sharer -v $SRV/vol:/vol victim sh -c 'exec 3</vol/here; while :; do sleep 1; done' || bail "no container"
refused "mounted from elsewhere there" 5 "'$SRV/vol' is on storage of type fuse.glusterfs from 'gluster:/vol', and that of node 'h2' is not: mount the same" sharer h2
on h2 umount $SRV/vol
refused "not mounted there" 5 "and that of node 'h2' is not" sharer h2
mount_vol h2 gluster:/vol
output=$(on h1 reberth migrate --dry-run sharer h2)
like "--dry-run says that it was recognised" "$output" "bind mount $SRV/vol is not copied: both hosts share it, on fuse.glusterfs"
moves "recognised" h1 sharer h2
is "it is the one that is mounted there" "$(docker_on h2 exec sharer sh -c 'cat /vol/here /proc/1/fd/3')" $'it is here\nit is here'
docker_on h2 rm -f sharer >/dev/null
for host in h1 h2; do on "$host" umount $SRV/vol; done
for host in h1 h2; do on "$host" rm -rf $SRV; done

# --- those that move together

run_container h1 lead -v ours:/data -v $SRV/both:/both victim sleep 1000 || bail "no container"
on h2 mkdir -p $SRV/own
docker_on h1 run -d --name side --network container:lead -v ours:/data -v $SRV/both/sub:/sub -v $SRV/own:/own victim sh -c \
	'echo own >/own/file; i=0; while :; do i=$((i+1)); echo $i >>/sub/log; echo $i >>/data/log; echo $i; sleep 0.02; done' >/dev/null || bail "no member"
wait_for 10 has_log_lines h1 side 5
moves "a group" h1 lead h2 --group --with-bind
at=$(log_lines h2 side)
check "a group: it counts on" wait_for 5 has_log_lines h2 side $((at + 5))
is "a group: a folder inside of another's is one" "$(docker_on h2 exec lead sh -c 'awk "\$1 != NR { bad++ } END { print bad + 0 }" /both/sub/log')" 0
is "a group: a folder that was there, and empty" "$(on h2 cat $SRV/own/file)" own
is "a group: their volume" "$(docker_on h2 exec lead sh -c 'awk "\$1 != NR { bad++ } END { print bad + 0 }" /data/log')" 0
docker_on h2 rm -f side lead >/dev/null
docker_on h2 volume rm ours >/dev/null
for host in h1 h2; do on "$host" rm -rf $SRV; done

# --- what others use, too

run_container h1 other -v stuff:/data victim sleep 1000 || bail "no container"
run_app h1 -v stuff:/stuff
docker_on h1 exec other sh -c 'echo theirs >/data/file'
refused "a volume in use" 5 "volume 'stuff' is used by container 'other', too, which runs: stop the other one, or say --volume-in-use copy" --with-bind app h2
docker_on h1 stop -t 0 other >/dev/null
run_container h1 reader -v /var/lib/docker/volumes/stuff/_data:/stuff victim sleep 1000
refused "a volume in use, by its path" 5 "volume 'stuff' is used by container 'reader', too" --with-bind app h2
docker_on h1 rm -f reader >/dev/null
on h1 ln -s $SRV /run/way
run_container h1 reader -v /run/way/data:/srv:ro victim sleep 1000
refused "a folder in use, by another path" 5 "folder '$SRV/data' is used by container 'reader', too" --with-bind app h2
docker_on h1 rm -f reader >/dev/null
on h1 rm /run/way
docker_on h1 start other >/dev/null
run_container h1 reader -v $SRV:/srv:ro victim sleep 1000
refused "a folder in use" 5 "is used by container '(reader|other)', too" --with-bind app h2
docker_on h1 rm -f reader >/dev/null
docker_on h1 stop -t 0 other >/dev/null
arm h1 source.memory.begin pause 1
in_background late h1 reberth migrate --json --with-bind app h2
wait_for 20 fault_reached h1
docker_on h1 start other >/dev/null
release h1
wait "$last_pid"
is "used from late on: rolled back" "$(jq -r .result <"$E2E_WORK/late.out")" rolled-back
like "used from late on: says so" "$(<"$E2E_WORK/late.err")" "container 'other' has been started meanwhile, and uses volume 'stuff'"
disarm h1
counts_on h1 "used from late on"
wait_for 20 no_active_migration h2
docker_on h2 run -d --name blocker -v stuff:/data victim sleep 1000 >/dev/null
refused "in use on the target" 5 "node 'h2' has a volume 'stuff', which container 'blocker' uses there" --with-bind --volume-in-use copy app h2
docker_on h2 rm -f blocker >/dev/null
docker_on h2 volume rm stuff >/dev/null
moves "--volume-in-use copy" h1 app h2 --with-bind --volume-in-use copy
is "it has a copy" "$(docker_on h2 exec app cat /stuff/file) $(docker_on h1 exec other cat /data/file)" "theirs theirs"
docker_on h1 rm -f other >/dev/null
docker_on h1 volume rm stuff >/dev/null
docker_on h2 rm -f app >/dev/null
docker_on h2 volume rm stuff >/dev/null
for host in h1 h2; do on "$host" rm -rf $SRV; done

# --- moves that come to nothing: on the target all is as it was, on the source it runs on

run_app h1 -v kept:/kept
# What there is on the target beforehand: a folder of its own, empty, with an owner; nothing for the others.
on h2 sh -c "mkdir -p $SRV/data && chmod 1711 $SRV/data && chown 3:4 $SRV/data"
note_inventory h1 h2
there=$(without_times "$(files_on h2)") lives=counts_on
comes_to_nothing() {
	check "$1: the source ends it" wait_for 30 has_ended h1
	isnt "$1: not before it has begun" "$(api h1 "/migrations/$id" | jq -r .report.error.stage)" check
	is "$1: rolled back" "$(api h1 "/migrations/$id" | jq -r .result)" rolled-back
	check "$1: the target ends it" wait_for 30 has_ended h2
	is "$1: files on the target are what they were" "$(without_times "$(files_on h2)")" "$there"
	nothing_left "$1" h1 h2
	$lives h1 "$1"
	disarm h1 h2
}
# fails HOST POINT ACTION
fails() {
	arm "$1" "$2" "$3" 1
	id=$(on h1 reberth migrate --detach --with-bind app h2)
	comes_to_nothing "$3 at $2"
}
fails h2 target.create.end kill
fails h2 target.tree.end enospc
fails h1 source.sync.end kill
fails h1 source.dump.end fail
fails h2 target.ready.begin kill

arm h1 source.memory.begin hang 1
id=$(on h1 reberth migrate --detach --with-bind app h2)
wait_for 20 is_at memory
on h1 reberth migration cancel "$id" >/dev/null
comes_to_nothing "cancelled"

arm h2 target.log.end pause 1
id=$(on h1 reberth migrate --detach --timeout 4s --with-bind app h2)
wait_for 20 fault_reached h2
lab cut h2
release h2
wait_for 9 has_ended h1
lab heal h2
comes_to_nothing "cut"

# what it had left there once comes back to its place
docker_on h1 exec app touch /tmp/stop
on h2 rm -rf $SRV
moves "there" h1 app h2 --with-bind
moves "and back" h2 app h1 --with-bind
there=$(without_times "$(files_on h2)")
is_there() { is "$2: it is there" "$(container_state "$1" app)" running; }
lives=is_there
fails h2 target.binds.aside kill
fails h2 target.binds.made kill
fails h1 source.restore.begin fail
moves "after that it may still come back to it" h1 app h2 --with-bind
is "nothing of that is kept aside" "$(on h2 find $SRV -name '*.reberth-*')" ""

# a disk that fills up: the bind mount's own
docker_on h2 rm -f app >/dev/null
for host in h1 h2; do on "$host" rm -rf $SRV; done
docker_on h2 volume rm kept >/dev/null
on h1 mkdir -p $SRV/small
on h2 sh -c "mkdir -p $SRV/small && mount -t tmpfs -o size=72m small $SRV/small"
run_container h1 app -v $SRV/small:/data victim sh -c 'dd if=/dev/urandom of=/data/big bs=1M count=4 2>/dev/null; echo ready; while :; do sleep 1; done'
wait_for 10 has_log_lines h1 app 1
note_inventory h1 h2
there=$(without_times "$(files_on h2)")
arm h1 source.sync.begin pause 1
id=$(on h1 reberth migrate --detach --with-bind app h2)
wait_for 20 fault_reached h1 || bail "it does not begin: $(api h1 "/migrations/$id" | jq -r .reason)"
on h1 dd if=/dev/urandom of=$SRV/small/more bs=1M count=80 2>/dev/null
release h1
comes_to_nothing "its disk is full"
is "its disk is full: code" "$(api h1 "/migrations/$id" | jq -r .report.error.code)" no-space
refused "that is seen beforehand" 5 "node 'h2' has too little disk space for '$SRV/small'" --with-bind app h2
docker_on h1 rm -f app >/dev/null
e2e_done
