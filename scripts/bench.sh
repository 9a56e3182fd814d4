#!/usr/bin/env bash
# Measures Ringcask beside Redis and memcached on this machine and prints a table in Markdown.
# `scripts/bench.sh --help` lists the options.
#
# All servers of a row run at the same time and are measured in turn (A B C A B C …) by the same client, bin/kvbench.
# They listen on free ports of 127.0.0.1 and keep their files in one temporary folder; both are gone at the end,
# whatever ends the script.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
runs=5
seconds=5
warmup=1
keys=1m
keys_large=2k
servers=ringcask,redis,memcached
rows=()
parent=$top/target
dir=
pids=()
declare -A addresses=()

# name : servers : connections : depth : mix : title. The second word says how the servers are started and
# filled: `memory` without syncing, `large` the same with values of 100 KiB, `sync` with every write synced. Those in 3 are
# clusters: an ECS and three kvservers beside a Redis with two replicas and WAIT 2 (`always3`, `second3`), or beside a Redis
# Cluster of three primaries, which keeps one copy of each key (`never3`).
readonly grid="
get-50-1    : memory :  50 :  1 : get : GET, 50 connections
set-50-1    : memory :  50 :  1 : set : SET, 50 connections
get-200-1   : memory : 200 :  1 : get : GET, 200 connections
set-200-1   : memory : 200 :  1 : set : SET, 200 connections
get-50-16   : memory :  50 : 16 : get : GET, 50 connections, depth 16
set-50-16   : memory :  50 : 16 : set : SET, 50 connections, depth 16
get-50-64   : memory :  50 : 64 : get : GET, 50 connections, depth 64
set-50-64   : memory :  50 : 64 : set : SET, 50 connections, depth 64
get-100k-50 : large  :  50 :  1 : get : GET, 100 KiB values, 50 connections
set-100k-50 : large  :  50 :  1 : set : SET, 100 KiB values, 50 connections
sync-1      : sync   :   1 :  1 : set : SET, every write synced, 1 connection
sync-50     : sync   :  50 :  1 : set : SET, every write synced, 50 connections
sync-200    : sync   : 200 :  1 : set : SET, every write synced, 200 connections
put3-1      : always3 :   1 :  1 : set : put on three servers, synced, 1 connection
put3-50     : always3 :  50 :  1 : set : put on three servers, synced, 50 connections
put3-50-16  : always3 :  50 : 16 : set : put on three servers, synced, 50 connections, depth 16
put3-200    : always3 : 200 :  1 : set : put on three servers, synced, 200 connections
second3-50  : second3 :  50 :  1 : set : put on three servers, synced each second, 50 connections
second3-50-16 : second3 : 50 : 16 : set : put on three servers, synced each second, 50 connections, depth 16
put3n-1     : never3  :   1 :  1 : set : put on three servers, not synced, 1 connection
get3-50     : never3  :  50 :  1 : get : get over three servers, 50 connections
"

# Seconds a server may take to listen, and between two looks.
readonly start_seconds_max=30 look_seconds=0.1
# memcached's memory in MiB: enough that nothing is thrown out.
readonly memcached_mib=2048

usage() {
    cat <<TXT
Usage: scripts/bench.sh [OPTIONS]

Builds (release), starts kvserver, redis-server and memcached (those that are installed), puts the same load on
each in turn, and prints a Markdown table: medians of operations a second (p99 in brackets) and ratios.

Options:
  --row NAME         only this row; may be repeated [default: all]
  --runs N           rounds a row; medians are shown [default: $runs]
  --seconds S        measured in each round, for each server [default: $seconds]
  --warmup S         before each measurement [default: $warmup]
  --keys N           keys of 100 B values [default: $keys]
  --keys-large N     keys of 100 KiB values [default: $keys_large]
  --servers A,B,C    which servers [default: $servers]
  --dir FOLDER       where the temporary folder is made; a real disk, for the synced rows [default: target]
  --help             show this

RINGCASK_BINARIES names a folder with kvserver and kvbench to use instead of building them.

Rows:
$(each_row | awk -F' *: *' '{ printf "  %-13s %s\n", $1, $6 }')
TXT
}

fail() {
    echo "${0##*/}: $1" >&2
    exit "${2:-1}"
}

note() {
    echo "${0##*/}: $1" >&2
}

each_row() {
    sed -e '/^$/d' -e 's/^ *//' <<<"$grid"
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --row | --runs | --seconds | --warmup | --keys | --keys-large | --servers | --dir)
            [ $# -ge 2 ] || fail "$1 needs a value; see --help" 2
            set_option "$1" "$2"
            shift 2
            ;;
        *) fail "unknown option $1; see --help" 2 ;;
        esac
    done
}

set_option() {
    case $1 in
    --row)
        each_row | grep -q "^$2 *:" || fail "no row $2; see --help" 2
        rows+=("$2")
        ;;
    --runs) runs=$2 ;;
    --seconds) seconds=$2 ;;
    --warmup) warmup=$2 ;;
    --keys) keys=$2 ;;
    --keys-large) keys_large=$2 ;;
    --servers) servers=$2 ;;
    --dir) parent=$2 ;;
    esac
}

# Leaves in `servers` those that can be started, and says which cannot.
check_servers() {
    local name program found=()
    for name in ${servers//,/ }; do
        case $name in
        ringcask) program= ;;
        redis) program=redis-cli ;;
        memcached) program=memcached ;;
        *) fail "no server $name: ringcask, redis or memcached" 2 ;;
        esac
        if [ -n "$program" ] && ! command -v "$program" >/dev/null; then
            note "$program is not installed (Debian: apt-get install ${program/redis-cli/redis}); its column stays empty"
            continue
        fi
        found+=("$name")
    done
    [ ${#found[@]} -gt 0 ] || fail "no server to measure"
    servers=${found[*]}
}

build() {
    if [ -n "${RINGCASK_BINARIES-}" ]; then
        binaries=$RINGCASK_BINARIES
        return
    fi
    command -v cargo >/dev/null || fail "cargo is not installed; see https://rustup.rs"
    note "building (release) ..."
    cargo build --release --quiet --manifest-path "$top/Cargo.toml" -p kvbench -p kvserver -p ecs -p kvclient || fail "the build failed"
    local target
    target=$(cargo metadata --manifest-path "$top/Cargo.toml" --format-version 1 --no-deps |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    binaries=${target:-$top/target}/release
}

# Ends what was started and removes its files.
stop() {
    local pid
    for pid in ${pids[@]+"${pids[@]}"}; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in ${pids[@]+"${pids[@]}"}; do
        wait "$pid" 2>/dev/null || true
    done
    pids=()
    addresses=()
    [ -z "$dir" ] || rm -rf "$dir"
    dir=
}

is_listening() {
    (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port() {
    local tries
    for tries in {1..100}; do
        # Ten thousand above it a Redis Cluster needs another one: below those that the system gives to whoever asks for any.
        port=$((12000 + (RANDOM * 32768 + RANDOM) % 10000))
        is_listening "$port" || return 0
    done
    fail "no free port after $tries tries"
}

# Starts the servers of a group; addresses[name] is where each listens.
start() {
    local group=$1 name
    mkdir -p "$parent"
    dir=$(mktemp -d "$parent/bench.XXXXXX")

    for name in $servers; do
        [[ "$group $name" != "sync memcached" && "$group $name" != *"3 memcached" ]] || continue
        mkdir "$dir/$name"
        case $group in
        *3) "start_${name}_cluster" "$group" ;;
        *) "start_$name" "$group" ;;
        esac
    done
}

start_ringcask() {
    local policy=never word rest
    [ "$1" != sync ] || policy=always
    "$binaries/kvserver" --port 0 --dir "$dir/ringcask/data" --sync "$policy" --log-level warn \
        </dev/null >"$dir/ringcask/out" 2>"$dir/ringcask/log" &
    pids+=($!)
    wait_until "kvserver" $! "$dir/ringcask/log" grep -qs listening "$dir/ringcask/out"
    read -r word rest <"$dir/ringcask/out"
    [ "$word" = listening ] || fail "kvserver said $word"
    addresses[ringcask]=$rest
}

# ECS and three servers; ready when every slot has its three copies.
start_ringcask_cluster() {
    local policy=never word ecs address members=() i
    case $1 in
    always3) policy=always ;;
    second3) policy=interval=1000 ;;
    esac
    "$binaries/ecs" --port 0 --dir "$dir/ringcask/ecs" --log-level warn \
        </dev/null >"$dir/ringcask/ecs.out" 2>"$dir/ringcask/ecs.log" &
    pids+=($!)
    wait_until ecs $! "$dir/ringcask/ecs.log" grep -qs listening "$dir/ringcask/ecs.out"
    read -r word ecs <"$dir/ringcask/ecs.out"
    for i in 1 2 3; do
        "$binaries/kvserver" --port 0 --bootstrap "$ecs" --stay --dir "$dir/ringcask/$i" --sync "$policy" --log-level warn \
            </dev/null >"$dir/ringcask/$i.out" 2>"$dir/ringcask/$i.log" &
        pids+=($!)
        wait_until kvserver $! "$dir/ringcask/$i.log" grep -qs listening "$dir/ringcask/$i.out"
        read -r word address <"$dir/ringcask/$i.out"
        members+=("$address")
    done
    wait_until "the cluster" $! "$dir/ringcask/ecs.log" has_all_copies "$ecs"
    addresses[ringcask]=$(IFS=,; echo "${members[*]}")
}

has_all_copies() {
    "$binaries/kvclient" cluster --ecs "$1" status 2>/dev/null | grep -q 'slots have their 3 copies$'
}

# Three of Redis: a primary with two replicas, or three primaries of a Redis Cluster.
start_redis_cluster() {
    local ports=() i settings=(--appendonly no)
    case $1 in
    always3) settings=(--appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0) ;;
    second3) settings=(--appendonly yes --appendfsync everysec --auto-aof-rewrite-percentage 0) ;;
    never3) settings+=(--cluster-enabled yes) ;;
    esac
    for i in 1 2 3; do
        free_port
        ports+=("$port")
        mkdir "$dir/redis/$i"
        redis-server --bind 127.0.0.1 --port "$port" --cluster-port $((port + 10000)) --dir "$dir/redis/$i" --save '' \
            "${settings[@]}" </dev/null >"$dir/redis/$i.log" 2>&1 &
        pids+=($!)
        wait_until redis-server $! "$dir/redis/$i.log" is_listening "$port"
    done
    if [ "$1" = never3 ]; then
        redis-cli --cluster create "127.0.0.1:${ports[0]}" "127.0.0.1:${ports[1]}" "127.0.0.1:${ports[2]}" \
            --cluster-yes >"$dir/redis/create.log" 2>&1 || fail "redis-cli could not make a cluster"
        wait_until "the Redis Cluster" $! "$dir/redis/create.log" is_redis "${ports[2]}" "cluster info" cluster_state:ok
        addresses[redis]=127.0.0.1:${ports[0]},127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}
        return
    fi
    for i in 1 2; do
        redis-cli -p "${ports[$i]}" replicaof 127.0.0.1 "${ports[0]}" >/dev/null
        wait_until "a Redis replica" $! "$dir/redis/1.log" is_redis "${ports[$i]}" "info replication" master_link_status:up
    done
    addresses[redis]=127.0.0.1:${ports[0]}
}

# is_redis PORT COMMAND TEXT: whether what the command says holds the text.
is_redis() {
    # shellcheck disable=SC2086
    redis-cli -p "$1" $2 2>/dev/null | grep -q "$3"
}

# Redis may rewrite its log only if it wants to; here it need not, which is in its favour.
start_redis() {
    local persistence=(--appendonly no)
    [ "$1" != sync ] || persistence=(--appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0)
    free_port
    redis-server --bind 127.0.0.1 --port "$port" --dir "$dir/redis" --save '' "${persistence[@]}" \
        </dev/null >"$dir/redis/log" 2>&1 &
    pids+=($!)
    wait_until redis-server $! "$dir/redis/log" is_listening "$port"
    addresses[redis]=127.0.0.1:$port
}

start_memcached() {
    local user=()
    [ "$(id -u)" -ne 0 ] || user=(-u root)
    free_port
    memcached -l 127.0.0.1 -p "$port" -U 0 -t 2 -m "$memcached_mib" -c 4096 ${user[@]+"${user[@]}"} \
        </dev/null >"$dir/memcached/log" 2>&1 &
    pids+=($!)
    wait_until memcached $! "$dir/memcached/log" is_listening "$port"
    addresses[memcached]=127.0.0.1:$port
}

# wait_until NAME PID LOG CONDITION …: waits for the condition while the process lives.
wait_until() {
    local name=$1 pid=$2 log=$3 looks=$((start_seconds_max * 10))
    shift 3
    until "$@"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            tail -n 5 "$log" >&2
            fail "$name did not start"
        fi
        looks=$((looks - 1))
        [ "$looks" -gt 0 ] || fail "$name does not listen after $start_seconds_max s"
        sleep "$look_seconds"
    done
}

# Sets flags to kvbench's for the servers that run: the first is measured, the others are compared with it.
find_targets() {
    local name
    flags=()
    for name in $servers; do
        [ -n "${addresses[$name]-}" ] || continue
        if [ ${#flags[@]} -eq 0 ]; then
            flags+=(--proto "$name" -s "${addresses[$name]}")
        else
            flags+=(--compare "$name@${addresses[$name]}")
        fi
    done
}

# Runs kvbench on the servers.
client() {
    to_its_end "$binaries/kvbench" "${flags[@]}" "$@"
}

# Runs a program in the background, so that a signal to this script ends it at once.
to_its_end() {
    "$@" </dev/null &
    pids+=($!)
    wait $! || fail "${1##*/} failed"
}

load() {
    case $1 in
    memory) space=(--keys "$keys" --value-bytes 100) ;;
    large) space=(--keys "$keys_large" --value-bytes 100ki) ;;
    sync)
        space=(--keys "$keys" --value-bytes 100)
        return
        ;;
    always3 | second3)
        space=(--keys "$keys" --value-bytes 100 --redis-wait 2)
        return
        ;;
    never3) space=(--keys "$keys" --value-bytes 100) ;;
    esac
    note "loading ..."
    client "${space[@]}" --load --ops 0 >&2
}

is_wanted() {
    local row
    [ ${#rows[@]} -gt 0 ] || return 0
    for row in "${rows[@]}"; do
        [ "$row" != "$1" ] || return 0
    done
    return 1
}

# Says so if the machine is not quiet: the table would show that more than anything else.
check_quiet() {
    local load rest
    read -r load rest </proc/loadavg || return 0
    [ "${load%.*}" -lt 1 ] || note "the load average is $load: something else runs here, and these figures will be worth little"
}

head_of_table() {
    local versions=()
    [[ " $servers " != *" redis "* ]] || versions+=("redis $(redis-server --version | sed 's/.* v=\([^ ]*\).*/\1/')")
    [[ " $servers " != *" memcached "* ]] || versions+=("$(memcached --version) -t 2")
    echo "$(nproc) cores, client on the same machine; $runs rounds of $seconds s each, medians; operations a second, p99 in brackets."
    [ ${#versions[@]} -eq 0 ] || (IFS=,; echo "Compared with: ${versions[*]}." | sed 's/,/, /g')
    echo
    echo "| | ringcask | redis | memcached | ÷ redis | ÷ memcached |"
    echo "|---|---|---|---|---|---|"
}

measure() {
    local group=none name kind connections depth mix title
    while IFS=: read -r name kind connections depth mix title; do
        name=${name// /} kind=${kind// /}
        is_wanted "$name" || continue
        if [ "$kind" != "$group" ]; then
            stop
            group=$kind
            start "$group"
            find_targets
            [ ${#flags[@]} -gt 0 ] || continue
            load "$group"
        fi
        [ ${#flags[@]} -gt 0 ] || continue
        note "$name ..."
        client "${space[@]}" -c "${connections// /}" --depth "${depth// /}" --mix "${mix// /}" \
            --runs "$runs" --duration "$seconds" --warmup "$warmup" --row "${title# }"
    done < <(each_row)
}

main() {
    parse "$@"
    check_servers
    build
    check_quiet
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    head_of_table
    measure
}

# scripts/bench-etcd.sh reads this file for its functions.
[ "${BASH_SOURCE[0]}" != "$0" ] || main "$@"
