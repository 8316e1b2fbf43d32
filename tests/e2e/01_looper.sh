#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 01_looper.sh - a program that counts goes on with the next number, and its container is one like
# any other afterwards: everything that people do with containers is tried on the target

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up
note_inventory h1 h2

# is_limited NAME MEBIBYTES: the memory of h2's container
is_limited() {
	if [[ $(docker_on h2 info -f '{{.MemoryLimit}}' 2>/dev/null) == true ]]; then
		is "$1" "$(docker_on h2 stats --no-stream --format '{{.MemUsage}}' loop | cut -d/ -f2)" " $2MiB"
	else
		skip "$1" "Docker cannot limit memory here: the cgroups lack the memory controller"
	fi
}

run_container h1 loop --restart on-failure:3 --env COLOUR=green --label purpose=test \
	--memory 64m --cpus 0.5 --pids-limit 50 --ulimit nofile=512:1024 --cap-drop NET_RAW --shm-size 8m \
	--workdir /tmp --stop-timeout 5 --stop-signal SIGTERM --sysctl net.ipv4.ip_unprivileged_port_start=1000 \
	--add-host friend:10.88.9.9 --dns-search test --network-alias counter --volume numbers:/data \
	--tmpfs /scratch:size=1m --user 1000:1000 victim /victims/looper 20 || bail "no container"
wait_for 10 has_log_lines h1 loop 50 || bail "the looper does not count"

before=$(same_everywhere h1 loop)
seen_before=$(inventory h1)
old_id=$(docker_on h1 inspect -f '{{.Id}}' loop)

moves "moved" h1 loop h2 || bail "nothing to test: $message"
moved_at=$(log_lines h2 loop)
wait_for 10 has_log_lines h2 loop $((moved_at + 50))
numbers=$(docker_on h2 logs loop 2>&1)
is "docker logs has all numbers from 0, in order, none twice" "$numbers" "$(seq 0 $(($(wc -l <<<"$numbers") - 1)))"
at_least "it counted on after the move" "$(wc -l <<<"$numbers")" $((moved_at + 50))
nothing_left "moved" h1 h2
is "the source has no container" "$(docker_on h1 ps -aq)" ""
is "the source has no volume" "$(docker_on h1 volume ls -q)" ""

is "configuration is the same (docker inspect)" "$(same_everywhere h2 loop)" "$before"
is "the host sees the same container" "$(of_container "$(inventory h2)" loop)" "$(of_container "$seen_before" loop)"
is "the report has the old ID" "$(report_field .old_id)" "$old_id"
is "the report has the new ID" "$(report_field .new_id)" "$(docker_on h2 inspect -f '{{.Id}}' loop)"

# --- as for any container

like "docker ps" "$(docker_on h2 ps --format '{{.Names}} {{.Image}} {{.Status}}')" '^loop victim Up '
is "docker exec" "$(docker_on h2 exec loop sh -c 'echo $COLOUR; id -u; pwd')" $'green\n1000\n/tmp'
is "docker exec with input" "$(echo hello | docker_on h2 exec -i loop cat)" hello
is "docker exec: exit status" "$(docker_on h2 exec loop sh -c 'exit 7'; echo $?)" 7
is "host name inside" "$(docker_on h2 exec loop hostname)" "${old_id:0:12}"
like "/etc/hosts inside" "$(docker_on h2 exec loop cat /etc/hosts)" "10\.88\.9\.9[[:space:]]friend"
like "/etc/hosts has its own name" "$(docker_on h2 exec loop cat /etc/hosts)" "$(container_ip h2 loop)[[:space:]]${old_id:0:12}"
like "/etc/resolv.conf inside" "$(docker_on h2 exec loop cat /etc/resolv.conf)" 'search test'
is "limit of open files" "$(docker_on h2 exec loop sh -c 'grep "Max open files" /proc/1/limits' | tr -s ' ')" \
	"Max open files 512 1024 files "
is_limited "limit of memory holds" 64
like "docker stats counts processes" "$(docker_on h2 stats --no-stream --format '{{.PIDs}}' loop)" '^[12]$'
like "docker top" "$(docker_on h2 top loop)" '/victims/looper 20'

docker_on h2 run -d --name other --network lan victim sleep 60 >/dev/null
is "Docker's name server finds it" "$(docker_on h2 exec other nslookup counter 2>/dev/null | sed -n '/^Name:.*counter/,$s/^Address[^:]*: *//p' | head -n1)" \
	"$(container_ip h2 loop)"
is "Docker's name server answers it" "$(docker_on h2 exec loop nslookup other. 2>/dev/null | sed -n '/^Name:.*other/,$s/^Address[^:]*: *//p' | head -n1)" \
	"$(container_ip h2 other)"
docker_on h2 rm -f other >/dev/null

follow() { timeout 10 "$E2E_TREE/lab" sh h2 docker logs -f --tail 3 loop | head -n 40; }
followed=$(follow)
first=${followed%%$'\n'*}
is "docker logs -f follows" "$followed" "$(seq "$first" $((first + 39)))"

docker_on h2 pause loop >/dev/null
is "docker pause" "$(container_state h2 loop)" paused
docker_on h2 unpause loop >/dev/null
paused_at=$(log_lines h2 loop)
check "docker unpause: it counts on" wait_for 5 has_log_lines h2 loop $((paused_at + 10))

docker_on h2 rename loop loop2 && docker_on h2 rename loop2 loop
is "docker rename" "$(container_state h2 loop)" running
docker_on h2 update --memory 80m --memory-swap 160m loop >/dev/null
is_limited "docker update" 80

zeros() { docker_on h2 logs loop 2>/dev/null | grep -cx 0; }
zeros_before=$(zeros)
docker_on h2 restart loop >/dev/null
is "docker restart" "$(container_state h2 loop)" running
restarts_at_zero() { (($(zeros) > zeros_before)); }
check "after a restart it counts from 0" wait_for 5 restarts_at_zero
is "restarted, it has the same address" "$(container_ip h2 loop)" "$(jq -r .Networks.lan.IPAddress <<<"$before")"

docker_on h2 stop loop >/dev/null
is "docker stop: its handler ran" "$(docker_on h2 inspect -f '{{.State.Status}} {{.State.ExitCode}}' loop)" "exited 0"
docker_on h2 start loop >/dev/null
is "docker start" "$(container_state h2 loop)" running
docker_on h2 kill loop >/dev/null
is "docker kill" "$(docker_on h2 inspect -f '{{.State.Status}} {{.State.ExitCode}}' loop)" "exited 137"
docker_on h2 rm -v loop >/dev/null
docker_on h2 volume rm numbers >/dev/null
is "docker rm" "$(container_state h2 loop)" none
nothing_left "removed" h2

# --- straight after a move, without a restart in between

for verb in "stop: exited 0" "kill: exited 137" "rm -f: none"; do
	run_container h1 loop --restart always victim /victims/looper 20
	wait_for 10 has_log_lines h1 loop 5
	moves "for docker ${verb%%:*}" h1 loop h2 || continue
	# shellcheck disable=SC2086 # words of a command
	docker_on h2 ${verb%%:*} loop >/dev/null
	is "docker ${verb%%:*} ends what arrived" \
		"$(docker_on h2 inspect -f '{{.State.Status}} {{.State.ExitCode}}' loop 2>/dev/null | grep . || echo none)" "${verb#*: }"
	docker_on h2 rm -f loop >/dev/null 2>&1
	nothing_left "docker ${verb%%:*}" h1 h2
done

# --- what ends by itself ends with its status

run_container h1 short victim sh -c 'until [ -e /tmp/end ]; do sleep 0.1; done; exit 42'
moves "for its end" h1 short h2 &&
	docker_on h2 exec short touch /tmp/end
has_ended() { [[ $(container_state h2 short) == exited ]]; }
wait_for 10 has_ended
is "the exit status arrives" "$(docker_on h2 inspect -f '{{.State.Status}} {{.State.ExitCode}}' short)" "exited 42"
docker_on h2 rm -f short >/dev/null
nothing_left "ended by itself" h1 h2

# --- the restart policy works

run_container h1 again --restart always victim sh -c 'until [ -e /tmp/end ]; do sleep 0.1; done; rm /tmp/end; exit 1'
moves "for its restart" h1 again h2 &&
	docker_on h2 exec again touch /tmp/end
was_restarted() { [[ $(docker_on h2 inspect -f '{{.RestartCount}} {{.State.Status}}' again) == "1 running" ]]; }
check "Docker restarts it as its policy says" wait_for 10 was_restarted
e2e_done
