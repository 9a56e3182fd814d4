#!/usr/bin/env bash
# Measures puts on three Ringcask servers beside puts on three members of etcd, synced, and prints a table in Markdown.
# `scripts/bench-etcd.sh --help` lists the options.
#
# etcd runs as it comes (every entry of its log is synced before it counts), each member with a folder of its own
# in the bench's. Ringcask and etcd run at the same time and are measured in turn (A B A B …): Ringcask by kvbench, etcd
# over gRPC by bin/kvbench/peers, with the same connections, keys and values. How rows are named, how servers are started
# and how all of it ends is scripts/bench.sh's.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=bench.sh
. "${BASH_SOURCE[0]%/*}/bench.sh"
servers="ringcask etcd"
runs=3
# In digits, which both clients read.
keys=1000000
# Lines of figures of this row: one for each server and round.
figures=
etcd_client=

usage() {
    cat <<TXT
Usage: scripts/bench-etcd.sh [OPTIONS]

Builds (release), starts an ECS with three kvservers and three members of etcd, puts the same load on both in turn,
and prints a Markdown table: medians of operations a second with p50 and p99, the ratio, and how many processors
each client took. Says SKIPPED and ends with 0 if etcd or jq is not installed.

Options:
  --row NAME         only this row; may be repeated [default: all]
  --runs N           rounds a row; medians are shown [default: $runs]
  --seconds S        measured in each round, for each server [default: $seconds]
  --warmup S         before each measurement [default: $warmup]
  --keys N           keys of 100 B values, in digits [default: $keys]
  --dir FOLDER       where the temporary folder is made; a real disk [default: target]
  --help             show this

RINGCASK_BINARIES names a folder with kvserver, ecs, kvclient and kvbench to use instead of building them.

Rows:
$(etcd_rows | awk -F' *: *' '{ printf "  %-13s %s\n", $1, $6 }')
TXT
}

# The rows of bench.sh that etcd can do too: puts on three, synced, one request in flight on a connection.
etcd_rows() {
    each_row | grep -E '^[^:]+: *always3 *:[^:]+: *1 *: *set *:'
}

check_rows() {
    local row
    for row in ${rows[@]+"${rows[@]}"}; do
        etcd_rows | grep -q "^$row *:" || fail "row $row is not for etcd; see --help" 2
    done
    [ "$servers" = "ringcask etcd" ] || fail "the servers are always ringcask and etcd" 2
}

check_programs() {
    local program
    for program in etcd:etcd-server jq:jq; do
        command -v "${program%:*}" >/dev/null && continue
        echo "SKIPPED: ${program%:*} is not installed (Debian: apt-get install ${program#*:}); nothing was measured"
        exit 0
    done
}

build_etcd_client() {
    local manifest=$top/bin/kvbench/peers/Cargo.toml
    command -v cargo >/dev/null || fail "cargo is not installed; see https://rustup.rs"
    cargo build --release --quiet --locked --manifest-path "$manifest" || fail "the build of etcd's client failed"
    etcd_client=$(cargo metadata --manifest-path "$manifest" --format-version 1 --no-deps | jq -r .target_directory)
    etcd_client+=/release/kvbench-etcd
}

# Three members that know each other; ready when each says that it has a leader.
start_etcd_cluster() {
    local client_ports=() peer_ports=() cluster=() started=() members i
    for i in 1 2 3; do
        new_port "${client_ports[@]-}" "${peer_ports[@]-}"
        client_ports+=("$port")
        new_port "${client_ports[@]}" "${peer_ports[@]-}"
        peer_ports+=("$port")
        cluster+=("m$i=http://127.0.0.1:$port")
    done
    members=$(IFS=,; echo "${cluster[*]}")
    for i in 0 1 2; do
        etcd --name "m$((i + 1))" --data-dir "$dir/etcd/m$((i + 1))" \
            --listen-client-urls "http://127.0.0.1:${client_ports[i]}" \
            --advertise-client-urls "http://127.0.0.1:${client_ports[i]}" \
            --listen-peer-urls "http://127.0.0.1:${peer_ports[i]}" \
            --initial-advertise-peer-urls "http://127.0.0.1:${peer_ports[i]}" \
            --initial-cluster "$members" </dev/null >"$dir/etcd/m$((i + 1)).log" 2>&1 &
        pids+=($!)
        started+=($!)
    done
    for i in 0 1 2; do
        wait_until etcd "${started[i]}" "$dir/etcd/m$((i + 1)).log" is_healthy_etcd "${client_ports[i]}"
    done
    addresses[etcd]=$(IFS=,; echo "${client_ports[*]/#/127.0.0.1:}")
}

# new_port TAKEN …: sets port to a free one that is none of these.
new_port() {
    free_port
    while [[ " $* " == *" $port "* ]]; do free_port; done
}

is_healthy_etcd() {
    local reply
    reply=$( (
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        printf 'GET /health HTTP/1.0\r\n\r\n' >&3
        cat <&3
    ) 2>/dev/null) || return 1
    [[ $reply == *'"health":"true"'* ]]
}

# one_run SERVER PROGRAM …: runs a client to its end and adds its figures, with the processors that it took, to those
# of the row. kvbench reports targets, the other client only itself.
one_run() {
    local server=$1 before begun_at spent
    shift
    see_spent
    before=$spent begun_at=$EPOCHREALTIME
    to_its_end "$@" >"$dir/report"
    see_spent
    figures+=$(jq -c --arg server "$server" --argjson before "$before" --argjson after "$spent" \
        --argjson begun_at "$begun_at" --argjson ended_at "$EPOCHREALTIME" '
            (.targets[0].median? // .)
            | {server: $server, ops: .ops_per_second, p50: .latency_us.p50, p99: .latency_us.p99,
               processors: (($after - $before) / ($ended_at - $begun_at))}' "$dir/report")$'\n'
}

# Sets spent to the processor seconds of all children that ended and were waited for; the servers live on and do not count.
see_spent() {
    times >"$dir/times"
    spent=$(awk 'END { split($1, user, /[ms]/); split($2, kernel, /[ms]/)
        print (user[1] + kernel[1]) * 60 + user[2] + kernel[2] }' "$dir/times")
}

row_of_table() {
    jq -rs --arg title "$1" '
        def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
        def of(server; figure): map(select(.server == server) | figure);
        def grouped: round | tostring | [while(length > 0; .[:-3]) | .[-3:]] | reverse | join(",");
        def cell(server):
            "\(of(server; .ops) | median | grouped) (\(of(server; .p50) | median | grouped), \(of(server; .p99) | median | grouped) µs)";
        def rounded: (. * 100 | round) as $n | "\($n / 100 | floor).\("0\($n % 100)"[-2:])";
        ([of("ringcask"; .ops), of("etcd"; .ops)] | transpose | map(.[0] / .[1])) as $ratios
        | "| \($title) | \(cell("ringcask")) | \(cell("etcd")) | \($ratios | median | rounded) × "
            + "| \(of("ringcask"; .processors) | median | rounded) | \(of("etcd"; .processors) | median | rounded) |"
    ' <<<"$figures"
}

head_of_table() {
    echo "$(nproc) cores, clients on the same machine; $runs rounds of $seconds s each, medians; puts a second, p50 and p99 in brackets."
    echo "Compared with: three members of $(etcd --version | sed -n 's/^etcd Version: /etcd /p')."
    echo
    echo "| | ringcask | etcd | ÷ etcd | processors of ringcask's client | of etcd's client |"
    echo "|---|---|---|---|---|---|"
}

measure() {
    local name connections title round common
    start always3
    while IFS=: read -r name _ connections _ _ title; do
        name=${name// /}
        is_wanted "$name" || continue
        note "$name ..."
        figures=
        common=(-c "${connections// /}" --keys "$keys" --value-bytes 100 --duration "$seconds" --warmup "$warmup")
        for ((round = 0; round < runs; round++)); do
            one_run ringcask "$binaries/kvbench" -s "${addresses[ringcask]}" --mix set --json "${common[@]}"
            one_run etcd "$etcd_client" --etcd "${addresses[etcd]}" "${common[@]}"
        done
        row_of_table "${title# }"
    done < <(etcd_rows)
}

parse "$@"
check_rows
check_programs
build
build_etcd_client
check_quiet
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
head_of_table
measure
