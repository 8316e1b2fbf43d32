# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# image.sh - test images, made here once and loaded into hosts
#
# The hosts reach no registry and no mirror, so images are put together on the
# machine itself, from Debian's packages: every recipe in images/ describes one.
# A layer is a tar file; an image is its layers and a JSON file whose hash is
# the image's ID. So an image has the same ID on every host, and images made
# from one base share its layer.
#
#   $LAB_CACHE/layers/KEY.tar   KEY: hash of what the layer was made from
#   $LAB_CACHE/images/NAME/     what `docker load` takes, layers as hard links
#
# A recipe sets
#   base       image below this one, or empty
#   packages   Debian packages: they make a layer
#   exclude    patterns of files to leave out of them
#   config     the image's configuration (Cmd, ExposedPorts, ...) as JSON
# and may have functions
#   prepare ROOT   before the packages, in the same layer
#   files ROOT     writes a layer of its own into an empty directory
#   inputs         prints what else the files depend on

# shellcheck source=tools/debian.sh
. "$LAB_TREE/tools/debian.sh"

readonly RECIPES=$LAB_PARTS/images
# To be raised when a change here makes cached layers wrong.
readonly LAYER_FORMAT=1
# All files of an image are as old as this, whenever it is made.
readonly LAYER_EPOCH=1700000000

image_names() {
	local recipe
	for recipe in "$RECIPES"/*.sh; do basename "$recipe" .sh; done
}

# Print the identity of an image's recipe: what is used to make it, down to the base.
image_key() (
	recipe_load "$1"
	{
		echo "$LAYER_FORMAT $(debian_suite) $(dpkg --print-architecture)"
		cat "$RECIPES/$1.sh"
		inputs
		[[ -z $base ]] || image_key "$base"
	} | sha256sum | cut -c -32
)

recipe_load() {
	base='' packages=() exclude=() config='{}'
	# shellcheck disable=SC2317 # called by the code that makes layers
	prepare() { :; }
	# shellcheck disable=SC2317
	files() { :; }
	# shellcheck disable=SC2317
	inputs() { :; }
	# shellcheck source=/dev/null
	. "$RECIPES/$1.sh"
}

# Make an image if the cache does not have it; print its directory.
image_build() {
	local name=$1 dir=$LAB_CACHE/images/$1 key
	key=$(image_key "$name")
	if [[ $(cat "$dir/key" 2>/dev/null) != "$key" ]]; then
		say "building image $name"
		image_assemble "$name" "$key" "$dir" >&2
		# Layers that no image has any more.
		find "$LAB_CACHE/layers" -name '*.tar' -links 1 -delete
	fi
	echo "$dir"
}

# Print the layers of an image, lowest first, making those that are missing.
image_layers() (
	local key
	recipe_load "$1"
	key=$(image_key "$1")
	[[ -z $base ]] || image_layers "$base" || return
	if declare -F bootstrap >/dev/null; then
		layer_make "$key-base" layer_bootstrap
		return
	fi
	((${#packages[@]} == 0)) || layer_make "$key-packages" layer_packages || return
	layer_make "$key-files" layer_files
)

image_assemble() {
	local name=$1 key=$2 dir=$3 list layers=() layer diff_ids=() names=() id
	list=$(image_layers "$name") || die "image '$name' cannot be built"
	mapfile -t layers <<<"$list"
	rm -rf "$dir.new"
	mkdir -p "$dir.new"
	for layer in "${layers[@]}"; do
		id=$(sha256sum "$layer" | cut -d' ' -f1)
		ln -f "$layer" "$dir.new/$id.tar"
		diff_ids+=("sha256:$id")
		names+=("$id.tar")
	done
	recipe_load "$name"
	image_config "${diff_ids[@]}" >"$dir.new/config"
	id=$(sha256sum "$dir.new/config" | cut -d' ' -f1)
	mv "$dir.new/config" "$dir.new/$id.json"
	jq -cn --arg config "$id.json" --arg tag "$name:latest" \
		'[{Config: $config, RepoTags: [$tag], Layers: $ARGS.positional}]' --args "${names[@]}" \
		>"$dir.new/manifest.json"
	echo "sha256:$id" >"$dir.new/id"
	echo "$key" >"$dir.new/key"
	rm -rf "$dir"
	mv "$dir.new" "$dir"
}

# Print the JSON of an image with the given layers.
image_config() {
	local path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	jq -cn --arg arch "$(dpkg --print-architecture)" --arg created "$(date -u -d "@$LAYER_EPOCH" +%FT%TZ)" \
		--argjson config "$config" --arg path "PATH=$path" '{
			architecture: $arch, os: "linux", created: $created,
			config: ({Env: [$path]} + $config),
			rootfs: {type: "layers", diff_ids: $ARGS.positional},
			history: [$ARGS.positional[] | {created: $created}]
		}' --args "$@"
}

# layer_make KEY FUNCTION: print the path of a layer, made by the function if need be.
layer_make() {
	local layer=$LAB_CACHE/layers/$1.tar
	if [[ ! -e $layer ]]; then
		mkdir -p "$LAB_CACHE/layers"
		"$2" "$layer.new" >&2 || return
		mv "$layer.new" "$layer"
	fi
	echo "$layer"
}

layer_bootstrap() { bootstrap "$1"; }

layer_files() {
	local root status=0
	root=$(mktemp -d "$LAB_CACHE/work.XXXXXX")
	chmod 755 "$root"
	files "$root" && layer_pack "$root" "$1" || status=$?
	rm -rf "$root"
	return $status
}

layer_pack() {
	tar --create --file "$2" --directory "$1" --sort=name --numeric-owner \
		--mtime="@$LAYER_EPOCH" --format=posix --pax-option=delete=atime,delete=ctime .
}

# Install packages over the layers below, in a mount namespace of its own: what
# an interrupted build leaves behind is a directory and no mounts.
layer_packages() {
	local out=$1 work
	work=$(mktemp -d "$LAB_CACHE/work.XXXXXX")
	mkdir "$work"/{lower,upper,work,root}
	local layer
	while read -r layer; do
		tar -x -f "$layer" -C "$work/lower" --numeric-owner
	done < <(image_layers "$base")
	debian_sources >"$work/sources.list"
	export -f packages_install prepare
	unshare --mount --propagation private --pid --fork --kill-child \
		bash -Eeuo pipefail -c 'packages_install "$@"' - "$work" "${packages[@]}" "${exclude[@]/#/-oDpkg::Options::=--path-exclude=}" ||
		{ rm -rf "$work"; return 1; }
	whiteouts_convert "$work/upper"
	layer_pack "$work/upper" "$out"
	rm -rf "$work"
}

packages_install() {
	local work=$1 root=$1/root path
	shift
	mount -t overlay -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/work" packages "$root"
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	for path in /run /tmp /var/lib/apt/lists /var/cache /var/log; do
		mount -t tmpfs -o mode=755 scratch "$root$path"
	done
	chmod 1777 "$root/tmp"
	mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/cache/debconf" "$root/var/log/apt"
	mount --bind "$work/sources.list" "$root/etc/apt/sources.list"
	mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
	prepare "$root"
	local apt=(chroot "$root" env -i DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
		"http_proxy=${http_proxy:-}" "https_proxy=${https_proxy:-}"
		apt-get -qq -y --no-install-recommends -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io)
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	"${apt[@]}" update
	"${apt[@]}" install "$@" >"$work/log" 2>&1 || {
		tail -n 20 "$work/log" >&2
		return 1
	}
	rm "$root/usr/sbin/policy-rc.d"
}

# Deleted files are character devices 0:0 in an overlay, but .wh.NAME in an image.
whiteouts_convert() {
	local file
	while IFS= read -r file; do
		rm "$file"
		: >"${file%/*}/.wh.${file##*/}"
	done < <(find "$1" -type c -exec stat -c '%t:%T %n' {} + | sed -n 's/^0:0 //p')
}

# Print the sources of this Debian, as the machine's own apt has them, out of date or not.
debian_sources() {
	local option=
	[[ $(apt-config shell valid Acquire::Check-Valid-Until/b) != *false* ]] || option='[check-valid-until=no]'
	# shellcheck disable=SC2016 # apt fills these in
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		awk -v suite="$(debian_suite)" -v option="$option" \
			'$2 == "main" && index($1, suite) == 1 { print "deb", option, $3, $1, $2 }' |
		sort -u
}

# Load an image into a host unless it is there. With containerd's store Docker calls it by another
# ID, so the one that it got is kept with the host's disk.
image_load() {
	local host=$1 name=$2 dir=$3 note=$LAB_DIR/$1/images/$2 id
	id=$(image_id "$host" "$name")
	[[ -n $id && ($id == "$(<"$dir/id")" || "$id $(<"$dir/id")" == "$(cat "$note" 2>/dev/null)") ]] && return
	tar -c -C "$dir" --exclude=./id --exclude=./key . | in_host "$host" docker load --quiet >/dev/null
	mkdir -p "${note%/*}"
	echo "$(image_id "$host" "$name") $(<"$dir/id")" >"$note"
}

image_id() { in_host "$1" docker image inspect -f '{{.Id}}' "$2" 2>/dev/null || true; }
