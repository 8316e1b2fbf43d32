#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 02_streams.sh - a hundred TCP connections with every byte compared, in both directions, while
# the server moves; none is reset, none connects again

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up
note_inventory h1 h2

is_listening() { on h3 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null; }
has_open() { docker_on h1 logs --tail 1 server | grep -q "^ok $1 "; }

run_container h1 server victim /victims/streamd 7000 || bail "no container"
ip=$(container_ip h1 server)
wait_for 10 is_listening "$ip" 7000 || bail "streamd does not listen"

in_background client h3 "$VICTIMS/streamc" -n 100 -r 64 "$ip" 7000
client=$last_pid
wait_for 10 has_open 100 || bail "the client does not connect: $(<"$E2E_WORK/client.err")"

moves "with 100 connections" h1 server h2
flows() { (($(docker_on h2 logs --tail 1 server | cut -d' ' -f3) > $1)); }
arrived=$(docker_on h2 logs --tail 1 server | cut -d' ' -f3)
check "bytes flow at the target" wait_for 10 flows "${arrived:-0}"
moves "and on" h2 server h3
moves "and back" h3 server h1

finish "$client"
is "the client is content" "$?" 0
summary=$(<"$E2E_WORK/client.out")
diag "$summary"
is "connections" "$(jq .connections <<<"$summary")" 100
is "resets" "$(jq .resets <<<"$summary")" 0
is "ends without the right figures" "$(jq .bad_ends <<<"$summary")" 0
is "wrong bytes" "$(jq .mismatches <<<"$summary")" 0
is "connected again" "$(jq .reconnects <<<"$summary")" 0
is "local ports are the same" "$(jq .local_ports_same <<<"$summary")" true
at_least "bytes there" "$(jq .bytes_out <<<"$summary")" 1000000
at_least "bytes back" "$(jq .bytes_in <<<"$summary")" 1000000
at_most "longest stall, ms" "$(jq .longest_stall_ms <<<"$summary")" 5000
is "the server has no complaint" "$(docker_on h1 logs server 2>&1 | grep -vc '^ok ')" 0
docker_on h1 rm -f server >/dev/null
nothing_left "streams" h1 h2

# --- as fast as it goes, so that queues are full in both directions at the freeze

run_container h1 server victim /victims/streamd 7000
ip=$(container_ip h1 server)
wait_for 10 is_listening "$ip" 7000
in_background client h3 "$VICTIMS/streamc" -n 8 -r 0 "$ip" 7000
client=$last_pid
wait_for 10 has_open 8
moves "with full queues" h1 server h2
moves "with full queues, back" h2 server h1

# "completed" says that the container has its name there, also when the target had to try twice
arm h2 target.finish.begin fail 1
moves "its end tried again" h1 server h2
is "its end tried again: the name" "$(container_state h2 server)" running
disarm h2

finish "$client"
is "the client with full queues is content" "$?" 0
diag "$(<"$E2E_WORK/client.out") $(<"$E2E_WORK/client.err")"
e2e_done
