#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 09_options.sh - what `reberth migrate` can be told, what it reports, and `reberth migration ...`

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up

run_container h1 web --restart always --volume data:/data victim sh -c 'echo kept >/data/file; exec /victims/looper 20' || bail "no container"
wait_for 10 has_log_lines h1 web 5
note_inventory h1 h2
all_migrations() { on h1 reberth migration ls -aq && on h2 reberth migration ls -aq; }
known=$(all_migrations)
described=$(of_container "$(inventory h1)" web)

counts_on() {
	local at
	at=$(log_lines "$1" web)
	check "$2: it counts on" wait_for 5 has_log_lines "$1" web $((at + 5))
	is "$2: it lost no number" "$(docker_on "$1" logs web | awk '$1 != NR - 1 { bad++ } END { print bad + 0 }')" 0
}
is_rolled_back() {
	is "$1: result" "$result" rolled-back
	is "$1: reberth's exit status" "$status" "$2"
	like "$1: says that it runs on at the source" "$message" "web was not moved, it runs on at h1"
	is "$1: the container is as it was" "$(of_container "$(inventory h1)" web)" "$described"
	nothing_left "$1" h1 h2
	counts_on h1 "$1"
}
# type_of NAME TYPE: of a field of the report
type_of() { is "report: type of $1" "$(report_field "$1 | type")" "$2"; }

# --- --dry-run

migrate h1 --dry-run web h2
is "--dry-run: exit status" "$status" 0
is "--dry-run: possible" "$(report_field .possible)" true
is "--dry-run: no errors" "$(report_field '[.obstacles[] | select(.severity == "error")] | length')" 0
at_least "--dry-run: estimate of memory" "$(report_field .estimate.memory_bytes)" 100000
is "--dry-run: estimate of image layers" "$(report_field .estimate.image_bytes)" 0
is "--dry-run: no migration was noted" "$(all_migrations)" "$known"
is "--dry-run: the container is as it was" "$(of_container "$(inventory h1)" web)" "$described"
nothing_left "--dry-run" h1 h2
like "--dry-run without --json" "$(on h1 reberth migrate --dry-run web h2)" "web can be moved from h1 to h2.*To be sent:"

docker_on h2 run -d --name web --network lan victim sleep 600 >/dev/null
docker_on h2 volume create data >/dev/null
migrate h1 --dry-run web h2
is "--dry-run, impossible: exit status" "$status" 5
is "--dry-run, impossible: possible" "$(report_field .possible)" false
is "--dry-run, impossible: names all obstacles" "$(report_field '[.obstacles[] | select(.severity == "error")] | length')" 2
docker_on h2 rm -f web >/dev/null
docker_on h2 volume rm data >/dev/null

# --- the report

migrate h1 web h2
is "report: exit status" "$status" 0
for field in .id .container .source .target .strategy .result .reason; do type_of "$field" string; done
for field in .downtime_ms .total_ms .bytes_sent .bytes_received '.stages[0].ms'; do type_of "$field" number; done
type_of .stages array
is "report: of what to where" "$(report_field '"\(.container) \(.source) \(.target) \(.strategy) \(.result) \(.reason)"')" "web h1 h2 pre-copy completed "
is "report: stages" "$(report_field '[.stages[].name] | join(" ")')" \
	"connect check image create sync start memory ports arm freeze dump transfer restore commit fetch finish"
at_least "report: total time is not less than the downtime" "$(report_field '.total_ms - .downtime_ms')" 0
at_least "report: total time is not less than the stages'" "$(report_field '.total_ms - ([.stages[].ms] | add) + 5 | floor')" 0
at_least "report: bytes sent" "$(report_field .bytes_sent)" 100000
at_least "report: bytes received" "$(report_field .bytes_received)" 500
sent=$(report_field .bytes_sent)
id=$(report_field .id)
there=$(on h2 reberth migration inspect "$id" | jq '.[0].report')
is "the target's report has the same id and result" "$(jq -r '"\(.id) \(.result)"' <<<"$there")" "$id completed"
at_most "the target's bytes received differ by" "$(jq "(.bytes_received - $sent) | fabs" <<<"$there")" 65536

output=$(on h2 reberth migrate web h1 2>"$E2E_WORK/lines")
is "without --json: exit status" "$?" 0
like "without --json: summary" "$output" "^web moved from h2 to h1: [0-9].* of downtime, .* in all, .* sent"
like "without --json: old and new ID" "$output" "container ID [0-9a-f]{12} -> [0-9a-f]{12}"
is "without a terminal: plain lines" "$(grep -c $'[\033\r]' "$E2E_WORK/lines")" 0
at_least "without a terminal: a line per stage that is seen" "$(wc -l <"$E2E_WORK/lines")" 1

# --- --detach, ls, inspect

arm h1 source.sync.begin pause 1
id=$(on h1 reberth migrate --detach web h2)
is "--detach: exit status" "$?" 0
like "--detach: prints the ID" "$id" '^[0-9a-f]{16}$'
wait_for 10 fault_reached h1
like "ls" "$(on h1 reberth migration ls)" "$id +web +h1 +h2 +preparing +sync"
is "ls --quiet" "$(on h1 reberth migration ls -q)" "$id"
is "ls on the target" "$(on h2 reberth migration ls -q)" "$id"
is "ls --json" "$(on h1 reberth migration ls --json | jq -r '.[].id')" "$id"
is "inspect by the beginning of its ID" "$(on h1 reberth migration inspect "${id:0:6}" | jq -r '.[0] | "\(.id) \(.state) \(.role) \(.stage)"')" "$id preparing source sync"
is "inspect on the target" "$(on h2 reberth migration inspect "$id" | jq -r '.[0] | "\(.state) \(.role)"')" "preparing target"
release h1
has_ended() { [[ $(api "$1" "/migrations/$id" | jq .active) == false ]]; }
check "--detach: it comes to its end" wait_for 20 has_ended h1
is "--detach: completed" "$(api h1 "/migrations/$id" | jq -r .result)" completed
is "ls shows only what goes on" "$(on h1 reberth migration ls -q)" ""
at_least "ls --all shows all" "$(on h1 reberth migration ls -aq | wc -l)" 3
migrate h2 web h1
is "back" "$status" 0

# --- a step that takes longer than anybody would wait for an answer alone: a first round, say, of much memory

arm h2 target.pages.end pause 1
id=$(on h1 reberth migrate --detach web h2)
check "a slow step: it is reached" wait_for 20 fault_reached h2
pause 25 # more than the 20 s in which an answer has to be written
is "a slow step: it goes on" "$(api h1 "/migrations/$id" | jq .active)" true
release h2
check "a slow step: it comes to its end" wait_for 20 has_ended h1
is "a slow step: completed" "$(api h1 "/migrations/$id" | jq -r '.result + .reason')" completed
counts_on h2 "a slow step"
migrate h2 web h1
is "and back" "$status" 0

# --- ways to end it early

for stage in sync freeze transfer restore; do
	arm h1 source.$stage.begin hang 1
	started=$(now_ms)
	migrate h1 --timeout 1500ms web h2
	took=$(($(now_ms) - started))
	is_rolled_back "--timeout in stage $stage" 12
	at_most "--timeout in stage $stage: ms" "$took" 4000
	disarm h1
done

# Run in the background; the caller interrupts it.
interrupted() {
	local stage=$1 signal=$2
	arm h1 "source.$stage.begin" hang 1
	in_background cli h1 reberth migrate --json web h2
	wait_for 10 hangs_in "$stage" || diag "it does not come to stage $stage"
	on h1 pkill "-$signal" -x reberth
	wait "$last_pid"
	status=$?
	report=$(<"$E2E_WORK/cli.out") message=$(<"$E2E_WORK/cli.err")
	result=$(report_field .result)
	disarm h1
}
hangs_in() { [[ $(api h1 /migrations | jq -r '.[] | select(.active) | .stage') == "$1" ]]; }
interrupted sync INT
is_rolled_back "Ctrl-C without a terminal" 13
interrupted transfer TERM
is_rolled_back "SIGTERM" 13

arm h1 source.freeze.end hang 1
id=$(on h1 reberth migrate --detach web h2)
is_frozen() { [[ $(api h1 "/migrations/$id" | jq -r .state) == frozen ]]; }
check "it is frozen" wait_for 10 is_frozen
on h2 reberth migration cancel "$id" 2>"$E2E_WORK/cancel.err"
is "migration cancel on the target is refused" "$?" 4
like "migration cancel on the target says where" "$(<"$E2E_WORK/cancel.err")" "on its source, node 'h1'"
on h1 reberth migration cancel "$id" >/dev/null
is "migration cancel" "$?" 0
check "migration cancel: it ends" wait_for 10 has_ended h1
result=$(api h1 "/migrations/$id" | jq -r .result) status=13 message="web was not moved, it runs on at h1"
is_rolled_back "migration cancel" 13
disarm h1

# The command that watches is gone: the migration goes on.
arm h1 source.sync.begin pause 1
in_background cli h1 reberth migrate web h2
wait_for 10 fault_reached h1
on h1 pkill -KILL -x reberth
id=$(on h1 reberth migration ls -q)
release h1
check "the command was killed: it comes to its end" wait_for 20 has_ended h1
is "the command was killed: completed" "$(api h1 "/migrations/$id" | jq -r .result)" completed
migrate h2 web h1

# --- what users do to the container meanwhile

arm h1 source.transfer.end pause 1
id=$(on h1 reberth migrate --detach web h2)
wait_for 10 fault_reached h1
in_background kill h1 docker kill web
pause 0.5
release h1
check "docker kill during the freeze: it ends" wait_for 20 has_ended h1
is "docker kill during the freeze cancels" "$(api h1 "/migrations/$id" | jq -r .result)" rolled-back
runs_afresh() { [[ $(container_state h1 web) == running ]]; }
nothing_left "docker kill during the freeze" h1 h2
docker_on h1 rm -f web >/dev/null
run_container h1 web --restart always --volume data:/data victim sh -c 'echo kept >/data/file; exec /victims/looper 20'
wait_for 10 has_log_lines h1 web 5

arm h1 source.sync.begin pause 1
id=$(on h1 reberth migrate --detach web h2)
wait_for 10 fault_reached h1
docker_on h1 rm -f web >/dev/null
release h1
check "docker rm -f during the copy: it ends" wait_for 20 has_ended h1
is "docker rm -f during the copy: nothing to move" "$(api h1 "/migrations/$id" | jq -r .result)" rolled-back
is "docker rm -f during the copy: it stays removed" "$(container_state h1 web) $(container_state h2 web)" "none none"
nothing_left "docker rm -f during the copy" h2
run_container h1 web --restart always --volume data:/data victim sh -c 'echo kept >/data/file; exec /victims/looper 20'
wait_for 10 has_log_lines h1 web 5

# --- --keep-source

migrate h1 --keep-source web h2
is "--keep-source: exit status" "$status" 0
old=web-moved-$(report_field .id)
is "--keep-source: the old one is there, stopped" "$(container_state h1 "$old")" exited
is "--keep-source: it will not start by itself" "$(docker_on h1 inspect -f '{{.HostConfig.RestartPolicy.Name}}' "$old")" no
is "--keep-source: it is off the network" "$(docker_on h1 inspect -f '{{len .NetworkSettings.Networks}}' "$old")" 0
is "--keep-source: its volume is there" "$(docker_on h1 volume ls -q)" data
is "--keep-source: the new one runs" "$(container_state h2 web)" running
is "--keep-source: the new one's policy" "$(docker_on h2 inspect -f '{{.HostConfig.RestartPolicy.Name}}' web)" always
is "--keep-source: the volume moved along" "$(docker_on h2 exec web cat /data/file)" kept
counts_on h2 "--keep-source"
docker_on h1 rm -fv "$old" >/dev/null
docker_on h1 volume rm data >/dev/null
e2e_done
