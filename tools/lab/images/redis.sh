# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
#
# redis - reachable from everywhere, keeps everything in memory

base=rb-base
packages=(redis-server)
config='{"Cmd": ["redis-server", "/etc/redis/lab.conf"], "User": "redis", "WorkingDir": "/var/lib/redis",
	"ExposedPorts": {"6379/tcp": {}}}'

files() {
	mkdir -p "$1/etc/redis"
	cat >"$1/etc/redis/lab.conf" <<-'END'
		bind 0.0.0.0
		protected-mode no
		appendonly no
		save ""
	END
}
