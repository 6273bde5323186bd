# shellcheck shell=bash
# The lab: network namespaces of its own, the programs in them, and ways to wait for a condition.
#
#   consumer_a, consumer_b   10.1.0.2, fd01::2: both have the same addresses
#   provider                 10.2.0.2, fd02::2: the targets; by its link `hop` it forwards to
#   behind                   10.2.7.2, fd02:7::2: a target behind a second hop; by its link `far` it forwards to
#   beyond                   10.2.8.2, fd02:8::2: a target behind a third, on a link whose MTU can be lowered
#
# Every name carries this process's id, so that labs can stand side by side. Only what was started here is stopped.

lab="sg-$$"
consumer_a="$lab-a"
consumer_b="$lab-b"
provider="$lab-p"
behind="$lab-t"
beyond="$lab-u"
scratch="${TMPDIR:-/tmp}/$lab"
children=()

readonly consumer_addresses=(10.1.0.2/32 fd01::2/128)
readonly provider_addresses=(10.2.0.2/32 fd02::2/128)
readonly path_mtu=8500 # what sidegate carries, unless its file says otherwise

build_lab() {
    mkdir "$scratch"
    chmod 755 "$scratch" # one check reads it as nobody
    add_namespace "$consumer_a" "${consumer_addresses[@]}"
    add_namespace "$consumer_b" "${consumer_addresses[@]}"
    add_namespace "$provider" "${provider_addresses[@]}"
    add_namespace "$behind"
    add_namespace "$beyond"
    add_link "$provider" hop "$behind" 10.2.7 fd02:7
    add_link "$behind" far "$beyond" 10.2.8 fd02:8
    add_routes
    forwarding "$provider" 1
    forwarding "$behind" 1
    far_mtu "$path_mtu"
}

remove_lab() {
    local namespace pid
    stop_children
    for namespace in "$consumer_a" "$consumer_b" "$provider" "$behind" "$beyond"; do
        [[ -e /run/netns/$namespace ]] || continue
        # Children of our programs that outlived them.
        for pid in $(ip netns pids "$namespace"); do kill -KILL "$pid" 2>/dev/null; done
        ip netns del "$namespace"
    done
    # What an instance leaves that was killed: only its next start would remove it.
    rm -rf "$scratch" /run/sidegate/"$lab"{,-side}.{sock,lock}
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

# add_link NAMESPACE NAME FURTHER NET_V4 NET_V6: a veth pair of that name at both ends, .1 and ::1 here, .2 and ::2 there.
add_link() {
    ip -n "$1" link add "$2" mtu 9001 type veth peer name "$2" mtu 9001 netns "$3"
    add_address "$1" "$2" "$4.1/24"
    add_address "$1" "$2" "$5::1/64"
    add_address "$3" "$2" "$4.2/24"
    add_address "$3" "$2" "$5::2/64"
    ip -n "$1" link set "$2" up
    ip -n "$3" link set "$2" up
}

# Both ways between the nodes and the namespaces behind the provider.
add_routes() {
    ip -n "$provider" route add 10.2.8.0/24 via 10.2.7.2
    ip -n "$provider" route add fd02:8::/64 via fd02:7::2
    ip -n "$behind" route add 10.2.9.0/24 via 10.2.7.1
    ip -n "$behind" route add fd02:9::/64 via fd02:7::1
    ip -n "$beyond" route add 10.2.9.0/24 via 10.2.8.1
    ip -n "$beyond" route add fd02:9::/64 via fd02:8::1
}

# forwarding NAMESPACE 0|1: whether its kernel passes on packets that are not for it.
forwarding() {
    at "$1" sysctl -qw "net.ipv4.ip_forward=$2" "net.ipv6.conf.all.forwarding=$2"
}

# far_mtu BYTES: of the link to the namespace beyond, at both ends.
far_mtu() {
    ip -n "$behind" link set far mtu "$1"
    ip -n "$beyond" link set far mtu "$1"
}

# at NAMESPACE COMMAND…
at() {
    briefly ip netns exec "$@"
}

# Nothing that a check waits for takes as many seconds as this, unless it hangs. A check may have a `patience` of its own.
patience=60

# briefly COMMAND…
briefly() {
    timeout --foreground "$patience" "$@"
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

# forget PID: it has ended, and its number may soon be somebody else's.
forget() {
    local pid others=()
    for pid in "${children[@]}"; do
        [[ $pid == "$1" ]] || others+=("$pid")
    done
    children=("${others[@]}")
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
