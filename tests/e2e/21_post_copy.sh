#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 21_post_copy.sh - the container runs on the target before its memory is there: what it touches is
# fetched, whatever happens to the link and to those who fetch; and where memory is lost it is killed
# rather than run on without (tests/victims/shifter.c knows what every page has to be)

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/memory_lib.sh
. "$(dirname "$0")/memory_lib.sh"
readonly MEBIBYTES=96
e2e_begin victim
warm_up
note_inventory h1 h2

# its steps are counted from the beginning again
started_afresh() { docker_on "$1" logs shifter 2>/dev/null | awk '$1 == "ok" { n += $2 < last; last = $2 } END { exit n == 0 }'; }
# begin_move HOST NODE STRATEGY: sets $id and $at
begin_move() {
	at=$(steps "$1" shifter)
	id=$(api "$1" /migrations -d "{\"container\": \"shifter\", \"target\": \"$2\", \"strategy\": \"$3\"}" | jq -r .id)
}
# The target has let it go, and can fetch nothing. (The restore itself touches some pages.)
begin_without_memory() {
	arm h1 source.commit.begin pause 1
	begin_move h1 h2 post-copy
	wait_for 30 fault_reached h1 || fail "it is ready"
	arm h1 source.fetch.pages fail
	release h1
	wait_for 30 is_in h2 "$id" go || fail "it runs on the target"
	is "the source waits" "$(state_of h1 "$id")" commit
	# the target has noted that it runs: who ends before that is started afresh
	wait_for 30 says_it_runs h1 || fail "the source knows that it runs"
}
says_it_runs() { [[ $(api "$1" "/migrations/$id") == *"it runs there"* ]]; }

shifter_start h1 $MEBIBYTES
here=h1 there=h2
for strategy in post-copy hybrid post-copy hybrid; do
	at=$(steps $here shifter)
	moves "$strategy" $here --strategy $strategy shifter $there || break
	is "$strategy: so it was" "$(report_field .strategy)" $strategy
	[[ $strategy == hybrid ]] || at_least "bytes that were still at the source" "$(report_field .left_bytes)" 10000000
	goes_on "$strategy" $there "$at"
	swap=$here here=$there there=$swap
done
nothing_left "moves" h1 h2

# --- nothing comes from the source for a while

begin_without_memory
is "it is not taken for moved" "$(docker_on h1 ps -q --filter name=shifter | wc -l)" 1
for victim in $(on h2 pgrep -x 'reberth-fetch|reberth-stream'); do on h2 kill -KILL "$victim"; done
on h2 kill -KILL "$(api h2 "/migrations/$id" | jq -r .worker)"
on h1 kill -KILL "$(api h1 "/migrations/$id" | jq -r .worker)"
lab daemon h1 kill reberthd
lab daemon h2 kill reberthd
lab cut h1
lab daemon h1 start reberthd
lab daemon h2 start reberthd
disarm h1
lab heal h1
check "link, workers, daemons and fetchers fail: it is over nevertheless" wait_for 40 eval "is_over h1 $id && is_over h2 $id"
is "the source's word" "$(state_of h1 "$id")" "done"
goes_on "when the link is back" h2 "$at"
is "complaints" "$(complaints h2 shifter)" ""
check "the source has nothing of it" eval '[[ $(container_state h1 shifter) == none ]]'
nothing_left "a broken link" h1 h2

# --- the user has the last word, also then

moves "back" h2 --strategy hybrid shifter h1
begin_without_memory
docker_on h2 kill "$(docker_on h2 ps -q)" >/dev/null
check "killed by its user: the move is over" wait_for 20 is_over h1 "$id"
disarm h1
is "killed by its user: it has ended" "$(container_state h2 shifter)" exited
is "and is nowhere else" "$(container_state h1 shifter)" none
docker_on h2 rm -f shifter >/dev/null
nothing_left "a killed container" h1 h2

# --- what is lost is lost, and never made up

shifter_start h1 $MEBIBYTES
begin_without_memory
lab restart h1 || bail "h1 does not come back"
check "the source is lost: the move is over" wait_for 40 is_over h2 "$id"
check "it started afresh" wait_for 20 started_afresh h2
is "complaints" "$(complaints h2 shifter --since 20s)" ""
wait_for 20 is_over h1 "$id" || fail "the source's journal is closed"
is "the source does not have it" "$(container_state h1 shifter)" none
docker_on h2 rm -f shifter >/dev/null

shifter_start h1 $MEBIBYTES
begin_without_memory
lab restart h2 || bail "h2 does not come back"
check "the target is lost: the move is over" wait_for 40 eval "is_over h1 $id && is_over h2 $id"
check "it started afresh on the target" wait_for 20 started_afresh h2
is "the source does not have it" "$(container_state h1 shifter)" none
docker_on h2 rm -f shifter >/dev/null
disarm h1

shifter_start h1 $MEBIBYTES
begin_without_memory
on h2 pkill -KILL -x reberth-pager
check "the pager is killed: the move is over" wait_for 40 eval "is_over h1 $id && is_over h2 $id"
check "it started afresh on the target" wait_for 20 started_afresh h2
disarm h1
docker_on h2 rm -f shifter >/dev/null
note_inventory h1 h2

# --- before COMMIT the source decides, and READY does not bind one that was restarted

shifter_start h1 $MEBIBYTES
arm h1 source.commit.begin pause 1
begin_move h1 h2 post-copy
wait_for 30 fault_reached h1 || fail "ready"
is "the target is ready" "$(state_of h2 "$id")" ready
like "it cannot be told to go on without its memory" \
	"$(on h2 reberth migration resolve --yes --commit "$id" 2>&1)" "still on node 'h1'"
on h1 kill -KILL "$(api h1 "/migrations/$id" | jq -r .worker)"
disarm h1
check "a killed worker: rolled back" wait_for 30 eval "is_over h1 $id && is_over h2 $id"
goes_on "a killed worker" h1 "$at"
arm h1 source.commit.begin pause 1
begin_move h1 h2 post-copy
wait_for 30 fault_reached h1 || fail "ready"
lab restart h1 || bail "h1 does not come back"
check "a source that was restarted: rolled back" wait_for 40 eval "is_over h1 $id && is_over h2 $id"
is "its word" "$(state_of h1 "$id")" aborted
check "and it starts again there" wait_for 20 started_afresh h1
is "not on the target" "$(docker_on h2 ps -aq | wc -l)" 0
docker_on h1 rm -f shifter >/dev/null

# --- what is written faster than it travels

dirtier_start h1 dirty 64 200000
migrate h1 --on-no-convergence post-copy dirty h2
is "not without permission" "$status" 2
like "which it says" "$message" "allow-post-copy"
migrate h1 --bandwidth 20MiB --allow-post-copy dirty h2
is "too fast, with permission" "$result" completed
at_least "bytes that were left" "$(report_field .left_bytes)" 1000000
at=$(steps h2 dirty)
check "it goes on" wait_for 20 has_steps h2 dirty $((at + 1000))
dirtier_ends h2 dirty
nothing_left "dirty" h1 h2
e2e_done
