#!/usr/bin/env bash
# Starts Ringcask on this machine and stops it again. `scripts/cluster.sh help` lists the commands.
#
# All it keeps is in one folder: data/ (the server's), kvserver.log, kvserver.out (the line `listening …`) and
# kvserver.pid. A pid is believed only if that process is a kvserver that serves this very folder, so what an
# earlier boot left behind does no harm, and no stranger's process is ever signalled.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$top/target/cluster
port=
follow=
server_flags=()

# The port that is tried first; if another process has it, the system chooses one.
readonly port_usual=5153
# Seconds: how long a server may take to end before the script gives up waiting, and between two looks.
readonly end_seconds_max=120 look_seconds=0.1

usage() {
    cat <<TXT
Usage: scripts/cluster.sh COMMAND [OPTIONS] [-- KVSERVER-FLAGS]

Commands:
  up       build (release) and start; says so if it runs already
  status   show whether it runs, where, and what it holds
  logs     show the last lines of the log (-f: and what follows)
  down     stop it cleanly; the data stays
  help     show this

Options:
  --dir DIR    the folder of data, log and pid [default: target/cluster]
  --port PORT  the port to listen at, 0 for any [default: $port_usual, or any if that is taken]
  -f           with logs: go on

RINGCASK_BINARIES names a folder with binaries to start instead of building them.
Replication is not there yet, so the cluster is one server.
Example: scripts/cluster.sh up --port 7000 -- --sync interval=100
TXT
}

fail() {
    echo "cluster.sh: $1" >&2
    exit "${2:-1}"
}

wrong() {
    fail "$1; see scripts/cluster.sh help" 2
}

# Prints a path as short as it can be typed here.
shown() {
    case $1 in
    "$PWD"/*) printf '%s' "${1#"$PWD"/}" ;;
    *) printf '%s' "$1" ;;
    esac
}

# Sets pid if the server of this folder runs.
find_running() {
    pid=
    local found words
    [ -r "$dir/kvserver.pid" ] && read -r found <"$dir/kvserver.pid" || return 1
    [[ $found =~ ^[0-9]+$ ]] || return 1
    if [ -r "/proc/$found/cmdline" ]; then
        words=$(tr '\0' ' ' <"/proc/$found/cmdline")
    else
        words=$(ps -o args= -p "$found" 2>/dev/null) || return 1
    fi
    [[ $words == *kvserver*" --dir $dir/data "* || $words == *kvserver*" --dir $dir/data" ]] || return 1
    pid=$found
}

# Sets address if the server has said where it listens.
find_address() {
    address=
    local word rest
    [ -r "$dir/kvserver.out" ] && read -r word rest <"$dir/kvserver.out" || return 1
    [ "$word" = listening ] && address=$rest
}

is_port() {
    [[ $1 =~ ^[0-9]{1,5}$ ]] && [ "$1" -le 65535 ]
}

is_taken() {
    (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Sets binaries to the folder of binaries that are up to date.
build() {
    if [ -n "${RINGCASK_BINARIES-}" ]; then
        binaries=$RINGCASK_BINARIES
        return
    fi
    command -v cargo >/dev/null || fail "cargo is not installed; see https://rustup.rs"
    echo "building (release; the first time takes a minute or two) ..."
    # On a terminal cargo draws a bar; elsewhere its lines are only noise.
    local quiet=--quiet
    [ ! -t 2 ] || quiet=
    cargo build --release --bins ${quiet:+"$quiet"} --manifest-path "$top/Cargo.toml" || fail "the build failed"
    local target
    target=$(cargo metadata --manifest-path "$top/Cargo.toml" --format-version 1 --no-deps |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    binaries=${target:-$top/target}/release
}

choose_port() {
    [ -z "$port" ] || return 0
    port=$port_usual
    if is_taken "$port"; then
        echo "port $port is taken; the system chooses another"
        port=0
    fi
}

start() {
    : >"$dir/kvserver.out"
    # Job control gives the server a process group of its own: Ctrl-C in this terminal is not meant for it.
    set -m
    nohup "$binaries/kvserver" --address 127.0.0.1 --port "$port" --dir "$dir/data" ${server_flags[@]+"${server_flags[@]}"} \
        </dev/null >"$dir/kvserver.out" 2>>"$dir/kvserver.log" &
    started=$!
    set +m
    disown "$started"
    echo "$started" >"$dir/kvserver.pid"
}

# A large store takes a while to open, so this waits as long as the server lives.
wait_until_listening() {
    local looks=0
    until find_address; do
        if ! kill -0 "$started" 2>/dev/null; then
            tail -n 5 "$dir/kvserver.log" >&2
            fail "the server did not start; its log is $dir/kvserver.log"
        fi
        looks=$((looks + 1))
        [ $((looks % 50)) -ne 0 ] || echo "still opening $dir/data ..."
        sleep "$look_seconds"
    done
}

up() {
    if find_running; then
        started=$pid
        wait_until_listening
        echo "already running: one server at $address (pid $pid)"
        return
    fi
    build
    choose_port
    start
    wait_until_listening
    local bin
    bin=$(shown "$binaries")
    cat <<TXT
Ringcask runs: one server at $address (replication is not there yet; this is a cluster of one).
Data and log are in $(shown "$dir").

Try:
  $bin/kvclient -s $address put greeting 'Hello, ring!'
  printf 'get greeting\n' | nc -N ${address%:*} ${address##*:}
  $bin/kvbench -s $address --load --keys 100k --mix a

or the prompt, $bin/kvclient -s $address, and stop it with scripts/cluster.sh down
TXT
}

down() {
    if ! find_running; then
        echo "not running"
        rm -f "$dir/kvserver.pid"
        return
    fi
    kill -TERM "$pid"
    local looks=$((end_seconds_max * 10)) ending=$pid
    while find_running; do
        looks=$((looks - 1))
        [ "$looks" -gt 0 ] || fail "still running after $end_seconds_max s: pid $ending; its log is $dir/kvserver.log"
        sleep "$look_seconds"
    done
    rm -f "$dir/kvserver.pid" "$dir/kvserver.out"
    echo "stopped; the data stays in $(shown "$dir")/data"
}

# Prints the server's figures, one a line. Asks over bash's own sockets, so that status needs no other program.
info() {
    local line="" words=()
    exec 3<>"/dev/tcp/${address%:*}/${address##*:}" || return 1
    printf 'info\r\n' >&3
    # A greeting may come first, and the dialect may be in upper case.
    until [[ ${line,,} == info_success* ]]; do
        IFS= read -r -t 5 line <&3 || return 1
    done
    exec 3>&-
    read -ra words <<<"${line%$'\r'}"
    printf '  %-24s %s\n' "${words[@]:1}"
}

status() {
    if ! find_running; then
        echo "not running"
        exit 1
    fi
    find_address || fail "pid $pid is still opening $dir/data" 1
    echo "running: one server at $address (pid $pid), folder $(shown "$dir")"
    info || fail "pid $pid does not answer at $address; its log is $dir/kvserver.log"
}

logs() {
    [ -f "$dir/kvserver.log" ] || fail "no log at $dir/kvserver.log; was it ever up?"
    exec tail -n 50 ${follow:+-f} "$dir/kvserver.log"
}

command=${1:-help}
[ $# -eq 0 ] || shift
while [ $# -gt 0 ]; do
    case $1 in
    --dir)
        [ -n "${2-}" ] || wrong "--dir needs a folder"
        dir=$2; shift 2 ;;
    --port)
        is_port "${2-}" || wrong "--port needs a number up to 65535"
        port=$2; shift 2 ;;
    -f) follow=yes; shift ;;
    -h | --help) command=help; shift ;;
    --) shift; server_flags=("$@"); break ;;
    *) wrong "unknown option $1" ;;
    esac
done
[ "$command" != up ] || mkdir -p "$dir" || fail "no folder can be made at $dir"
# One folder, one name: links and dots resolved, so that its server is recognised however it is spelt.
[ ! -d "$dir" ] || dir=$(cd "$dir" && pwd -P)

case $command in
up | down | status | logs) "$command" ;;
help | -h | --help) usage ;;
*) wrong "unknown command $command" ;;
esac
