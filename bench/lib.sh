# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# lib.sh - what the benchmarks share: a lab of their own, the server, its clients, moves, statistics
#
# A benchmark calls bench_begin HOSTS and bench_image HOST... first. Whatever way it ends,
# its lab is gone afterwards.

set -euo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

BENCH_TREE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
export LAB_NAME=${LAB_NAME-bench}
REBERTH_BIN=$(readlink -m "${REBERTH_BIN:-$BENCH_TREE/build}")
export REBERTH_BIN
readonly BENCH_TREE REBERTH_BIN

readonly CLIENT_HOST=h3
readonly SERVER=server SERVER_DIRTY_PAGES=4
SERVER_MIB=64
# A client that has to wait no longer than this is served normally again.
readonly SERVED_MS=100

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
	say "$*"
	exit 1
}

# usage: print the comment at the head of the script, from its second paragraph on
usage() { awk 'NR > 3 && /^#/ { sub(/^# ?/, ""); print; next } NR > 3 { exit }' "$0"; }

# need_number OPTION VALUE
need_number() { [[ ${2-} =~ ^[1-9][0-9]{0,3}$ ]] || die "$1 needs a number from 1 to 9999"; }

lab() { "$BENCH_TREE/lab" "$@"; }
on() { lab sh "$@"; }

now_us() { echo "${EPOCHREALTIME/./}"; }

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@"; do
		((${EPOCHREALTIME/./} < end)) || return 1
		sleep 0.05
	done
}

# --- the lab

# bench_begin HOSTS: from h1 on
bench_begin() {
	local program
	((EUID == 0)) || die "must be root"
	for program in reberth reberthd reberth-runtime bench/echod bench/stall; do
		[[ -x $REBERTH_BIN/$program ]] ||
			die "there is no $REBERTH_BIN/$program: meson setup build && ninja -C build"
	done
	exec {bench_lock}>"/run/lock/reberth-lab-$LAB_NAME.bench"
	flock -n "$bench_lock" || die "another benchmark uses the lab '$LAB_NAME'; LAB_NAME=other takes another"
	bench_work=$(mktemp -d)
	trap bench_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	lab down # what a killed benchmark may have left
	say "starting $1 hosts"
	lab up "$1" {bench_lock}>&-
}

bench_end() {
	local status=$? name
	trap '' INT TERM HUP
	for name in "${!client_pids[@]}"; do kill "${client_pids[$name]}" 2>/dev/null || true; done
	lab down {bench_lock}>&- || status=1
	rm -rf "$bench_work" "/run/lock/reberth-lab-$LAB_NAME.bench"
	exit "$status"
}

# bench_image HOST...: the server's image, with one ID everywhere
bench_image() {
	local host first=$1
	shift
	tar -c -C "$REBERTH_BIN/bench" echod | on "$first" docker import - echod >/dev/null
	(($#)) || return 0
	on "$first" docker save echod >"$bench_work/image.tar"
	for host; do on "$host" docker load -q <"$bench_work/image.tar" >/dev/null; done
	rm "$bench_work/image.tar"
}

# --- the server

# server_start HOST [NETWORK [NAME]]: network `six` is with IPv6; sets $server_address
# shellcheck disable=SC2034 # used by the benchmarks
server_start() {
	local network=${2:-lan} name=${3:-$SERVER} address=IPAddress options=()
	# of no host's range: while the server is elsewhere nobody is given it
	local family=
	[[ $network != six ]] || address=GlobalIPv6Address options=(--ip6 fd00:89::77) family=6
	on "$1" docker run -d --name "$name" --network "$network" "${options[@]}" \
		echod /echod "$SERVER_MIB" "$SERVER_DIRTY_PAGES" $family >/dev/null
	wait_for 30 server_is_up "$1" "$name" || die "the server on $1 does not come up"
	server_address=$(on "$1" docker inspect -f "{{.NetworkSettings.Networks.$network.$address}}" "$name")
}

server_is_up() { [[ $(on "$1" docker logs "$2" 2>/dev/null) == up ]]; }

# --- clients, all on CLIENT_HOST: each reads orders from a pipe and answers into another one

declare -A client_pids=() client_in=() client_out=()

# client_start NAME [OPTION...]: of `stall`
client_start() {
	local name=$1 in out
	shift
	mkfifo "$bench_work/$name.in" "$bench_work/$name.out"
	# Opened for both, so that nobody waits for the other end.
	exec {in}<>"$bench_work/$name.in" {out}<>"$bench_work/$name.out"
	rm "$bench_work/$name.in" "$bench_work/$name.out"
	"$BENCH_TREE/lab" sh "$CLIENT_HOST" "$REBERTH_BIN/bench/stall" "$server_address" "$@" <&"$in" >&"$out" {bench_lock}>&- &
	client_pids[$name]=$! client_in[$name]=$in client_out[$name]=$out
	wait_for 10 client_is_served "$name" || die "client $name gets no answer"
}

# client_ask NAME: sets $answer to what it saw since client_begin
client_ask() {
	echo '?' >&"${client_in[$1]}"
	read -r -t 10 answer <&"${client_out[$1]}" || die "client $1 is gone"
	[[ $answer != *'"error"'* ]] || die "client $1 saw an error: $answer"
}

# client_begin NAME: measure anew, after a rest, too; returns when it is served
client_begin() {
	echo r >&"${client_in[$1]}"
	wait_for 10 client_is_served "$1" || die "client $1 gets no answer"
}

# client_rest NAME: no requests and no heartbeat until client_begin, so that nobody else is slowed down
client_rest() { echo p >&"${client_in[$1]}"; }

client_is_served() {
	client_ask "$1"
	jq -e --argjson most "$SERVED_MS" '.answers > 20 and .waiting_ms < $most' <<<"$answer" >/dev/null
}

# client_longest NAME: sets $longest to the longest wait in ms, when it is served again
# shellcheck disable=SC2034 # used by the benchmarks
client_longest() {
	# A first packet that was lost is sent again by TCP after 0.2 s or more.
	sleep 0.7
	wait_for 120 client_is_served "$1" || die "client $1 has waited for $(jq .waiting_ms <<<"$answer") ms"
	client_ask "$1"
	longest=$(jq .longest_ms <<<"$answer")
}

client_stop() {
	kill "${client_pids[$1]}" 2>/dev/null || true
	wait "${client_pids[$1]}" 2>/dev/null || true
	unset "client_pids[$1]"
}

# --- moves by reberth

# move CONTAINER FROM TO: sets $report
move() {
	report=$(on "$2" reberth migrate --json "${@:4}" "$1" "$3" </dev/null 2>"$bench_work/migrate.err") ||
		die "the move of $1 from $2 to $3 failed: $(tail -n 3 "$bench_work/migrate.err")"
	[[ $(jq -r .result <<<"$report") == completed ]] || die "the move of $1 from $2 to $3: $report"
}

# --- a copy from host to host, as fast as it goes: `tar` itself reads and writes the connection, in large pieces. (nc
# with tar behind it takes five times as long.)

# receive PORT DIRECTORY, in the host: `python3 -c "$RECEIVE" ...`
# shellcheck disable=SC2034 # used by the benchmarks
readonly RECEIVE='
import os, socket, sys
connection = socket.create_server(("", int(sys.argv[1]))).accept()[0]
os.dup2(connection.fileno(), 0)
os.execvp("tar", ["tar", "-Bb2048", "-x", "-C", sys.argv[2]])'

# receives HOST PORT: somebody listens there
receives() { on "$1" grep -q "$(printf ':%04X 0*:0000 0A' "$2")" /proc/net/tcp /proc/net/tcp6; }

# --- figures

load_average() { cut -d' ' -f1 /proc/loadavg; }

# What jq programs here begin with: p95 is by nearest rank.
# shellcheck disable=SC2016,SC2034 # the variables are those of jq; used by the benchmarks
readonly JQ_STATISTICS='
	def round1: . * 10 | round / 10;
	def median: sort | if length == 0 then null
		elif length % 2 == 1 then .[length / 2 | floor]
		else (.[length / 2] + .[length / 2 - 1]) / 2 end;
	def rank($p): sort | if length == 0 then null else .[[(length * $p | ceil) - 1, 0] | max] end;
	def figures: { runs: length, median: (median | round1? // null), p95: rank(0.95), min: min, max: max };
	def pad($n): tostring | " " * ([$n - length, 0] | max) + .;
	def left($n): tostring | . + " " * ([$n - length, 0] | max);
'

# What a figure depends on, as JSON; $1: load average at the beginning
bench_circumstances() {
	jq -cn --arg when "$(date -u +%FT%TZ)" --arg kernel "$(uname -r)" --argjson processors "$(nproc --all)" \
		--argjson memory_mib "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)" \
		--argjson load_before "$1" --argjson load_after "$(load_average)" \
		--arg docker "$(on h1 docker version -f '{{.Server.Version}}')" \
		--arg runc "$(runc --version | awk 'NR == 1 { print $3 }')" \
		--arg criu "$(on h1 criu --version | awk 'NR == 1 { print $2 }')" \
		--arg reberth "$(git -C "$BENCH_TREE" describe --always --dirty 2>/dev/null || echo unknown)" \
		'$ARGS.named'
}
