#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 03_redis.sh - a real Redis under write load, over one connection that never connects again:
# every key is compared with what Redis acknowledged

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim redis
warm_up
note_inventory h1 h2

run_container h1 cache --restart unless-stopped redis || bail "no container"
ip=$(container_ip h1 cache)
redis() { on h3 redis-cli -h "$ip" "$@" 2>/dev/null; }
answers() { [[ $(redis ping) == PONG ]]; }
wait_for 10 answers || bail "Redis does not answer"

in_background client h3 "$CLIENTS/redis_load" "$ip" 6379 --keys 5000
client=$last_pid
commands() { redis info stats | sed -n 's/^total_commands_processed:\([0-9]*\).*/\1/p'; }
served() { (($(commands) >= $1)); }
wait_for 20 served 5000 || bail "nobody writes: $(<"$E2E_WORK/client.err")"
run_id=$(redis info server | grep ^run_id)

moves "under load" h1 cache h2
check "writes go on at the target" wait_for 10 served $(($(commands) + 2000))
moves "under load, back" h2 cache h1
check "writes go on at home" wait_for 10 served $(($(commands) + 2000))

finish "$client"
is "the client is content" "$?" 0
summary=$(<"$E2E_WORK/client.out")
diag "$summary $(<"$E2E_WORK/client.err")"
field() { jq ".$1" <<<"$summary"; }
at_least "requests" "$(field requests)" 9000
is "requests that failed" "$(field failed)" 0
is "connected again" "$(field reconnects)" 0
is "the local port is the same" "$(field same_local_port)" true
is "answers with another value than the last acknowledged" "$(field wrong_reads)" 0
is "keys compared" "$(field keys_checked)" 5000
is "keys lost" "$(field keys_lost)" 0
at_most "longest stall, ms" "$(field 'longest_stall_ms | floor')" 5000
is "it is the same process" "$(redis info server | grep ^run_id)" "$run_id"
docker_on h1 rm -f cache >/dev/null
nothing_left "Redis" h1 h2
e2e_done
