#!/usr/bin/env bash
# Starts a Ringcask cluster on this machine, does to it what befalls clusters, and stops it again.
# `scripts/cluster.sh help` lists the commands.
#
# All it keeps is in one folder:
#
#   bin            names the folder of the binaries that were started last
#   ecs/           the configuration service       data/  its folder        log    standard error of all its lives
#   1/ 2/ 3/ …     the servers, by number          pid    of its process    out    the line `listening …`
#                                                  flags  given after `--`  left   is there once it left the ring
#                                                  standby  is there if it was started to wait; in ecs/, flags: its own
#   ecs/spawn      is there if the ECS starts servers, and says how; they are in ecs/data/spawned/, 1/ 2/ …, each like 1/
#
# A pid is believed only if that process is a Ringcask process that serves this very folder, so what an earlier boot
# left behind does no harm, and no stranger's process is ever signalled. What the ECS knows is read from its line
# `status` over bash's own sockets: neither jq nor nc is needed.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=
port=
follow=
standby_count=0
elastic=
spawn=
flags=()
has_flags=
words=()

# The port of server 1 that is tried first; server 2 is beside it, the ECS before it. Taken ones: the system chooses.
readonly port_usual=5153
readonly server_count_usual=3 server_count_max=32
# What --elastic means: limits that a laptop reaches, and seconds for the cool-down.
readonly ecs_flags_elastic='--elastic on --scale-up-bytes 268435456 --scale-down-bytes 134217728 --cool-down-s 10'
# Seconds: how long a process may take to end, and the slots to have their copies, before the script gives up waiting;
# and between two looks.
readonly end_seconds_max=120 copies_seconds_max=300 look_seconds=0.1

usage() {
    cat <<TXT
Usage: scripts/cluster.sh COMMAND [OPTIONS] [-- KVSERVER-FLAGS]

Commands:
  up [N]     build (release) and start an ECS and N servers [default: $server_count_usual], or what of them does not run;
             wait until every slot has its copies. With --standby S, S more that wait to be wanted; with --elastic,
             the ECS puts them on the ring and takes servers off it by itself; with --spawn it starts more when none waits
  status     show every process, the ring, and what the ECS says
  add        start one more server, or again one that was removed; it joins the ring
  remove I   have server I hand everything over, leave the ring, and end
  kill I     end server I as a crash would: kill -9
  pause I    stop server I where it stands: SIGSTOP
  resume I   let it go on: SIGCONT
  restart I  start server I again; one that runs is ended first, and remains a member
  logs [I]   show the last lines of the logs, or of one (-f: and what follows)
  down       stop all cleanly; the data stays
  demo       on a cluster of its own: write, kill, read back, add, remove, show. A minute
  demo elastic
             on a cluster of its own: fill it until it has grown from 3 to 6 servers, empty it until it is back at 3. Half a minute
  help       show this

I is a server's number or, for kill, pause, resume, restart and logs, the word ecs.

Options:
  --dir DIR    the folder of data, logs and pids [default: target/cluster; demo: target/demo]
  --port PORT  the port of server 1; 2 is at PORT + 1 and so on, the ECS at PORT - 1; 0 for any
               [default: $port_usual; where something is taken, any]
  --standby S  with up: so many servers more, on standby
  --elastic    with up: grow and shrink between them, when a server stores more than 256 MiB or all would fit on one
               fewer below 128 MiB; RINGCASK_ECS_FLAGS may say otherwise
  --spawn      with up: --elastic, and the ECS starts up to three servers when one is wanted, and ends them when not
  -f           with logs: go on

Flags after -- are for the servers that are started, now and whenever this folder's are started again.
RINGCASK_BINARIES names a folder with binaries to start instead of building them, RINGCASK_ECS_FLAGS has flags for the ECS.
Example: scripts/cluster.sh up 5 --port 7000 -- --sync interval=100
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

# Prints how a process is called: the ECS, server 2.
called() {
    if [ "$1" = ecs ]; then printf 'the ECS'; else printf 'server %s' "$1"; fi
}

## Processes, by name: ecs, 1, 2 …

# Sets numbers to those of all servers that were ever started and have not left.
find_servers() {
    numbers=()
    local number
    for number in $(seq "$server_count_max"); do
        [ ! -d "$dir/$number" ] || [ -e "$dir/$number/left" ] || numbers+=("$number")
    done
}

# Sets spawned to the names of the servers that the ECS started and that run.
find_spawned() {
    spawned=()
    local one
    for one in "$dir"/ecs/data/spawned/*/; do
        one=${one#"$dir"/}
        if find_running "${one%/}"; then spawned+=("${one%/}"); fi
    done
}

# Sets pid if the process `$1` of this folder runs.
find_running() {
    pid=
    local found line program=kvserver
    [ "$1" != ecs ] || program=ecs
    [ -r "$dir/$1/pid" ] && read -r found <"$dir/$1/pid" || return 1
    [[ $found =~ ^[0-9]+$ ]] || return 1
    if [ -d /proc/self ]; then
        { line=$(tr '\0' ' ' <"/proc/$found/cmdline"); } 2>/dev/null || return 1
    else
        line=$(ps -o args= -p "$found" 2>/dev/null) || return 1
    fi
    [[ $line == *"$program"*" --dir $dir/$1/data "* || $line == *"$program"*" --dir $dir/$1/data" ]] || return 1
    pid=$found
}

# Sets address if the process `$1` has said where it listens, in this life or the one before.
find_address() {
    address=
    local word rest
    [ -r "$dir/$1/out" ] && read -r word rest <"$dir/$1/out" || return 1
    [ "$word" = listening ] && address=$rest
}

# Sets state to how the process `$1` stands, in a word.
find_state() {
    state='not running'
    find_running "$1" || return 0
    state=running
    [[ $(ps -o state= -p "$pid" 2>/dev/null) != T* ]] || state=paused
}

is_port() {
    [[ $1 =~ ^[0-9]{1,5}$ ]] && [ "$1" -le 65535 ]
}

is_taken() {
    (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Sets chosen to the port for `$1`: as told, else where it was, else the usual one; 0 where that is taken.
choose_port() {
    local offset=-1
    [ "$1" = ecs ] || offset=$(($1 - 1))
    if [ "${port:-0}" != 0 ]; then
        chosen=$((port + offset))
        is_port "$chosen" || wrong "there is no port $chosen for $(called "$1")"
        return
    fi
    chosen=$((port_usual + offset))
    [ -z "$port" ] || chosen=0
    if find_address "$1"; then chosen=${address##*:}; fi
    [ "$chosen" = 0 ] || ! is_taken "$chosen" || chosen=0
}

# Sets binaries to the folder of binaries that are up to date.
build() {
    if [ -n "${RINGCASK_BINARIES-}" ]; then
        binaries=$RINGCASK_BINARIES
    else
        command -v cargo >/dev/null || fail "cargo is not installed; see https://rustup.rs"
        echo "building (release; the first time takes a few minutes) ..."
        # On a terminal cargo draws a bar; elsewhere its lines are only noise.
        local quiet=--quiet target
        [ ! -t 2 ] || quiet=
        cargo build --release --bins ${quiet:+"$quiet"} --manifest-path "$top/Cargo.toml" || fail "the build failed"
        target=$(cargo metadata --manifest-path "$top/Cargo.toml" --format-version 1 --no-deps |
            sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
        binaries=${target:-$top/target}/release
    fi
    printf '%s\n' "$binaries" >"$dir/bin"
}

# Sets binaries to the folder that `up` used.
find_binaries() {
    if [ -n "${RINGCASK_BINARIES-}" ]; then
        binaries=$RINGCASK_BINARIES
    else
        read -r binaries 2>/dev/null <"$dir/bin" || fail "nothing is in $(shown "$dir"); scripts/cluster.sh up starts a cluster"
    fi
}

# Starts the process `$1` and waits until it listens; sets address.
start() {
    local program=kvserver here=$dir/$1 given=() more=()
    rm -f "$here/left"
    mkdir -p "$here"
    local was=
    ! find_address "$1" || was=$address
    choose_port "$1"
    if [ "$1" = ecs ]; then
        program=ecs
        [ -z "$elastic" ] || printf '%s' "$ecs_flags_elastic" >"$here/flags"
        [ ! -s "$here/flags" ] || read -ra given <"$here/flags" || true
        read -ra more <<<"${RINGCASK_ECS_FLAGS-}"
        given+=(${more[@]+"${more[@]}"})
        [ -z "$spawn" ] || spawn_command >"$here/spawn"
        [ ! -s "$here/spawn" ] || given+=(--spawn-command "$(<"$here/spawn")")
    else
        [ -z "$has_flags" ] || printf '%s\0' ${flags[@]+"${flags[@]}"} >"$here/flags"
        [ ! -s "$here/flags" ] || mapfile -d '' given <"$here/flags"
        find_address ecs || fail "the ECS has not said where it listens; its log is $dir/ecs/log"
        [ ! -e "$here/standby" ] || given+=(--standby)
        given=(--bootstrap "$address" --stay ${given[@]+"${given[@]}"})
    fi
    : >"$here/out"
    # Job control gives it a process group of its own: Ctrl-C in this terminal is not meant for it.
    set -m
    nohup "$binaries/$program" --address 127.0.0.1 --port "$chosen" --dir "$here/data" ${given[@]+"${given[@]}"} \
        </dev/null >"$here/out" 2>>"$here/log" &
    started=$!
    set +m
    disown "$started"
    echo "$started" >"$here/pid"
    wait_until_listening "$1"
    # Servers keep the address of the ECS that they were started with.
    if [ "$1" = ecs ] && [ -n "$was" ] && [ "$was" != "$address" ]; then
        echo "$was is taken, so the ECS is at $address now, and servers that run are started again"
        end_servers
        # What the ECS started it starts again itself.
        for number in ${ended[@]+"${ended[@]}"}; do [[ $number == */* ]] || start "$number"; done
        find_address ecs
    fi
}

# Prints the command by which the ECS starts servers: like those of this script, in folders of the ECS.
spawn_command() {
    printf "'%s' --bootstrap {ecs} --standby --stay --address 127.0.0.1 --port 0 --dir {dir}/data" "$binaries/kvserver"
    [ ${#flags[@]} -eq 0 ] || printf " '%s'" "${flags[@]}"
    echo
}

# A large store takes a while to open, so this waits as long as the process lives.
wait_until_listening() {
    local looks=0
    until find_address "$1"; do
        if ! kill -0 "$started" 2>/dev/null; then
            tail -n 5 "$dir/$1/log" >&2
            fail "$(called "$1") did not start; its log is $dir/$1/log"
        fi
        looks=$((looks + 1))
        [ $((looks % 50)) -ne 0 ] || echo "still opening $(shown "$dir/$1/data") ..."
        sleep "$look_seconds"
    done
}

# Waits until the process `$1`, which was told to, has ended.
wait_until_ended() {
    local looks=$((end_seconds_max * 10))
    while find_running "$1"; do
        looks=$((looks - 1))
        [ "$looks" -gt 0 ] || fail "$(called "$1") still runs after $end_seconds_max s: pid $pid; its log is $dir/$1/log"
        sleep "$look_seconds"
    done
    rm -f "$dir/$1/pid"
}

# Ends the process `$1`, which may be paused, cleanly.
end() {
    find_running "$1" || return 1
    kill -TERM "$pid"
    kill -CONT "$pid"
    wait_until_ended "$1"
}

# Ends all servers cleanly; sets ended to those that ran. All are told before any is waited for.
end_servers() {
    local number
    ended=()
    find_servers
    find_spawned
    for number in ${numbers[@]+"${numbers[@]}"} ${spawned[@]+"${spawned[@]}"}; do
        if find_running "$number"; then
            kill -TERM "$pid"
            kill -CONT "$pid"
            ended+=("$number")
        fi
    done
    for number in ${ended[@]+"${ended[@]}"}; do wait_until_ended "$number"; done
}

## What the ECS says

# Sets reply to the ECS's answer to the line `$1`.
ask() {
    local at
    reply=
    find_running ecs && find_address ecs || return 1
    at=$address
    { exec 3<>"/dev/tcp/${at%:*}/${at##*:}"; } 2>/dev/null || return 1
    printf '%s\r\n' "$1" >&3
    IFS= read -r -t 5 reply <&3 || reply=
    exec 3>&-
    reply=${reply%$'\r'}
    [[ $reply == *_success* ]]
}

# Sets value to the first field `$2` in the JSON `$1`.
field() {
    [[ $1 =~ \"$2\":\"?([^],}\"]*) ]] && value=${BASH_REMATCH[1]}
}

# Sets entry to what the status in reply says of the server at the address `$1`.
find_entry() {
    local one
    entry=
    while IFS= read -r one; do
        if field "$one" standing && field "$one" address && [ "$value" = "$1" ]; then entry=$one; fi
    done <<<"${reply//\{/$'\n'}"
    [ -n "$entry" ]
}

# Sets all and complete from the ECS's status, and is_level if every server that runs has its share and every slot its
# copies.
look() {
    is_level=
    all=0 complete=0
    ask status || return 1
    field "$reply" slot_count && all=$value
    field "$reply" complete && complete=$value
    [ "$all" -gt 0 ] && [ "$complete" = "$all" ] && [[ $reply == *'"moves":[]'* ]] || return 0
    local number
    find_servers
    for number in "${numbers[@]}"; do
        find_state "$number"
        [ "$state" = running ] || continue
        find_address "$number" && find_entry "$address" && field "$entry" standing || return 0
        [ "$value" != standby ] || continue
        field "$entry" owned && [ "$value" -gt 0 ] || return 0
    done
    is_level=yes
}

# Waits until every slot has its copies. Tells how far it is now and then.
wait_until_level() {
    local looks=0
    while ! { look && [ -n "$is_level" ]; }; do
        looks=$((looks + 1))
        [ "$looks" -lt $((copies_seconds_max * 10)) ] ||
            fail "after $copies_seconds_max s $complete of $all slots are as they shall be; scripts/cluster.sh status says more"
        [ $((looks % 50)) -ne 0 ] || echo "  $complete of $all slots are where they shall be ..."
        sleep "$look_seconds"
    done
}

## What is shown

# Prints a table of the processes, with each server's share.
table() {
    local number share primary backup
    look || true
    printf '  %-7s %-21s %-8s %-12s %8s %8s %8s\n' server address pid state share primary backup
    find_state ecs
    find_address ecs || address=-
    printf '  %-7s %-21s %-8s %s\n' ecs "$address" "${pid:--}" "$state"
    find_servers
    find_spawned
    for number in "${numbers[@]}" ${spawned[@]+"${spawned[@]}"}; do
        find_state "$number"
        find_address "$number" || address=-
        share=- primary=- backup=-
        if [ "$all" -gt 0 ] && find_entry "$address"; then
            field "$entry" owned && share=$(((value * 2000 / all + 1) / 2))
            share=$((share / 10)).$((share % 10))' %'
            field "$entry" primary && primary=$value
            field "$entry" backup && backup=$value
        fi
        printf '  %-7s %-21s %-8s %-12s %8s %8s %8s\n' "${number/*spawned\//+}" "$address" "${pid:--}" "$state" "$share" "$primary" "$backup"
    done
}

# Prints the ring as a line of letters: whose each 64th of it is, a for server 1, b for server 2 …
ring() {
    local cell=0 one at letters="" of="" first="" number names=({a..z} {A..Z})
    ask ring || return 0
    field "$reply" slot_count && all=$value || return 0
    find_servers
    find_spawned
    # A token ends its arc: the first one at or after a slot is the owner's.
    while IFS= read -r one; do
        field "$one" address || continue
        at=$value
        of='?'
        for number in "${numbers[@]}"; do
            if find_address "$number" && [ "$address" = "$at" ]; then of=${names[$number - 1]}; fi
        done
        for number in ${spawned[@]+"${spawned[@]}"}; do
            if find_address "$number" && [ "$address" = "$at" ]; then of=${number##*/}; fi
        done
        field "$one" slot || continue
        while [ "$cell" -lt 64 ] && [ $((cell * all / 64)) -le "$value" ]; do
            letters+=${of:-?}
            cell=$((cell + 1))
        done
        first=${first:-${of:-?}}
    done <<<"${reply//\{/$'\n'}"
    # Behind the last token comes the first one again.
    while [ "$cell" -lt 64 ]; do
        letters+=${first:-?}
        cell=$((cell + 1))
    done
    printf '  the ring: 00 %s ff   (a: server 1, b: server 2 ...%s)\n' "$letters" "${spawned[0]:+; 1 ...: started by the ECS}"
}

# Sets servers to the addresses of all servers, with commas.
find_addresses() {
    servers=
    local number address
    find_servers
    for number in "${numbers[@]}"; do
        if find_address "$number"; then servers+=${servers:+,}$address; fi
    done
}

suggest() {
    local bin
    bin=$(shown "$binaries")
    find_addresses
    cat <<TXT

Try:
  $bin/kvclient -s $servers put greeting 'Hello, ring!'
  $bin/kvclient -s $servers get greeting
  $bin/kvclient -s $servers cluster status
  $bin/kvbench -s ${servers%%,*} --load --keys 100k --mix a
  scripts/cluster.sh kill 1; scripts/cluster.sh status; scripts/cluster.sh restart 1

or the prompt, $bin/kvclient -s $servers, and stop all with scripts/cluster.sh down
TXT
}

## Commands

# Sets name to the process that the command is about.
find_name() {
    name=${words[0]-}
    [ -n "$name" ] || wrong "$command needs a server's number"
    if [ "$name" = ecs ]; then
        [ -n "${1-}" ] || wrong "$command is for servers"
    else
        [[ $name =~ ^[1-9][0-9]?$ ]] || wrong "\`$name\` is no server's number"
    fi
    [ -d "$dir/$name" ] || fail "there is no $(called "$name") in $(shown "$dir"); scripts/cluster.sh status lists them"
}

# Starts what does not run of the ECS and the servers, the last `$2` of them on standby.
start_all() {
    local count=$1 standby=${2:-0} number news=0
    find_running ecs || start ecs
    for number in $(seq $((count + 1)) $((count + standby))); do
        if [ ! -d "$dir/$number" ]; then
            mkdir "$dir/$number"
            : >"$dir/$number/standby"
        fi
    done
    count=$((count + standby))
    for number in $(seq "$server_count_max"); do
        [ "$number" -le "$count" ] || [ -d "$dir/$number" ] || continue
        [ ! -e "$dir/$number/left" ] || continue
        if ! find_running "$number"; then
            start "$number"
            news=$((news + 1))
        fi
    done
    find_servers
    echo "the ECS and ${#numbers[@]} servers run ($news started now); waiting until every slot has its copies ..."
}

up() {
    local count=${words[0]-$server_count_usual}
    if ! [[ $count =~ ^[0-9]{1,2}$ ]] || [ "$count" -lt 1 ] || [ $((count + standby_count)) -gt "$server_count_max" ]; then
        wrong "up takes a number of servers from 1 to $server_count_max"
    fi
    find_servers
    # Without a number, a folder's cluster comes up as it was.
    [ -n "${words[0]-}" ] || [ ${#numbers[@]} -eq 0 ] || count=${#numbers[@]}
    if is_up; then
        find_binaries
        if [ $((count + standby_count)) -le "${#numbers[@]}" ]; then
            echo "already running:"
            status
            return
        fi
    else
        build
    fi
    start_all "$count" "$standby_count"
    wait_until_level
    find_servers
    field "$reply" replica_count && copies=$value
    [ "$copies" -le "${#numbers[@]}" ] || copies=${#numbers[@]}
    find_address ecs
    echo "Ringcask runs: ${#numbers[@]} servers and the ECS at $address; each write is on $copies of them before it is acknowledged."
    table
    ring
    echo "Data and logs are in $(shown "$dir")."
    suggest
}

# Whether all that was ever started in this folder runs.
is_up() {
    local number
    find_running ecs || return 1
    find_servers
    for number in "${numbers[@]}"; do
        find_running "$number" || return 1
    done
}

status() {
    local number is_any=
    find_servers
    for number in ecs ${numbers[@]+"${numbers[@]}"}; do
        ! find_running "$number" || is_any=yes
    done
    if [ -z "$is_any" ]; then
        echo "not running"
        exit 1
    fi
    find_binaries
    table
    ring
    echo
    find_addresses
    if find_running ecs && find_address ecs; then
        "$binaries/kvclient" -s "$servers" cluster --ecs "$address" status || fail "the ECS does not answer at $address; its log is $dir/ecs/log"
    else
        echo "the ECS does not run: reads and writes go on, and who serves what stays as it is; scripts/cluster.sh restart ecs"
    fi
}

add() {
    local number
    find_binaries
    find_running ecs || fail "the ECS does not run; scripts/cluster.sh up starts the cluster"
    for number in $(seq "$server_count_max"); do
        if [ -e "$dir/$number/left" ] || [ ! -d "$dir/$number" ]; then
            # A new server gets the flags of the first one.
            if [ ! -d "$dir/$number" ] && [ -s "$dir/1/flags" ]; then
                mkdir "$dir/$number"
                cp "$dir/1/flags" "$dir/$number/flags"
            fi
            start "$number"
            echo "server $number runs at $address and joins the ring ..."
            wait_until_level
            table
            ring
            return
        fi
    done
    fail "there are $server_count_max servers already"
}

remove() {
    find_name
    find_binaries
    find_running "$name" || fail "server $name does not run: it cannot hand over; restart it first, or leave it to the ECS, which does without it after ten seconds"
    find_address "$name"
    local at=$address looks=0 held
    find_addresses
    "$binaries/kvclient" -s "$servers" cluster leave "$at" >/dev/null || fail "the ECS does not let server $name leave"
    echo "server $name hands over what it has ..."
    while ask status && find_entry "$at"; do
        held=0
        for one in owned primary backup learner; do
            field "$entry" "$one" && held=$((held + value))
        done
        [ "$held" -gt 0 ] || break
        looks=$((looks + 1))
        [ "$looks" -lt $((copies_seconds_max * 10)) ] || fail "after $copies_seconds_max s server $name still has slots; scripts/cluster.sh status says more"
        sleep "$look_seconds"
    done
    end "$name" || true
    : >"$dir/$name/left"
    wait_until_level
    echo "server $name has left and ended; scripts/cluster.sh add brings it back"
    table
    ring
}

kill_one() {
    find_name ecs
    find_running "$name" || fail "$(called "$name") does not run"
    local was=$pid
    kill -KILL "$pid"
    wait_until_ended "$name"
    echo "killed $(called "$name") (pid $was); scripts/cluster.sh restart $name starts it again"
}

pause() {
    find_name ecs
    find_running "$name" || fail "$(called "$name") does not run"
    kill -STOP "$pid"
    echo "paused $(called "$name") (pid $pid); scripts/cluster.sh resume $name lets it go on"
}

resume() {
    find_name ecs
    find_running "$name" || fail "$(called "$name") does not run"
    kill -CONT "$pid"
    echo "$(called "$name") (pid $pid) goes on"
}

restart() {
    find_name ecs
    find_binaries
    end "$name" || true
    start "$name"
    echo "$(called "$name") runs at $address; waiting until every slot has its copies ..."
    wait_until_level
    table
    ring
}

logs() {
    local files=() number
    if [ -n "${words[0]-}" ]; then
        find_name ecs
        files=("$dir/$name/log")
    else
        find_servers
        for number in ecs ${numbers[@]+"${numbers[@]}"}; do
            [ ! -f "$dir/$number/log" ] || files+=("$dir/$number/log")
        done
    fi
    [ -f "${files[0]-}" ] || fail "no log in $dir; was it ever up?"
    exec tail -n $((60 / ${#files[@]})) ${follow:+-f} "${files[@]}"
}

down() {
    # The ECS goes last, so that nobody misses it; but one that starts servers would start those again that end.
    local is_ecs=
    if [ -s "$dir/ecs/spawn" ] && end ecs; then is_ecs=yes; fi
    end_servers
    if [ -n "$is_ecs" ] || end ecs; then ended+=(ecs); fi
    if [ ${#ended[@]} -eq 0 ]; then
        echo "not running"
    else
        echo "stopped ${#ended[@]} processes; the data stays in $(shown "$dir")"
    fi
}

## The demonstration

# Prints a step's heading.
tell() {
    printf '\n== %s\n' "$1"
}

# Writes live-0, live-1 … one after the other until the file stop is there, and notes in the file live how many were
# stored, how many failed, and the longest that one took, in milliseconds.
write_on() {
    local number=0 failed=0 longest=0 reply begun took
    coproc client { exec "$binaries/kvclient" -s "$servers" 2>/dev/null; }
    while [ ! -e "$dir/stop" ]; do
        begun=${EPOCHREALTIME/[.,]/}
        printf 'put live-%d value-%d\n' "$number" "$number" >&"${client[1]}"
        IFS= read -r reply <&"${client[0]}" || break
        took=$(((${EPOCHREALTIME/[.,]/} - begun) / 1000))
        [ "$took" -le "$longest" ] || longest=$took
        [[ $reply == stored* || $reply == replaced* ]] || failed=$((failed + 1))
        number=$((number + 1))
        sleep 0.01
    done
    echo "$number $failed $longest" >"$dir/live"
}

# Has write_on tell what it did; sets written.
end_writing() {
    local failed longest
    : >"$dir/stop"
    wait "$writer"
    read -r written failed longest <"$dir/live"
    echo "meanwhile $written writes, one after the other: $failed failed, the longest took $longest ms"
    rm -f "$dir/stop"
}

# Reads `$2` keys `$1`-0, `$1`-1 … back and says how many are right; returns whether all are.
read_back() {
    local right
    right=$(seq 0 $(($2 - 1)) | sed "s/^/get $1-/" | "$binaries/kvclient" -s "$servers" |
        awk -v "right=0" '$0 == "value-" (NR - 1) { right++ } END { print right }') || true
    echo "$right of $2 keys $1-… are there, with the values that were written"
    [ "$right" = "$2" ]
}

demo() {
    local begun=$SECONDS
    find_servers
    [ ${#numbers[@]} -eq 0 ] || fail "there is a cluster in $(shown "$dir"): the demo makes its own; --dir names another folder"
    port=${port:-0}
    build
    trap 'down >/dev/null' EXIT
    tell "an ECS and three servers, from nothing"
    start_all 3
    wait_until_level
    table
    ring

    tell "1,000 keys, each on three disks before it is acknowledged"
    find_addresses
    seq 0 999 | sed 's/.*/put key-& value-&/' | "$binaries/kvclient" -s "$servers" >"$dir/stored"
    echo "$(grep -c ^stored "$dir/stored") writes, one after the other, are acknowledged"
    read_back key 1000

    tell "kill -9 of server 1 while a client writes on"
    write_on &
    writer=$!
    sleep 1
    words=(1)
    kill_one
    sleep 4
    end_writing
    read_back key 1000
    read_back live "$written"

    tell "a fourth server joins while a client writes on"
    write_on &
    writer=$!
    add
    end_writing
    read_back live "$written"

    tell "server 1 comes back and takes its share again"
    restart

    tell "without the ECS reads and writes go on"
    words=(ecs)
    kill_one
    write_on &
    writer=$!
    sleep 2
    end_writing
    restart

    tell "server 2 leaves"
    words=(2)
    remove
    read_back key 1000
    read_back live "$written"

    tell "done in $((SECONDS - begun)) s"
    trap - EXIT
    down >/dev/null
    rm -rf "$dir"
    echo "scripts/cluster.sh up starts a cluster that stays"
}

## The demonstration of growing and shrinking

# Draws a bar for each server that runs: what it stores, with its copies, a cell for each 512 KiB.
bars() {
    local number standing bytes cells bar
    printf '%s  %s\n' "$(printf '%3d s' $((SECONDS - begun)))" "$1"
    for number in "${numbers[@]}"; do
        if ! find_address "$number" || ! find_entry "$address"; then
            continue
        fi
        field "$entry" standing && standing=$value
        field "$entry" bytes && bytes=$value
        cells=$(((bytes + 262144) / 524288))
        [ "$cells" -le 60 ] || cells=60
        printf -v bar '%*s' "$cells" ''
        printf '       %d  %-8s %6d KiB  %s\n' "$number" "$standing" $((bytes / 1024)) "${bar// /#}"
    done
}

# Sets serving to how many servers are on the ring.
count_serving() {
    local rest=$reply
    serving=0
    while [[ $rest == *'"standing":"serving"'* ]]; do
        serving=$((serving + 1))
        rest=${rest#*'"standing":"serving"'}
    done
}

# Waits until `$1` servers share the slots, and draws the shares whenever that number changes.
watch_until() {
    local looks=0 drawn=0
    until [ "$drawn" = "$1" ]; do
        if look && [ -n "$is_level" ]; then
            count_serving
            if [ "$serving" != "$drawn" ]; then
                drawn=$serving
                bars "$serving servers on the ring"
            fi
        fi
        looks=$((looks + 1))
        [ "$looks" -lt $((copies_seconds_max * 10)) ] ||
            fail "after $copies_seconds_max s $drawn servers are on the ring and not $1; scripts/cluster.sh status --dir $dir says more"
        sleep "$look_seconds"
    done
}

# Puts (`$1` is put) or deletes `$2` large values, and says how many it did.
pour() {
    local word=$1 value
    printf -v value '%*s' "$pour_len" ''
    value=${value// /x}
    [ "$word" = put ] || value=
    for number in $(seq "$2"); do printf '%s large-%d %s\n' "$word" "$number" "$value"; done |
        "$binaries/kvclient" -s "$servers" >"$dir/poured" || true
    echo "$(grep -c -E '^(stored|replaced|deleted)' "$dir/poured") of $2 values: $word"
}

demo_elastic() {
    begun=$SECONDS
    # 480 values of 48 KiB, three times, are 67 MiB: 11 on each of six servers.
    local pour_count=480
    readonly pour_len=49152
    find_servers
    [ ${#numbers[@]} -eq 0 ] || fail "there is a cluster in $(shown "$dir"): the demo makes its own; --dir names another folder"
    port=${port:-0}
    build
    # Few slots, so that each step takes seconds, unless the caller says how many.
    local own_flags=${RINGCASK_ECS_FLAGS-}
    [[ $own_flags == *--slots* ]] || own_flags="--slots 256 $own_flags"
    export RINGCASK_ECS_FLAGS="--elastic on --scale-up-bytes 10485760 --scale-down-bytes 5242880 --cool-down-s 3 $own_flags"
    trap 'down >/dev/null' EXIT
    tell "an ECS, three servers on the ring and three on standby; one more joins when a server stores 10 MiB"
    start_all 3 3
    wait_until_level
    find_servers
    find_addresses
    bars "3 servers on the ring"

    tell "values are written: the ring grows"
    write_on &
    writer=$!
    pour put "$pour_count" &
    poured=$!
    watch_until 6
    wait "$poured"

    tell "they are deleted again: the ring shrinks, and who is drained waits on standby"
    pour delete "$pour_count" &
    poured=$!
    watch_until 3
    wait "$poured"
    end_writing
    read_back live "$written"

    tell "what the ECS decided"
    grep -o 'map [0-9]*: elastic: .*' "$dir/ecs/log" || true

    tell "done in $((SECONDS - begun)) s"
    trap - EXIT
    down >/dev/null
    rm -rf "$dir"
    echo "scripts/cluster.sh up 3 --standby 3 --elastic starts a cluster like this that stays"
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
    --standby)
        [[ ${2-} =~ ^[0-9]{1,2}$ ]] || wrong "--standby needs a number of servers"
        standby_count=$((10#$2)); shift 2 ;;
    --elastic) elastic=yes; shift ;;
    --spawn) elastic=yes spawn=yes; shift ;;
    -f) follow=yes; shift ;;
    -h | --help) command=help; shift ;;
    --) shift; has_flags=yes; flags=("$@"); break ;;
    -*) wrong "unknown option $1" ;;
    *) words+=("$1"); shift ;;
    esac
done
case $command in
up | add | remove | kill | pause | resume | restart | status | logs | down | demo) ;;
help | -h | --help) usage; exit ;;
*) wrong "unknown command $command" ;;
esac
case $command:${#words[@]} in
*:0 | up:1 | demo:1 | remove:1 | kill:1 | pause:1 | resume:1 | restart:1 | logs:1) ;;
*) wrong "$command does not take \`${words[*]}\`" ;;
esac
if [ -z "$dir" ]; then
    dir=$top/target/cluster
    [ "$command" != demo ] || dir=$top/target/demo
fi
case $command in up | demo) mkdir -p "$dir" || fail "no folder can be made at $dir" ;; esac
# One folder, one name: links and dots resolved, so that its processes are recognised however it is spelt.
[ ! -d "$dir" ] || dir=$(cd "$dir" && pwd -P)

[ "$command" != kill ] || command=kill_one
if [ "$command" = demo ] && [ ${#words[@]} -eq 1 ]; then
    [ "${words[0]}" = elastic ] || wrong "demo does not take \`${words[0]}\`"
    command=demo_elastic
fi
"$command"
