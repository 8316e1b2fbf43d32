#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 10_resolve.sh - one host is gone, the other stays in doubt until it comes back, or until a person
# decides; and then it comes back after all

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_begin victim
warm_up
note_inventory h1 h2

state() { api "$1" "/migrations/$id" | jq -r .state; }
has_state() { [[ $(state "$1") == "$2" ]]; }
is_active() { [[ $(api "$1" "/migrations/$id" | jq .active) == true ]]; }
has_ended() { [[ $(api "$1" "/migrations/$id" | jq .active) == false ]]; }
runs_on() { [[ $(container_state "$1" web) == running ]]; }
policy_is() { [[ $(docker_on "$1" inspect -f '{{.HostConfig.RestartPolicy.Name}}' web) == "$2" ]]; }
images_synced() {
	local root
	root_of "$1" && [[ -e $root/var/lib/reberth/migrations/$id/images.synced ]]
}
number() { docker_on "$1" logs --tail 1 web 2>/dev/null; }
counts_past() { (($(number "$1") > $2)); }

begin() {
	docker_on h1 rm -f web >/dev/null 2>&1
	docker_on h2 rm -f web >/dev/null 2>&1
	run_container h1 web --restart always victim /victims/looper 20
	wait_for 10 has_log_lines h1 web 20
}
# stop_at HOST POINT: a migration that waits there. With all of its memory in images, which reach the
# disk: what came in rounds is lost with a host.
stop_at() {
	arm "$1" "$2" pause 1
	id=$(on h1 reberth migrate --detach --strategy cold web h2)
	wait_for 20 fault_reached "$1" || bail "point $2 is not reached"
	frozen_at=$(number h1)
}

# --- the source's host dies with the target READY

begin
stop_at h1 source.commit.begin
lab kill h1
check "target READY, source off: stays in doubt" wait_for 10 has_state h2 ready
pause 2
is "it goes on waiting" "$(state h2)" ready
is "held: nothing runs" "$(docker_on h2 ps --format '{{.Names}}' --filter name=^web$)" ""
output=$(on h2 reberth migration resolve "$id" --commit 2>&1 </dev/null)
is "resolve asks first, and refuses without a terminal" "$?" 2
on h2 reberth migration resolve "$id" --commit --yes >/dev/null
is "resolve --commit on the target" "$?" 0
check "it runs on the target" wait_for 20 runs_on h2
check "it counts on from where it was frozen" wait_for 15 counts_past h2 "$frozen_at"
lab restart h1
check "the source comes back and agrees" wait_for 20 has_ended h1
is "the source has no container" "$(container_state h1 web)" none
is "numbers" "$(docker_on h2 logs web | awk '$1 != NR - 1 { bad++ } END { print bad + 0 }')" 0
nothing_left "resolve --commit" h1 h2

begin
stop_at h1 source.commit.begin
lab kill h1
wait_for 10 has_state h2 ready
on h2 reberth migration resolve "$id" --abort --yes >/dev/null
is "resolve --abort on the target" "$?" 0
check "the target cleans up" wait_for 20 has_ended h2
is "the target has no container" "$(docker_on h2 ps -aq)" ""
lab restart h1
check "the source comes back" wait_for 20 has_ended h1
check "it starts afresh: its memory is lost" wait_for 10 runs_on h1
nothing_left "resolve --abort" h1 h2

# --- the same, and the source's host comes back by itself: it rolls forward

begin
stop_at h1 source.commit.begin
lab restart h1
check "source rebooted with the target READY: rolls forward" wait_for 20 has_ended h1
check "and it runs on the target" wait_for 10 runs_on h2
check "with its memory" wait_for 15 counts_past h2 "$frozen_at"
is "the source has no container" "$(container_state h1 web)" none
nothing_left "roll forward" h1 h2

# --- both die, only the source comes back

begin
stop_at h1 source.transfer.end
lab kill h1 h2
lab restart h1
check "source alone: stays in doubt" wait_for 10 is_active h1
pause 1
isnt "it is not started" "$(container_state h1 web)" running
on h1 reberth migration resolve "$id" --abort --yes >/dev/null
is "resolve --abort on the source" "$?" 0
check "it starts afresh" wait_for 20 runs_on h1
lab restart h2
check "the target comes back and agrees" wait_for 20 has_ended h2
check "the source's migration has ended" wait_for 20 has_ended h1
is "the target has no container" "$(docker_on h2 ps -aq)" ""
is "the restart policy is back" "$(docker_on h1 inspect -f '{{.HostConfig.RestartPolicy.Name}}' web)" always
nothing_left "resolve --abort on the source" h1 h2

# --- both die between COMMIT and GO, and both come back: by themselves they agree

begin
stop_at h1 source.commit.written
check "a READY that lasts brings the images to the disk" wait_for 20 images_synced h2
lab kill h1 h2
lab restart h1 h2
check "committed, both rebooted: they agree" wait_for 30 has_ended h1
check "on the target" wait_for 20 has_ended h2
check "where it runs" wait_for 10 runs_on h2
is "and only there" "$(container_state h1 web)" none
check "with its memory, restored from the disk" wait_for 15 counts_past h2 "$frozen_at"
nothing_left "both rebooted" h1 h2

begin
stop_at h1 source.commit.written
wait_for 20 images_synced h2
lab kill h1 h2
rm -f "/var/lib/reberth-lab${LAB_NAME:+-$LAB_NAME}/h2/var/lib/reberth/migrations/$id/images.synced" # had it been slow
# what is left of them is not brought there now: after a power loss it is not what had arrived
lab restart h2
in_doubt() { lab logs h2 reberthd | grep -q "$id in doubt"; }
check "rebooted, and in doubt while the source is off" wait_for 20 in_doubt
lab restart h1
check "rebooted before the images were on the disk: they agree" wait_for 30 has_ended h1
check "on the source" wait_for 20 has_ended h2
check "where it starts afresh" wait_for 10 runs_on h1
is "and only there" "$(container_state h2 web)" none
check "with its restart policy" wait_for 5 policy_is h1 always
nothing_left "both rebooted at once" h1 h2

# --- a roll-back that a target in READY cannot hear of: until it has, the restart policy stays away

begin
stop_at h1 source.commit.begin
lab cut h2
on h1 reberth migration cancel "$id" >/dev/null
release h1
check "canceled behind a cut: over for its user" wait_for 60 has_ended h1
check "it runs on" counts_past h1 "$frozen_at"
is "the target is still held" "$(state h2)" ready
check "the restart policy waits for the target" policy_is h1 no
output=$(on h1 reberth migrate web h3 2>&1 </dev/null)
is "no other move meanwhile" "$?" 4
like "and it says why" "$output" "node 'h2' has not confirmed yet"
lab heal h2
check "healed: the target hears of it" wait_for 20 has_state h2 aborted
check "the restart policy is back" wait_for 10 policy_is h1 always
check "the migration has ended" wait_for 5 has_state h1 aborted
nothing_left "confirmed late" h1 h2

begin
stop_at h1 source.commit.begin
lab kill h2
on h1 reberth migration cancel "$id" >/dev/null
release h1
check "canceled with the target off: over for its user" wait_for 60 has_ended h1
check "the restart policy waits for the target" policy_is h1 no
on h1 reberth migration resolve "$id" --abort --yes >/dev/null
is "resolve --abort for a target that is gone" "$?" 0
check "the restart policy is back" wait_for 20 policy_is h1 always
lab restart h2
check "the target comes back and agrees" wait_for 30 has_state h2 aborted
nothing_left "confirmed by hand" h1 h2
e2e_done
