#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 24c_image_stores.sh - images between hosts whose Docker keeps them in its own store, and in containerd's,
# where the same image has another ID

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim

version=$(docker_on h2 version --format '{{.Server.Version}}')
if ((${version%%.*} < 25)); then
	skip "two kinds of stores" "Docker $version has one kind, or did not know all of a configuration in the other"
	e2e_done
fi

if on h1 grep -qs containerd-snapshotter /etc/docker/daemon.json; then
	skip "two kinds of stores" "all hosts of this lab have containerd's"
	e2e_done
fi

use_containerd() {
	# shellcheck disable=SC2016 # for the inner shell
	on h2 sh -c 'echo "{\"features\":{\"containerd-snapshotter\":true}}" >/etc/docker/daemon.json'
	lab daemon h2 restart dockerd
}
e2e_tidy() {
	local host
	for host in "${HOSTS[@]}"; do
		# shellcheck disable=SC2016 # for the inner shell
		on "$host" sh -c 'docker images -q "stores*" | sort -u | xargs -r docker rmi -f' >/dev/null 2>&1
	done
	if on h2 test -e /etc/docker/daemon.json; then
		on h2 rm -f /etc/docker/daemon.json
		lab daemon h2 restart dockerd
	fi
}

push() {
	local host=$1
	shift
	report=$(on "$host" reberth image push --json "$@" 2>/dev/null </dev/null)
	status=$?
}
of() { report_field ".nodes[] | select(.node == \"$1\") | $2"; }
command_of() { docker_on "$1" image inspect -f '{{json .Config.Cmd}}' "$2" 2>/dev/null; }

# archive TAG COMMAND: an image as of a build that can be repeated: its date says nothing
archive() {
	python3 - "$@" <<-'EOF'
		import hashlib, io, json, sys, tarfile
		tag, command = sys.argv[1:]
		def tar(files, out):
		    with tarfile.open(fileobj=out, mode="w") as archive:
		        for name, data in files:
		            info = tarfile.TarInfo(name)
		            info.size = len(data)
		            archive.addfile(info, io.BytesIO(data))
		layer = io.BytesIO()
		tar([("file", b"the same in all of them" * 1000)], layer)
		diff_id = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
		config = json.dumps({"architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
		                     "config": {"Cmd": [command], "Env": ["A=1"], "Labels": {"x": ""}},
		                     "rootfs": {"type": "layers", "diff_ids": [diff_id]},
		                     "history": [{"created": "1970-01-01T00:00:00Z"}]}).encode()
		whole = io.BytesIO()
		name = hashlib.sha256(config).hexdigest() + ".json"
		manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
		tar([(name, config), ("layer.tar", layer.getvalue()), ("manifest.json", manifest)], whole)
		sys.stdout.buffer.write(whole.getvalue())
	EOF
}

use_containerd || bail "no Docker with containerd's store"
like "the target's store is containerd's" "$(docker_on h2 info --format '{{.DriverStatus}}')" io.containerd.snapshotter
for name in a b; do
	archive "stores:$name" "$name" | docker_on h1 load >/dev/null || bail "no image stores:$name"
done
is "two images of one layer and one date" "$(command_of h1 stores:a) $(command_of h1 stores:b)" '["a"] ["b"]'

push h1 stores:a h2
is "to the other store: exit status" "$status" 0
is "to the other store: it is there" "$(command_of h2 stores:a)" '["a"]'
push h1 stores:a h2
is "to the other store, again: is known by what it is" "$status $(of h2 .image_present)" "0 true"
push h1 stores:b h2
is "one that differs in its command: exit status" "$status" 0
is "one that differs in its command: was not there" "$(of h2 .image_present)" false
is "one that differs in its command: has its own name" "$(command_of h2 stores:b)" '["b"]'
is "one that differs in its command: the other keeps its" "$(command_of h2 stores:a)" '["a"]'

for name in a b; do
	push h2 "stores:$name" h3
	is "and from there: $name: exit status" "$status" 0
	is "and from there: $name" "$(command_of h3 "stores:$name")" "[\"$name\"]"
done

e2e_done
