#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 05_states.sh - a victim of several processes and threads that holds every kind of kernel state
# that is to move (pipes, sockets, files, locks, timers, signals, ...) and checks all of it all the
# time: tests/victims/states*.c

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up
note_inventory h1 h2

run_container h1 states --workdir /tmp --volume stuff:/stuff --security-opt seccomp=unconfined victim /victims/states -d /stuff ||
	bail "no container"
round() { docker_on "$1" logs --tail 1 states 2>/dev/null | sed -n 's/^ok \([0-9]*\)$/\1/p'; }
has_round() { (($(round "$1") + 0 >= $2)); }
wait_for 10 has_round h1 8 || bail "states does not work before a move: $(docker_on h1 logs states 2>&1 | tail -n 3)"
processes=$(docker_on h1 top states -eLo pid,comm | wc -l)

here=h1
for there in h2 h1 h2; do
	at=$(round "$here")
	moves "from $here" "$here" states "$there" || break
	check "it finds everything as it was on $there" wait_for 20 has_round "$there" $((at + 20))
	here=$there
done
is "threads" "$(docker_on "$here" top states -eLo pid,comm | wc -l)" "$processes"
docker_on "$here" stop states >/dev/null
is "it ends in order" "$(docker_on "$here" inspect -f '{{.State.ExitCode}}' states)" 0
log=$(docker_on "$here" logs states 2>&1)
is "complaints" "$(grep -v '^ok [0-9]*$\|^end ' <<<"$log")" ""
is "rounds are without gap" "$(sed -n 's/^ok //p' <<<"$log" | awk 'NR > 1 && $1 - last > step { step = $1 - last } { last = $1 } END { print step }')" \
	"$(sed -n 's/^ok //p' <<<"$log" | awk 'NR == 2 { print $1 - last } { last = $1 }')"
docker_on "$here" rm -fv states >/dev/null
docker_on "$here" volume rm stuff >/dev/null
nothing_left "states" h1 h2

# --- the CRIU that holds the tasks is killed: they are restored once more, with the shared memory that has arrived

run_container h1 states victim /victims/states -o memfd,private,shared,sysv-keyed,sysv-removed,sysv-shm || bail "no container"
wait_for 10 has_round h1 8 || bail "states does not work: $(docker_on h1 logs states 2>&1 | tail -n 3)"
at=$(round h1)
arm h1 source.commit.begin pause 1
on h1 reberth migrate --detach states h2 >/dev/null
check "held: READY is reached" wait_for 20 fault_reached h1
# shellcheck disable=SC2016 # for the inner shell
on h2 sh -c 'kill -KILL $(pgrep -f "criu [s]wrk")' || fail "there is a CRIU to kill"
disarm h1
check "restored once more: it finds everything as it was" wait_for 20 has_round h2 $((at + 20))
like "restored once more: so it was" "$(lab logs h2 reberthd | tail -n 20)" "restoring once more"
docker_on h2 stop states >/dev/null
is "restored once more: complaints" "$(docker_on h2 logs states 2>&1 | grep BAD)" ""
wait_for 20 no_active_migration h2
docker_on h2 rm -f states >/dev/null
nothing_left "restored once more" h1 h2

# --- a job that ends at the target before anybody has seen it run there: it is not done twice

has_state() { [[ $(container_state "$1" "$2") == "$3" ]]; }
readonly JOB='echo begun; until [ -e /data/end ]; do usleep 10000; done; echo "ended, $(cat /data/end)"; exit 7'
for policy in no on-failure:1; do
	run_container h1 job --restart "$policy" --volume data:/data victim sh -c "$JOB" || bail "no container"
	wait_for 10 has_log_lines h1 job 1 || bail "no job"
	arm h2 target.running.begin pause 1
	on h1 reberth migrate --detach job h2 >/dev/null
	check "a job, $policy: it is let go" wait_for 20 fault_reached h2
	on h2 sh -c 'echo once >/var/lib/docker/volumes/data/_data/end'
	# it is still under its temporary name
	check "a job, $policy: it ends" wait_for 10 on h2 sh -c 'docker ps -a --format "{{.Status}}" | grep -q "^Exited (7)"'
	disarm h2
	check "a job, $policy: and has moved" wait_for 20 no_active_migration h1
	wait_for 10 no_active_migration h2
	[[ $policy == no ]] || wait_for 10 has_log_lines h2 job 6
	wait_for 10 has_state h2 job exited
	is "a job, $policy: how it ended" "$(docker_on h2 inspect -f '{{.State.ExitCode}}' job)" 7
	# Docker's count begins when it is started where it has arrived
	[[ $policy == no ]] && times=1 || times=3
	is "a job, $policy: it ran $times times" "$(docker_on h2 logs job)" "$(for ((i = 0; i < times; i++)); do printf 'begun\nended, once\n'; done)"
	docker_on h2 rm -fv job >/dev/null
	docker_on h2 volume rm data >/dev/null
done
nothing_left "a job" h1 h2

# --- memory that changes all the time and is known all the time

run_container h1 dirty victim /victims/dirtier -h 20 64 20000 || bail "no container"
rewritten() { docker_on "$1" logs --tail 1 dirty 2>/dev/null | awk '$1 == "ok" { print $2 }'; }
has_rewritten() { (($(rewritten "$1") + 0 >= $2)); }
wait_for 20 has_rewritten h1 1000 || bail "dirtier does not work"
for there in h2 h1; do
	[[ $there == h1 ]] && here=h2 || here=h1
	at=$(rewritten $here)
	moves "while 80 MiB/s are written" "$here" dirty "$there" || break
	check "memory is as it was on $there" wait_for 20 has_rewritten "$there" $((at + 20000))
done
docker_on "$there" stop dirty >/dev/null
like "every page, verified at the end" "$(docker_on "$there" logs --tail 1 dirty 2>&1)" '^end [0-9]+ [0-9]+$'

# --- programs are started all the time: somebody is nearly always between vfork and exec

run_container h1 spawner victim /victims/spawner || bail "no container"
spawned() { docker_on "$1" logs --tail 1 spawner 2>/dev/null | awk '$1 == "ok" { print $2 }'; }
has_spawned() { (($(spawned "$1") + 0 >= $2)); }
wait_for 10 has_spawned h1 20 || bail "spawner does not work"
for there in h2 h1; do
	[[ $there == h1 ]] && here=h2 || here=h1
	at=$(spawned $here)
	moves "while programs are started" "$here" spawner "$there" || break
	check "it goes on to start them on $there" wait_for 20 has_spawned "$there" $((at + 50))
done
is "no program was lost" "$(docker_on "$there" logs spawner 2>&1 | grep -v '^ok ')" ""
docker_on "$there" rm -f spawner >/dev/null

# --- a segment that CRIU fills while it makes the namespaces, when its pages may still be on their way

lab image h1 h2 rb-base >/dev/null
segment() { docker_on "$1" exec segment perl -e 'shmread(shmget(4711, 0, 0), $it, 0, 16 << 20) or die "none: $!"; print $it eq "reberth!" x (2 << 20) ? "right" : "wrong"'; }
# shellcheck disable=SC2016 # for perl
run_container h1 segment rb-base perl -e '$id = shmget(4711, 16 << 20, 01600); shmwrite($id, "reberth!" x 512, $_ << 12, 4096) for 0 .. 4095; $| = 1; print "up\n"; sleep 1 while 1'
wait_for 10 has_log_lines h1 segment 1 || bail "no segment"
is "a segment" "$(segment h1)" right
for host in h1 h2; do lab link $host --rate 20mbit; done
moves "a segment whose pages come late" h1 segment h2 --strategy cold
for host in h1 h2; do lab link $host --rate none; done
is "a segment whose pages came late" "$(segment h2)" right
is "and it was not made once more" "$(docker_on h2 logs segment)" up
docker_on h2 rm -f segment >/dev/null
e2e_done
