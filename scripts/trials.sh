#!/usr/bin/env bash
# What clients feel while things happen to a cluster of three: kills, stops, a restart of each, growth. Prints Markdown rows.
# `scripts/trials.sh --help` lists the trials.
#
# Each trial is a cluster of its own (scripts/cluster.sh) in a temporary folder, with `kvbench outage` as its clients:
# it puts new keys, reads what was acknowledged last, and at the end reads back everything that was ever acknowledged.
# Whatever ends the script, nothing of it stays behind. Needs jq.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rounds=5
sync=always
move_rate=10000000
parent=$top/target
trials=()
dir=
watcher=

readonly trials_all='kill stop stalled ecs roll join grow'
# Seconds a cluster may take until every slot has its copies, and between two looks.
readonly whole_seconds_max=300 look_seconds=0.5

usage() {
    cat <<TXT
Usage: scripts/trials.sh [OPTIONS] [TRIAL...]

Builds (release), and for each trial starts a cluster of three and puts load on it while something happens.

Trials [default: all]:
  kill     a server is killed (kill -9), 50 writers
  stop     a server is stopped (SIGSTOP), 46 writers, 4 readers
  stalled  a server stands still for half a second, then another is killed
  ecs      the ECS is dead for a minute
  roll     every server in turn is restarted
  join     a fourth server joins three that hold 1 GB
  grow     3 -> 6 -> 3 servers, 10 writers, 40 readers

Options:
  --rounds N     how often kill, stop and stalled are repeated [default: $rounds]
  --sync POLICY  of the servers [default: $sync]
  --move-rate B  bytes a second that each server sends to one that joins, in the trial join [default: $move_rate]
  --dir FOLDER   where the temporary folder is made; a real disk [default: target]
  --help         show this

RINGCASK_BINARIES names a folder with binaries to use instead of building them.
TXT
}

fail() {
    echo "trials.sh: $*" >&2
    exit 1
}

cluster() { "$top/scripts/cluster.sh" "$1" --dir "$dir/cluster" "${@:2}" >>"$dir/cluster.out" 2>&1 </dev/null; }

# Where the servers listen, one after the other with commas.
servers() {
    local folder
    for folder in "$dir"/cluster/[0-9]*; do
        [ -f "$folder/left" ] || grep -oE '127\.0\.0\.1:[0-9]+' "$folder/out" | tail -n 1
    done | paste -sd,
}

# Waits until every slot has its copies; a server that joins or leaves shows as slots that are on the move.
wait_whole() {
    local until=$((SECONDS + whole_seconds_max))
    until "$bin/kvclient" -s "$(servers)" cluster status --json 2>/dev/null |
        jq -e '.slots.complete == .slot_count and .moves == []' >/dev/null; do
        [ "$SECONDS" -lt "$until" ] || fail "the slots lack copies after $whole_seconds_max s"
        sleep "$look_seconds"
    done
}

up() { # FLAGS for the servers
    dir=$(mktemp -d "$parent/trials.XXXXXX")
    cluster up 3 --port 0 -- --sync "$sync" "$@" || fail "the cluster does not start: $(tail -n 5 "$dir/cluster.out")"
    wait_whole
}

down() {
    [ -z "$watcher" ] || kill "$watcher" || true
    [ -n "$dir" ] || return 0
    cluster down || true
    rm -rf "$dir"
    dir=
}

# load SECONDS FLAGS...: clients in the background; `finish` waits for them and leaves their report in `report`.
load() {
    local seconds=$1
    shift
    "$bin/kvbench" outage -s "$(servers)" --duration "$seconds" --json "$@" >"$dir/report" 2>"$dir/errors" &
    clients=$!
}

finish() {
    wait "$clients" || fail "$(head -c 500 "$dir/report" "$dir/errors")"
    report=$(jq -c . "$dir/report")
}

# Megabytes of live records on the fourth server, as it says over bash's own sockets.
moved_mb() {
    local port line
    port=$(grep -oE '127\.0\.0\.1:[0-9]+' "$dir/cluster/4/out" | tail -n 1 | cut -d: -f2)
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    echo info >&3
    read -r line <&3
    exec 3>&-
    [[ $line =~ \ live_bytes\ ([0-9]+) ]] || fail "server 4 says: $line"
    echo $((BASH_REMATCH[1] / 1000000))
}

# Looks at the cluster while something happens to it, and keeps the most slots that lacked a copy or a primary.
watch_copies() {
    # Each look takes as much of a processor as a hundred writes.
    while sleep 1; do
        "$bin/kvclient" -s "$(servers)" cluster status --json 2>/dev/null |
            jq '[.slots.short_of_copies, .slots.without_primary] | max' >>"$dir/short" || true
    done &
    watcher=$!
}

end_watch() {
    kill "$watcher" || true
    wait "$watcher" 2>/dev/null || true
    watcher=
    echo "Slots that lacked a copy or a primary at any of $(wc -l <"$dir/short") looks: at most $(sort -n "$dir/short" | tail -n 1)."
}

# repeated TITLE KIND: the outages of several rounds in one row.
repeated() {
    local title=$1 kind=$2 round victim other reports=()
    up
    for round in $(seq "$rounds"); do
        victim=$((round % 3 + 1)) other=$(((round + 1) % 3 + 1))
        case $kind in
        stop) load 4 --writers 46 --readers 4 ;;
        *) load 4 --writers 50 ;;
        esac
        sleep 1.5
        case $kind in
        kill) cluster kill "$victim" ;;
        stop) cluster pause "$victim" ;;
        stalled)
            cluster pause "$other"
            sleep 0.5
            cluster resume "$other"
            cluster kill "$victim"
            ;;
        esac
        finish
        reports+=("$report")
        case $kind in
        stop) cluster resume "$victim" ;;
        *) cluster restart "$victim" ;;
        esac
        wait_whole
    done
    down
    printf '%s\n' "${reports[@]}" | jq -rs --arg title "$title" '
        def sum(f): map(f) | add; (map(.outage_ms) | sort) as $ms |
        "| \($title), \(length) times | outage median \($ms[length / 2 | floor] | round) ms, \($ms[0] | round) to \($ms[-1] | round) ms; "
        + "\(sum(.acknowledged)) writes acknowledged, \(sum(.lost)) lost, \(sum(.refused)) refused, \(sum(.unknown)) unknown, "
        + "\(sum(.reads_stale)) stale reads |"'
}

# row TITLE QUIET: what it was like before and meanwhile, in one row.
row() {
    jq -rn --arg title "$1" --argjson quiet "$2" --argjson now "$report" '
        "| \($title) | \($now.per_second | round) writes/s, \($now.per_second / $quiet.per_second * 100 | round / 100) × quiet; "
        + "p99 \($now.latency_ms.p99 * 10 | round / 10) ms, \($now.latency_ms.p99 / $quiet.latency_ms.p99 * 100 | round / 100) × quiet; "
        + "\($now.handed_over.writes) writes met a hand-over, p50 \($now.handed_over.p50_ms * 10 | round / 10) ms, p99 \($now.handed_over.p99_ms * 10 | round / 10) ms; "
        + "longest gap \($now.gap.ms | round) ms; \($now.acknowledged) acknowledged, \($now.lost) lost, \($now.refused) refused, "
        + "\($now.unknown) unknown, \($now.reads_stale) stale reads |"'
}

trial_kill() { repeated 'kill -9 of a server' kill; }
trial_stop() { repeated 'SIGSTOP of a server' stop; }
trial_stalled() { repeated 'a server stands still for 0.5 s, then another is killed' stalled; }

trial_ecs() {
    local quiet
    up
    load 10
    finish
    quiet=$report
    cluster kill ecs
    load 60
    finish
    row 'the ECS is dead for 60 s' "$quiet"
    down
}

trial_roll() {
    local quiet server
    up
    load 10
    finish
    quiet=$report
    load 30
    for server in 1 2 3; do
        sleep 2
        cluster restart "$server"
        wait_whole
    done
    finish
    row 'every server is restarted in turn' "$quiet"
    down
}

trial_join() {
    local quiet began took
    up --move-rate "$move_rate"
    "$bin/kvbench" -s "$(servers)" --load --ops 0 --keys 1m --value-bytes 1000 >/dev/null
    load 20 --rate 4000
    finish
    quiet=$report
    load 60 --rate 4000
    sleep 2
    watch_copies
    began=$(date +%s%N)
    cluster add
    wait_whole
    end_watch
    took=$(($(date +%s%N) - began))
    echo "The fourth server had its share after $((took / 1000000)) ms: $(moved_mb) MB of records, $(($(moved_mb) * 1000000000 / took)) MB/s; each of three servers may send $((move_rate / 1000000)) MB/s."
    finish
    row 'a fourth server joins three with 1 GB, 4,000 writes/s' "$quiet"
    down
}

trial_grow() {
    local quiet server
    up
    "$bin/kvbench" -s "$(servers)" --load --ops 0 --keys 300k >/dev/null
    load 15 --writers 10 --readers 40
    finish
    quiet=$report
    load 60 --writers 10 --readers 40
    watch_copies
    sleep 2
    for server in 4 5 6; do
        cluster add
        wait_whole
    done
    for server in 6 5 4; do
        cluster remove "$server"
        wait_whole
    done
    end_watch
    kill -0 "$clients" 2>/dev/null || fail 'the clients ended before the last step did'
    finish
    row '3 → 6 → 3 servers, 10 writers, 40 readers' "$quiet"
    down
}

while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=${2:?} && shift ;;
    --sync) sync=${2:?} && shift ;;
    --move-rate) move_rate=${2:?} && shift ;;
    --dir) parent=${2:?} && shift ;;
    --help | -h) usage && exit ;;
    -*) fail "no such option: $1 (--help lists them)" ;;
    *) trials+=("$1") ;;
    esac
    shift
done
command -v jq >/dev/null || fail 'needs jq'
[ "${#trials[@]}" -gt 0 ] || read -ra trials <<<"$trials_all"
for trial in "${trials[@]}"; do
    [[ " $trials_all " == *" $trial "* ]] || fail "no such trial: $trial (--help lists them)"
done
bin=${RINGCASK_BINARIES:-}
if [ -z "$bin" ]; then
    (cd "$top" && cargo build --release --quiet --bin ecs --bin kvserver --bin kvclient --bin kvbench)
    bin=$top/target/release
fi
export RINGCASK_BINARIES=$bin
mkdir -p "$parent"
trap down EXIT
trap 'exit 130' INT TERM
for trial in "${trials[@]}"; do
    "trial_$trial"
done
