# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
#
# nginx - serves /64k.txt, 65,536 bytes that are the same everywhere

base=rb-base
packages=(nginx-light)
config='{"Cmd": ["nginx", "-c", "/etc/nginx/lab.conf", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}},
	"StopSignal": "SIGQUIT"}'

files() {
	mkdir -p "$1/etc/nginx" "$1/srv/www"
	cat >"$1/etc/nginx/lab.conf" <<-'END'
		user www-data;
		worker_processes 2;
		error_log /dev/stderr;
		events {
			worker_connections 512;
		}
		http {
			include mime.types;
			access_log /dev/stdout;
			keepalive_requests 1000000;
			server {
				listen 80;
				root /srv/www;
			}
		}
	END
	echo "reberth lab" >"$1/srv/www/index.html"
	seq -f '%015.0f' 4096 >"$1/srv/www/64k.txt"
}
