# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# redis.sh - a Redis that holds random data, under load, on one processor together with its client
#
# After lib.sh. redis_start sets $address.

# variables of lib.sh
# shellcheck disable=SC2154

readonly VALUE_BYTES=1000 LOAD_CPU=0 OTHER_CPU=1

# pin_us: before bench_begin. Hosts and daemons have the processors of who starts them.
pin_us() {
	(($(nproc --all) > 1)) || die "--pin needs two processors"
	taskset -cp $OTHER_CPU $$ >/dev/null
}

# may_use HOST PID...: where the threads of these processes run
# shellcheck disable=SC2016 # for the host's shell
may_use() { on "$1" sh -c 'for pid; do cat "/proc/$pid"/task/*/status; done' - "${@:2}" | sed -n 's/^Cpus_allowed_list:\t//p' | sort -u | xargs; }

# pinned HOST: the container's processes, and what moves them
pinned() {
	local processes
	mapfile -t processes < <(on "$1" docker top "$SERVER" -o pid | tail -n +2)
	[[ $(may_use "$1" "${processes[@]}") == "$LOAD_CPU" ]] || return
	mapfile -t processes < <(on "$1" pgrep -x 'reberthd|dockerd|containerd')
	[[ $(may_use "$1" "${processes[@]}") == "$OTHER_CPU" ]]
}

redis() { on "$CLIENT_HOST" redis-cli -h "$address" "$@"; }
redis_answers() { [[ $(redis ping 2>/dev/null) == PONG ]]; }

# redis_start HOST MIB: filled with what does not compress
redis_start() {
	local fill=$(($2 * 1024 * 1024 / (VALUE_BYTES + 100)))
	on "$1" docker run -d --name "$SERVER" --network lan --cpuset-cpus $LOAD_CPU redis >/dev/null
	address=$(on "$1" docker inspect -f '{{.NetworkSettings.Networks.lan.IPAddress}}' "$SERVER")
	wait_for 30 redis_answers || die "Redis on $1 does not come up"
	# pieces of 256 KiB that xorshift makes (Marsaglia, 2003): nothing has to travel to get there
	redis eval "local x, pool = 88172645, {} for k = 1, 65536 do
			x = bit.bxor(x, bit.lshift(x, 13)) x = bit.bxor(x, bit.rshift(x, 17)) x = bit.bxor(x, bit.lshift(x, 5))
			pool[k] = string.char(bit.band(x, 255), bit.band(bit.rshift(x, 8), 255), bit.band(bit.rshift(x, 16), 255), bit.band(bit.rshift(x, 24), 255)) end
		pool = table.concat(pool) local size = tonumber(ARGV[2]) for i = 1, tonumber(ARGV[1]) do local at = (i * 7919) % (#pool - size)
			redis.call('set', 'fill:' .. i, string.sub(pool, at, at + size - 1)) end return redis.call('dbsize')" 0 "$fill" $VALUE_BYTES >/dev/null
	(($(redis dbsize) == fill)) || die "Redis does not take the data"
}

# load_begin KEYS: a client that writes and reads, and remembers what was acknowledged
load_begin() {
	# what the last client wrote is no business of this one
	redis eval "for i = 0, tonumber(ARGV[1]) do redis.call('unlink', 'key:' .. i) end return 1" 0 "$1" >/dev/null
	"$BENCH_TREE/lab" sh "$CLIENT_HOST" taskset -c $LOAD_CPU "$REBERTH_BIN/tests/clients/redis_load" "$address" 6379 \
		--keys "$1" --size 500 --keep >"$bench_work/client" 2>"$bench_work/client.err" {bench_lock}>&- &
	load_client=$!
}

# load_end: it compares all that it wrote; what it saw is in $bench_work/client
load_end() {
	on "$CLIENT_HOST" pkill -TERM -x redis_load
	wait "$load_client" || die "the client saw something wrong: $(<"$bench_work/client") $(<"$bench_work/client.err")"
}

# load_ask: sets $requests, those answered so far, and $asked_us, when that was
# shellcheck disable=SC2034 # used by the benchmarks
load_ask() {
	local lines
	lines=$(wc -l <"$bench_work/client.err")
	on "$CLIENT_HOST" pkill -USR1 -x redis_load
	wait_for 10 load_has_said "$lines" || die "the client does not say how far it is"
	asked_us=$(now_us)
	requests=$(tail -n 1 "$bench_work/client.err" | sed -n 's/^requests=\([0-9]*\) .*/\1/p')
}
load_has_said() { (($(wc -l <"$bench_work/client.err") > $1)); }
