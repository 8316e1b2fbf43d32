#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 24b_image_chunks.sh - of a layer that the target lacks only that travels which it has in none of its
# layers, and what an attempt has brought serves the next one

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up
e2e_tidy() {
	local host
	for host in "${HOSTS[@]}"; do
		# shellcheck disable=SC2016 # for the inner shell
		on "$host" sh -c 'docker images -q "chunks*" | sort -u | xargs -r docker rmi -f' >/dev/null 2>&1
	done
}
e2e_tidy
mkdir "$E2E_WORK/image"

# tree NAME: 200 files of the next image, and two large ones
tree() {
	local i
	mkdir "$E2E_WORK/image/$1"
	for ((i = 0; i < 200; i++)); do head -c $((2000 + i * 100)) /dev/urandom >"$E2E_WORK/image/$1/$i"; done
	for i in a b; do head -c $((3 << 20)) /dev/urandom >"$E2E_WORK/image/$1/$i"; done
}
# upgrade FROM TO: a copy with 10 files of another content, and some lines more in the middle of a large one
upgrade() {
	local i
	cp -r "$E2E_WORK/image/$1" "$E2E_WORK/image/$2"
	for ((i = 0; i < 200; i += 20)); do head -c 12000 /dev/urandom >"$E2E_WORK/image/$2/$i"; done
	{ head -c $((1 << 20)) "$E2E_WORK/image/$1/a" && seq 100 && tail -c +$(((1 << 20) + 1)) "$E2E_WORK/image/$1/a"; } >"$E2E_WORK/image/$2/a"
}
# build NAME SOURCE=TARGET...: an image on h1 with a layer for each, on top of victim's
build() {
	local name=$1 one
	shift
	{
		echo 'FROM victim'
		for one; do echo "ADD ${one%=*} ${one#*=}"; done
	} >"$E2E_WORK/image/Dockerfile"
	tar -c -C "$E2E_WORK/image" . | on h1 docker build -q -t "$name" - >/dev/null 2>"$E2E_WORK/build.err" || bail "no image $name"
}
# move IMAGE [OPTION...]: a container of this image from h1 to h2
move() {
	run_container h1 web "$1" sleep 1000 || bail "no container"
	migrate h1 --timeout 60s "${@:2}" web h2
}
away() {
	docker_on h1 rm -f web >/dev/null 2>&1
	docker_on h2 rm -f web >/dev/null 2>&1
}
sums() { docker_on h2 exec web sh -c "cd $1 && md5sum * | sort"; }
sent() { report_field ".image_sent.$1"; }
spool() { on h2 find /var/lib/reberth/images/spool -type f 2>/dev/null | sort; }
# what tests before this one have left there to go on with is not counted
spool_before=$(spool)
spooled() { comm -13 <(echo "$spool_before") <(spool) | grep -c .; }

# --- an upgraded base: the target has the older one

tree base
upgrade base newer
build chunks:base base=/data
build chunks:newer newer=/data
on h1 reberth image push chunks:base h2 >/dev/null || bail "no base on h2"
move chunks:newer
is "upgraded: is moved" "$result" completed
is "upgraded: is what it was" "$(sums /data)" "$(cd "$E2E_WORK/image/newer" && md5sum -- * | sort)"
counts at_most "upgraded: bytes that were missing there" "$(sent missing)" "$(($(sent bytes) * 15 / 100))"
counts at_least "upgraded: and those that were not" "$(sent found)" "$(($(sent bytes) * 80 / 100))"
is "upgraded: nothing is kept of the transfer" "$(spooled)" 0
away

# --- layers that the target has, upon others

tree more
build chunks:order base=/data more=/more
on h1 reberth image push chunks:order h2 >/dev/null || bail "no image on h2"
build chunks:other more=/more base=/data
move chunks:other
is "other order: is moved" "$result" completed
is "other order: is what it was" "$(sums /more)" "$(cd "$E2E_WORK/image/more" && md5sum -- * | sort)"
counts at_most "other order: bytes that were missing there" "$(sent missing)" "$(($(sent bytes) * 10 / 100))"
away

# --- an index that is none, and one that is wrong

tree third
build chunks:third third=/data base=/more
on h2 sh -c 'head -c 100000 /dev/urandom >/var/lib/reberth/layers.db'
move chunks:third
is "damaged index: is moved" "$result" completed
is "damaged index: is what it was" "$(sums /data)" "$(cd "$E2E_WORK/image/third" && md5sum -- * | sort)"
counts at_most "damaged index: it was made anew" "$(sent missing)" "$(($(sent bytes) * 60 / 100))"
away
docker_on h2 rmi -f chunks:third >/dev/null
# everything that the index knows is another file by now
[[ $(image_store h2) == overlayfs ]] || on h2 sh -c 'find /var/lib/docker/overlay2/*/diff/data /var/lib/docker/overlay2/*/diff/more -type f -size -8k | while read -r f; do tr "\000-\377" "\001-\377\000" <"$f" >"$f.new" && mv "$f.new" "$f"; done'
move chunks:third
is "wrong index: is moved" "$result" completed
is "wrong index: is what it was" "$(sums /data)" "$(cd "$E2E_WORK/image/third" && md5sum -- * | sort)"
away

# --- an attempt that failed when all was there serves the next one

tree fourth
build chunks:fourth fourth=/data
arm h2 image.load fail
move chunks:fourth
is "load fails: is rolled back" "$result" rolled-back
is "load fails: the container runs on" "$(container_state h1 web)" running
at_least "load fails: what came is kept" "$(spooled)" 1
disarm h2
migrate h1 --timeout 60s web h2
is "again: is moved" "$result" completed
is "again: is what it was" "$(sums /data)" "$(cd "$E2E_WORK/image/fourth" && md5sum -- * | sort)"
at_most "again: bytes that were missing there" "$(sent missing)" "$(($(sent bytes) * 10 / 100))"
is "again: nothing is kept any more" "$(spooled)" 0
away

e2e_done
