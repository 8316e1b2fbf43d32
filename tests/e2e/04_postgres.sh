#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 04_postgres.sh - PostgreSQL, many processes with shared memory and a volume, under pgbench:
# no transaction fails, no connection is made again, and the books balance

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim postgres
warm_up
note_inventory h1 h2

run_container h1 db --restart unless-stopped --shm-size 64m --volume dbdata:/var/lib/postgresql/data postgres || bail "no container"
ip=$(container_ip h1 db)

query() { on h3 psql -h "$ip" -U postgres -qtAX -c "$1" 2>/dev/null; }
answers() { [[ $(query 'select 1') == 1 ]]; }
wait_for 60 answers || bail "PostgreSQL does not answer: $(docker_on h1 logs db 2>&1 | tail -n 3)"

# The client's pgbench comes out of the image: it is of the server's version.
readonly BENCH=(docker run --rm --network lan --name bench postgres sh -c 'exec "$(echo /usr/lib/postgresql/*/bin/pgbench)" "$@"' - -h "$ip" -U postgres)
on h3 "${BENCH[@]}" -i -s 2 -q postgres >/dev/null 2>&1 || bail "pgbench cannot fill its tables"
started=$(query 'select pg_postmaster_start_time()')

in_background bench h3 "${BENCH[@]}" -n -c 4 -j 2 -T 600 postgres
bench=$last_pid
transactions() { (($(query 'select count(*) from pgbench_history') >= $1)); }
wait_for 20 transactions 500 || bail "pgbench does not run: $(<"$E2E_WORK/bench.err")"
backends=$(query "select string_agg(pid || ' ' || client_port, ', ' order by pid) from pg_stat_activity where application_name = 'pgbench'")

moves "under load" h1 db h2
done_before=$(query 'select count(*) from pgbench_history')
check "transactions go on at the target" wait_for 20 transactions $((done_before + 500))
is "the same server processes serve the same ports" \
	"$(query "select string_agg(pid || ' ' || client_port, ', ' order by pid) from pg_stat_activity where application_name = 'pgbench'")" "$backends"
moves "under load, back" h2 db h1
done_before=$(query 'select count(*) from pgbench_history')
check "transactions go on at home" wait_for 20 transactions $((done_before + 500))

# With SIGALRM its time is over: pgbench finishes its transactions and sums up.
docker_on h3 kill --signal ALRM bench >/dev/null
wait "$bench"
diag "$(<"$E2E_WORK/bench.out")"
is "complaints of pgbench" "$(grep -ciE 'error|fatal|aborted|connection' "$E2E_WORK/bench.err")" 0
is "failed transactions" "$(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' "$E2E_WORK/bench.out")" 0
is "it was never started again" "$(query 'select pg_postmaster_start_time()')" "$started"
sums=$(query 'select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
	(select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history)')
is "accounts, tellers, branches and history have one sum" "$sums" "$(cut -d'|' -f1 <<<"$sums" | sed 's/.*/&|&|&|&/')"
check "an index is as good as its table" query 'create extension if not exists amcheck; select bt_index_parent_check(oid, true) from pg_class where relname = '"'pgbench_accounts_pkey'"
# What asked too early whether it answers was told so, and that is no complaint.
is "complaints of PostgreSQL" "$(docker_on h1 logs db 2>&1 | grep -E 'PANIC|FATAL|ERROR|terminated by signal' | grep -v 'the database system is starting up')" ""

# What is on the disk is whole, too: it starts again from that.
docker_on h1 restart db >/dev/null
wait_for 30 answers
is "after a restart the books still balance" "$(query 'select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
	(select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history)')" "$sums"
docker_on h1 rm -fv db >/dev/null
docker_on h1 volume rm dbdata >/dev/null
nothing_left "PostgreSQL" h1 h2
e2e_done
