# shellcheck shell=bash
# The lab of the load balancer's checks: the side forwarder with a file made for each, members to balance between,
# connections that are held open, and ways to ask it and to reload it.
#
# A member is an nginx of its own with the port 809N, at every address that the provider has: 10.2.0.2, and all of
# 10.2.16.0/22. It says who asked, and where; `/well` and its like are there for those addresses that were made so.

readonly balanced_file="$scratch/balanced.toml" named_port=7013
readonly second_door=10.1.9.54 second_node=10.2.9.4
readonly wrk=(wrk --threads 1 --connections 8 --timeout 10s)
members=()

# instance [KEY…]: the file's first lines.
instance() {
    printf '[run]\nname   = "%s-side"\ndevice = "%s"\n' "$lab" "$backend"
    (($# == 0)) || printf '%s\n' "$@"
}

# published NAME NODE 'PORT FORWARD [PATH]'…: a service. FORWARD is a group's name, or NAME:WEIGHT,NAME:WEIGHT.
published() {
    printf '\n[[service]]\nname      = "%s"\nnamespace = "%s"\n' "$1" "$provider"
    printf 'nodes     = [{ zone = "a", address = "%s" }]\nlisteners = [\n' "$2"
    listeners "${@:3}"
    echo ']'
}

listeners() {
    local listener port forward path
    for listener; do
        read -r port forward path <<<"$listener"
        forward=$(sed -E 's/([^:,]+):([0-9]+)/{ target_group = "\1", weight = \2 }/g; t; s/.*/"&"/' <<<"$forward")
        [[ $forward != \{* ]] || forward="[$forward]"
        printf '  { protocol = "tcp", port = %s, forward = %s, path = "%s" },\n' "$port" "$forward" "${path:-nat}"
    done
}

# group NAME TARGETS [LINE…]: a target group, with further lines of the file.
group() {
    printf '\n[[target_group]]\nname    = "%s"\ntargets = [%s]\n' "$1" "$2"
    (($# == 2)) || printf '%s\n' "${@:3}"
}

# at_port PORT [KEY…]: a target in the provider's namespace.
at_port() {
    at_address 10.2.0.2 "$@"
}

# at_address ADDRESS PORT [KEY…]
at_address() {
    printf '{ address = "%s", port = %s' "$1" "$2"
    (($# == 2)) || printf ', %s' "${@:3}"
    printf ' }, '
}

# brisk PROTOCOL [KEY…]: a health check that is as quick as one may be.
brisk() {
    printf 'health_check = { protocol = "%s", interval = 5, timeout = 2, healthy_threshold = 2, unhealthy_threshold = 2' "$1"
    (($# == 1)) || printf ', %s' "${@:2}"
    echo ' }'
}

# attributes 'NAME = VALUE'…
attributes() {
    printf 'attributes = {'
    printf ' %s,' "$@" | sed -E 's/ ([a-z0-9_.]+) =/ "\1" =/g; s/,$//'
    echo ' }'
}

# Ends a check that has been made with the other kind of device, if devices have no part in it.
whatever_the_device() {
    [[ $backend == offload ]] || skip "no device has a part in it"
}

# start_balanced: the side forwarder, with the balanced file.
start_balanced() {
    start_side "$balanced_file"
}

# From the file as it is now.
reload() {
    exits 0 briefly "$sidegate" reload --config "$balanced_file"
}

# start_members NUMBER…
start_members() {
    local number
    for number; do
        start_member "$number"
    done
}

# start_member NUMBER: its process id is in `members`.
start_member() {
    local home="$scratch/member-$1"
    mkdir -p "$home"
    member_config "$home" "809$1" >"$home/nginx.conf"
    start_at "member-$1" "$provider" nginx -p "$home" -c "$home/nginx.conf" -e stderr
    members[$1]=$started
    await 5 "member $1" bound "$provider" tcp "809$1"
}

# stop_member NUMBER
stop_member() {
    stop "${members[$1]}"
    forget "${members[$1]}"
}

# member_config HOME PORT
member_config() {
    cat <<END
user root;
daemon off;
worker_processes 1;
pid $1/pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
    log_format check '\$remote_addr \$http_host \$http_user_agent';
    access_log off;
    keepalive_requests 1000000;
    server {
        listen $2;
        listen [::]:$2;
        root $www/\$server_addr;
        location = / { access_log $1/asked; return 200 "\$remote_addr \$server_addr:\$server_port\n"; }
        location = /check { access_log $1/checked check; return 200; }
        location = /teapot { return 418; }
        location = /for-a { root $www; }
    }
}
END
}

# well FILE ADDRESS…: from now on the file is there, at these addresses.
well() {
    local address
    for address in "${@:2}"; do
        mkdir -p "$www/$address"
        touch "$www/$address/$1"
    done
}

# unwell FILE ADDRESS…
unwell() {
    local address
    for address in "${@:2}"; do
        rm "$www/$address/$1"
    done
}

# Every address of a range is the namespace's own, until the check ends: add_range NAMESPACE RANGE
add_range() {
    ip -n "$1" route add local "$2" dev lo
    afterwards ip -n "$1" route del local "$2" dev lo
}

# asked NUMBER…: how many requests these members have had, all together.
asked() {
    local number
    for number; do
        cat "$scratch/member-$number/asked" 2>/dev/null || true
    done | wc -l
}

# targets_are STATE [GROUP [PORT|ADDRESS [REASON]]]: whether there are such targets, and all are in this state.
targets_are() {
    targets_json | jq --exit-status --arg state "$1" --arg group "${2:-}" --arg which "${3:-}" --arg reason "${4:-}" '
        map(select(([.group, ""] | index($group)) and ([.address, "\(.port)", ""] | index($which))))
        | length > 0 and all(.state == $state and ($reason == "" or .reason == $reason))'
}

targets_json() {
    "$sidegate" targets --json --config "$balanced_file"
}

# closed CAUSE: how many flows have ended so.
closed() {
    "$sidegate" status --json --config "$balanced_file" | jq --arg cause "$1" '.flows.closed[$cause] // 0'
}

# answers DOOR NUMBER [CURL-OPTION…]: what members say, on a connection each.
answers() {
    fetch "$consumer_a" --header 'Connection: close' "${@:3}" "http://$1/?[1-$2]"
}

# who_answers DOOR NUMBER [CURL-OPTION…]: each once.
who_answers() {
    answers "$@" | cut -d' ' -f2 | sort -u | paste -sd' '
}

# who_is_reached PORT [NAMESPACE DOOR]: by many new connections; each target once.
who_is_reached() {
    # shellcheck disable=SC2016 # for the inner shell
    at "${2:-$consumer_a}" bash -c 'for ((connection = 0; connection < 40; connection++)); do
            exec {said}<>"/dev/tcp/$0/$1" && read -r target <&"$said" && exec {said}>&- && echo "$target"
        done' "${3:-$side_door}" "$1" | sort -u | paste -sd' '
}

# wrk_is_undisturbed SECONDS URL [OPTION…]: no error at all.
wrk_is_undisturbed() {
    local report
    report=$(at "$consumer_a" "${wrk[@]}" --duration "$1s" "${@:2}")
    echo "$report"
    wrk_has_no_errors <<<"$report"
}

# wrk's report is on the standard input.
wrk_has_no_errors() {
    local errors
    errors=$(grep -E 'Socket errors|Non-2xx' || true)
    [[ -z $errors ]] || fail "wrk counts errors: $errors"
}

# hold PORT:TARGETS…: connections to these ports, several to each of so many targets, which say their address; see held.py.
hold() {
    start_at held "$consumer_a" /usr/bin/python3 scripts/lib/held.py "$side_door" "$@"
    held=$started
    await 20 "connections to each target" held_or_ended
    running "$held" || fail "held.py ended: $(tail -n 1 "$scratch/held.log")"
}

start_named() {
    start_at named "$provider" /usr/bin/python3 scripts/lib/named.py "$named_port"
    await 5 "the target that says its address" bound "$provider" tcp "$named_port"
}

held_or_ended() {
    grep -qx ready "$scratch/held.log" || ended "$held"
}

# await_resets SECONDS PORT TARGET: every connection to it is reset.
await_resets() {
    await "$1" "the connections to $3 by port $2 to be reset" all_said reset "$2" "$3"
}

# still_held 'PORT TARGET'…: not one of these connections has ended, and all of them still speak.
still_held() {
    local which
    kill -USR1 "$held"
    for which; do
        # shellcheck disable=SC2086 # two words
        await 5 "every connection of '$which' to speak" all_said answered $which
    done
}

# all_said WHAT PORT TARGET: of every connection to it.
all_said() {
    local opened
    opened=$(said opened "$2" "$3")
    ((opened > 0 && $(said "$@") == opened))
}

# said WHAT PORT TARGET: of how many connections.
said() {
    grep -cx "$2 $3 $1" "$scratch/held.log" || true
}
