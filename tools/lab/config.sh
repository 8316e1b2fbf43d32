# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# config.sh - certificates and reberthd's configuration for every host
#
# The lab's own authority signs one certificate per host, good for both sides of
# a connection. Keys are made once and kept with the host's disks.

readonly CA_DIR=$LAB_DIR/ca
readonly CERT_DAYS=3650

ca_create() {
	[[ ! -s $CA_DIR/ca.pem ]] || return 0
	mkdir -p "$CA_DIR"
	chmod 700 "$CA_DIR"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days "$CERT_DAYS" \
		-subj "/CN=$LAB authority" -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' \
		-addext 'keyUsage=critical,keyCertSign,cRLSign' \
		-keyout "$CA_DIR/ca.key" -out "$CA_DIR/ca.pem.new" 2>"$CA_DIR/log" ||
		die "cannot make a certificate authority: $(tail -n 1 "$CA_DIR/log")"
	mv "$CA_DIR/ca.pem.new" "$CA_DIR/ca.pem"
}

# node_certificate NAME DIR: make DIR/node.key and DIR/node.pem, and put the authority's beside them.
node_certificate() {
	local name=$1 dir=$2
	[[ ! -s $dir/node.pem ]] || return 0
	mkdir -p "$dir"
	(
		umask 077
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days "$CERT_DAYS" \
			-subj "/CN=$name" -CA "$CA_DIR/ca.pem" -CAkey "$CA_DIR/ca.key" \
			-addext 'basicConstraints=critical,CA:FALSE' -addext "subjectAltName=DNS:$name" \
			-addext 'keyUsage=critical,digitalSignature' \
			-addext 'extendedKeyUsage=serverAuth,clientAuth' \
			-keyout "$dir/node.key" -out "$dir/node.pem.new" 2>"$dir/openssl.log" ||
			die "cannot make a certificate: $(tail -n 1 "$dir/openssl.log")"
	)
	rm -f "$dir/openssl.log"
	cp "$CA_DIR/ca.pem" "$dir/ca.pem"
	chmod 644 "$dir/ca.pem" "$dir/node.pem.new"
	mv "$dir/node.pem.new" "$dir/node.pem"
}

# reberth_config HOST: print reberthd's configuration. It names every host that
# the lab can have, so that nothing needs rewriting when one is added.
reberth_config() {
	local host=$1 number nodes=
	for ((number = 1; number <= MAX_HOSTS; number++)); do
		nodes+="${nodes:+, }\"h$number\": \"$MGMT_NET.$number:7480\""
	done
	cat <<-END
		{
		  "node": "$host",
		  "listen": "$(host_mgmt_address "$host"):7480",
		  "nodes": {$nodes},
		  "tls": {"ca": "/etc/reberth/ca.pem", "cert": "/etc/reberth/node.pem", "key": "/etc/reberth/node.key"},
		  "docker": "/var/run/docker.sock",
		  "runtime_root": "/run/docker/runtime-runc/moby",
		  "state_dir": "/var/lib/reberth",
		  "run_dir": "/run/reberth"
		}
	END
}
