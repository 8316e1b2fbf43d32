# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
#
# victim - busybox and the project's test programs, in /victims

base=busybox
config='{"Cmd": ["sh"], "WorkingDir": "/victims"}'

victims() {
	[[ ! -d $REBERTH_BIN/tests/victims ]] ||
		find "$REBERTH_BIN/tests/victims" -maxdepth 1 -type f -perm -u+x ! -name "test_*" | sort
}

inputs() { victims | xargs -r sha256sum; }

# Programs that are not static bring their libraries along.
files() {
	local root=$1 program library
	mkdir -p "$root/victims"
	while read -r program; do
		cp "$program" "$root/victims/"
		for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*' || true); do
			mkdir -p "$root${library%/*}"
			cp -L "$library" "$root$library"
		done
	done < <(victims)
}
