# shellcheck shell=bash
# The lab: network namespaces of its own, the programs in them, and ways to wait for a condition.
#
#   consumer_a, consumer_b   10.1.0.2, fd01::2: both have the same addresses
#   provider                 10.2.0.2, fd02::2: the targets; it forwards to
#   behind                   10.2.7.2, fd02:7::2: a target behind a second hop
#
# Every name carries this process's id, so that labs can stand side by side. Only what was started here is stopped.

lab="sg-$$"
consumer_a="$lab-a"
consumer_b="$lab-b"
provider="$lab-p"
behind="$lab-t"
scratch="${TMPDIR:-/tmp}/$lab"
children=()

readonly consumer_addresses=(10.1.0.2/32 fd01::2/128)
readonly provider_addresses=(10.2.0.2/32 fd02::2/128)

build_lab() {
    mkdir "$scratch"
    chmod 755 "$scratch" # one check reads it as nobody
    add_namespace "$consumer_a" "${consumer_addresses[@]}"
    add_namespace "$consumer_b" "${consumer_addresses[@]}"
    add_namespace "$provider" "${provider_addresses[@]}"
    add_namespace "$behind"
    add_second_hop
}

remove_lab() {
    local namespace pid
    stop_children
    for namespace in "$consumer_a" "$consumer_b" "$provider" "$behind"; do
        [[ -e /run/netns/$namespace ]] || continue
        # Children of our programs that outlived them.
        for pid in $(ip netns pids "$namespace"); do kill -KILL "$pid" 2>/dev/null; done
        ip netns del "$namespace"
    done
    rm -rf "$scratch"
}

# add_namespace NAME ADDRESS…: with the addresses on its loopback device.
add_namespace() {
    local namespace=$1 address
    shift
    ip netns add "$namespace"
    ip -n "$namespace" link set lo up
    for address in "$@"; do
        add_address "$namespace" lo "$address"
    done
    # A namespace may only choose what its host allows.
    at "$namespace" sysctl -qw net.ipv4.tcp_congestion_control=cubic 2>/dev/null ||
        at "$namespace" sysctl -qw net.ipv4.tcp_congestion_control=reno
}

# add_address NAMESPACE DEVICE ADDRESS: an IPv6 one is usable at once.
add_address() {
    if [[ $3 == *:* ]]; then
        ip -n "$1" address add "$3" dev "$2" nodad
    else
        ip -n "$1" address add "$3" dev "$2"
    fi
}

# A veth pair from the provider to the namespace behind it, which knows the way back to the nodes.
add_second_hop() {
    ip -n "$provider" link add hop type veth peer name hop netns "$behind"
    add_address "$provider" hop 10.2.7.1/24
    add_address "$provider" hop fd02:7::1/64
    add_address "$behind" hop 10.2.7.2/24
    add_address "$behind" hop fd02:7::2/64
    ip -n "$provider" link set hop up
    ip -n "$behind" link set hop up
    ip -n "$behind" route add 10.2.9.0/24 via 10.2.7.1
    ip -n "$behind" route add fd02:9::/64 via fd02:7::1
    forwarding 1
}

# forwarding 0|1: whether the provider's kernel passes packets on to the namespace behind it.
forwarding() {
    at "$provider" sysctl -qw "net.ipv4.ip_forward=$1" "net.ipv6.conf.all.forwarding=$1"
}

# at NAMESPACE COMMAND…
at() {
    briefly ip netns exec "$@"
}

# Nothing that a check waits for takes as long as this, unless it hangs: briefly COMMAND…
briefly() {
    timeout --foreground 60 "$@"
}

# start_at NAME NAMESPACE COMMAND…
start_at() {
    local name=$1 namespace=$2
    shift 2
    start "$name" ip netns exec "$namespace" "$@"
}

# start NAME COMMAND…: a program (not a function: it could not be stopped) in the background, its output in a log of
# that name, its process id in `started`.
start() {
    local name=$1
    shift
    : >"$scratch/$name.log" # before anybody reads it: the program may start a little later
    "$@" >>"$scratch/$name.log" 2>&1 </dev/null &
    started=$!
    children+=("$started")
}

stop_children() {
    local pid
    for pid in "${children[@]}"; do
        stop "$pid"
    done
    children=()
}

# stop PID: asks it to end, and makes it end when it has not within five seconds.
stop() {
    local deadline=$((SECONDS + 5))
    kill -TERM "$1" 2>/dev/null || return 0
    while running "$1"; do
        if ((SECONDS >= deadline)); then
            kill -KILL "$1" 2>/dev/null
        fi
        sleep 0.02
    done
}

# running PID: a process that has ended and waits for its parent to ask does not count.
running() {
    local state
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null)
    [[ -n $state && $state != Z ]]
}

ended() {
    ! running "$1"
}

# await SECONDS WHAT COMMAND…: until the command succeeds; at the deadline the check fails.
await() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "timed out waiting for $what"
        sleep 0.02
    done
}

# Whether something in the namespace has bound the port: bound NAMESPACE tcp|udp PORT
bound() {
    [[ -n $(at "$1" ss --no-header --numeric --listening "--$2" "sport = :$3") ]]
}
