# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
#
# postgres - makes its database in an empty volume and lets everybody in

base=rb-base
packages=(postgresql)
# Compiling queries takes a library larger than all the rest.
exclude=('/usr/lib/*/libLLVM*' '/usr/lib/llvm-*' '/usr/lib/postgresql/*/lib/llvmjit*' '/usr/lib/postgresql/*/lib/bitcode/*')
config='{"Cmd": ["/usr/local/bin/postgres-start"], "ExposedPorts": {"5432/tcp": {}},
	"Volumes": {"/var/lib/postgresql/data": {}}, "StopSignal": "SIGINT"}'

prepare() {
	mkdir -p "$1/etc/postgresql-common"
	echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"
}

files() {
	mkdir -p "$1/usr/local/bin"
	cat >"$1/usr/local/bin/postgres-start" <<-'END'
		#!/bin/sh
		set -e
		data=/var/lib/postgresql/data
		bin=$(echo /usr/lib/postgresql/*/bin)
		as_postgres="setpriv --reuid postgres --regid postgres --init-groups"
		install -d -o postgres -g postgres /var/run/postgresql
		if [ ! -s $data/PG_VERSION ]; then
			install -d -o postgres -g postgres -m 700 $data
			$as_postgres $bin/initdb -D $data -U postgres -A trust
			echo "host all all all trust" >>$data/pg_hba.conf
		fi
		exec $as_postgres $bin/postgres -D $data -c 'listen_addresses=*'
	END
	chmod 755 "$1/usr/local/bin/postgres-start"
}
