# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# memory_lib.sh - what tests of memory share: victims that know what every page has to be
#
# After lib.sh. tests/victims/shifter.c and dirtier.c say "ok STEPS ..." all the time, the shifter "all
# STEPS PAGES" when it was asked (SIGUSR1) to compare everything, and "BAD ..." at a wrong byte.

# steps HOST CONTAINER: how far it is
steps() { docker_on "$1" logs --tail 1 "$2" 2>/dev/null | awk '$1 == "ok" || $1 == "all" { print $2 }'; }
has_steps() { (($(steps "$1" "$2") + 0 >= $3)); }

# verify HOST: every page of the shifter, compared with what it has to be. Only the log's end is read: it
# may be long.
verified_at() { docker_on "$1" logs --tail 100 shifter 2>/dev/null | awk '$1 == "all" { n = $2 } END { print n + 0 }'; }
has_verified() { (($(verified_at "$1") > $2)); }
verify() {
	local before
	before=$(verified_at "$1")
	docker_on "$1" kill -s USR1 shifter >/dev/null
	wait_for 20 has_verified "$1" "$before"
}

# lives_on HOST STEPS: it goes on from there, and every page is right
lives_on() { wait_for 20 has_steps "$1" shifter $(($2 + 50)) && verify "$1"; }
goes_on() { check "$1: it goes on, and every page is right" lives_on "$2" "$3"; }

complaints() { docker_on "$1" logs "${@:3}" "$2" 2>&1 | grep -v '^ok \|^all \|^end '; }

# shifter_start HOST MEBIBYTES: sets $seed
shifter_start() {
	seed=$RANDOM
	diag "the shifter's seed: $seed"
	run_container "$1" shifter victim /victims/shifter -s "$seed" -r 1000 "$2" || bail "no container"
	wait_for 20 has_steps "$1" shifter 200 || bail "the shifter does not work"
}

# dirtier_start HOST NAME ARGUMENT...
dirtier_start() {
	run_container "$1" "$2" victim /victims/dirtier "${@:3}" || bail "no container"
	wait_for 20 has_steps "$1" "$2" 1000 || bail "dirtier does not work"
}
# dirtier_ends HOST NAME: it compares every page when it is stopped
dirtier_ends() {
	docker_on "$1" stop "$2" >/dev/null
	like "every page, verified at the end" "$(docker_on "$1" logs --tail 1 "$2" 2>&1)" '^end [0-9]+ [0-9]+$'
	docker_on "$1" rm -f "$2" >/dev/null
}

# migrations of which a test knows the id
state_of() { api "$1" /migrations | jq -r ".[] | select(.id == \"$2\") | .state"; }
is_in() { [[ $(state_of "$1" "$2") == "$3" ]]; }
is_over() { [[ $(state_of "$1" "$2") =~ ^(done|aborted)$ ]]; }
