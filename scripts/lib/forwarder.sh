# shellcheck shell=bash
# The forwarder under test: its file, starting it, asking it.
#
# The shared one serves every check. A check that stops or kills one starts the side one: another instance with
# addresses of its own in the same namespaces.

sidegate=${SIDEGATE:-target/release/sidegate}
readonly shared_file="$scratch/shared.toml" side_file="$scratch/side.toml"
readonly side_door=10.1.9.51 side_door_v6=fd01:9::51 side_node=10.2.9.2
forwarder=

# Starts the shared forwarder, unless it runs.
ensure_forwarder() {
    [[ -z $forwarder ]] || ! running "$forwarder" || return 0
    {
        operators_file "$lab" 10.1.9.50 fd01:9::50 10.2.9.1 fd02:9::1
        translating_service
    } >"$shared_file"
    operators_file "$lab-side" "$side_door" "$side_door_v6" "$side_node" fd02:9::2 >"$side_file"
    start forwarder "$sidegate" run --config "$shared_file"
    forwarder=$started
    await_ready forwarder "$forwarder"
}

# Stops the shared forwarder: the next check gets a new one.
drop_forwarder() {
    stop "$forwarder"
    forwarder=
}

# start_side [FILE]: leaves its process id in `side`.
start_side() {
    start side "$sidegate" run --config "${1:-$side_file}"
    side=$started
    await_ready side "$side"
}

# await_ready NAME PID
await_ready() {
    await 10 "sidegate to be ready or to end" ready_or_ended "$1" "$2"
    running "$2" || fail "sidegate ended: $(tail -n 3 "$scratch/$1.log")"
}

ready_or_ended() {
    grep -q '^ready' "$scratch/$1.log" || ! running "$2"
}

# counted REASON [FILE]: how many packets the forwarder has counted under that reason.
counted() {
    "$sidegate" status --json --config "${2:-$shared_file}" |
        jq --exit-status --arg reason "$1" '.verdicts[] | select(.reason == $reason) | .count'
}

# counted_more REASON BEFORE [FILE]
counted_more() {
    (($(counted "$1" "${3:-}") > $2))
}

# door nat|terminate|splice v4|v6|v6-to-v4 [SERVICE]: the URL's host and port at the endpoint.
door() {
    local host port
    case $2 in
        v4) host=10.1.9.50 ;;
        v6) host='[fd01:9::50]' ;;
        v6-to-v4) host='[fd01:9::53]' ;;
    esac
    case $1-${3:-web} in
        nat-web) port=80 ;;
        terminate-web) port=8443 ;;
        splice-web) port=8445 ;;
        nat-bulk) port=5201 ;;
        terminate-bulk) port=5202 ;;
        splice-bulk) port=5203 ;;
        nat-echo) port=7 ;;
        terminate-echo) port=77 ;;
        splice-echo) port=78 ;;
        nat-digest) port=9 ;;
        terminate-digest) port=99 ;;
        splice-digest) port=98 ;;
        nat-closed) port=82 ;;
        terminate-closed) port=83 ;;
        nat-far) port=90 ;;
        terminate-far) port=91 ;;
        splice-far) port=95 ;;
        nat-beyond) port=92 ;;
        terminate-beyond) port=93 ;;
        splice-beyond) port=97 ;;
        terminate-streams) port=94 ;;
        splice-streams) port=100 ;;
        terminate-websocket) port=96 ;;
        terminate-tls) port=443 ;;
    esac
    echo "$host:$port"
}

# The address that targets see: node v4|v6
node() {
    if [[ $1 == v4 ]]; then echo 10.2.9.1; else echo fd02:9::1; fi
}

# The target's address: target v4|v6
target() {
    if [[ $1 == v4 ]]; then echo 10.2.0.2; else echo fd02::2; fi
}

# An address as it stands in front of a port.
bracketed() {
    if [[ $1 == *:* ]]; then echo "[$1]"; else echo "$1"; fi
}

# The address in what `door` says.
host_of() {
    sed -E 's/:[0-9]+$//; s/^\[(.*)\]$/\1/' <<<"$1"
}

# operators_file NAME DOOR_V4 DOOR_V6 NODE_V4 NODE_V6: a service for each family, the same in all but addresses.
operators_file() {
    printf '[run]\nname   = "%s"\ndevice = "%s"\n' "$1" "$backend"
    service v4 "$2" "$4" 10.2.0.2 10.2.7.2 10.2.8.2
    service v6 "$3" "$5" fd02::2 fd02:7::2 fd02:8::2
}

# service FAMILY DOOR NODE TARGET FAR_TARGET TARGET_BEYOND
service() {
    cat <<END

[[service]]
name      = "orders-$1"
namespace = "$provider"
nodes     = [{ zone = "a", address = "$3" }]
listeners = [
  { protocol = "tcp", port = 80,   forward = "web-$1" },
  { protocol = "tcp", port = 8443, forward = "web-$1", path = "terminate" },
  { protocol = "tcp", port = 8445, forward = "web-$1", path = "splice" },
  { protocol = "tcp", port = 5201, forward = "bulk-$1" },
  { protocol = "tcp", port = 5202, forward = "bulk-$1", path = "terminate" },
  { protocol = "tcp", port = 5203, forward = "bulk-$1", path = "splice" },
  { protocol = "tcp", port = 7,    forward = "echo-$1" },
  { protocol = "tcp", port = 77,   forward = "echo-$1", path = "terminate" },
  { protocol = "tcp", port = 78,   forward = "echo-$1", path = "splice" },
  { protocol = "tcp", port = 9,    forward = "digest-$1" },
  { protocol = "tcp", port = 99,   forward = "digest-$1", path = "terminate" },
  { protocol = "tcp", port = 98,   forward = "digest-$1", path = "splice" },
  { protocol = "tcp", port = 82,   forward = "closed-$1" },
  { protocol = "tcp", port = 83,   forward = "closed-$1", path = "terminate" },
  { protocol = "tcp", port = 90,   forward = "far-$1" },
  { protocol = "tcp", port = 91,   forward = "far-$1", path = "terminate" },
  { protocol = "tcp", port = 95,   forward = "far-$1", path = "splice" },
  { protocol = "tcp", port = 92,   forward = "beyond-$1" },
  { protocol = "tcp", port = 93,   forward = "beyond-$1", path = "terminate" },
  { protocol = "tcp", port = 97,   forward = "beyond-$1", path = "splice" },
  { protocol = "tcp", port = 94,   forward = "streams-$1", path = "terminate" },
  { protocol = "tcp", port = 100,  forward = "streams-$1", path = "splice" },
  { protocol = "tcp", port = 96,   forward = "websocket-$1", path = "terminate" },
  { protocol = "tcp", port = 443,  forward = "tls-$1", path = "terminate" },
  { protocol = "udp", port = 7,    forward = "echo-$1" },
  { protocol = "udp", port = 53,   forward = "dns-$1" },
  { protocol = "udp", port = 82,   forward = "closed-$1" },
  { protocol = "udp", port = 92,   forward = "echo-beyond-$1" },
]
END
    target_group "web-$1" "$4" 8080
    target_group "bulk-$1" "$4" 5201
    target_group "echo-$1" "$4" 7007
    target_group "digest-$1" "$4" 7009
    target_group "closed-$1" "$4" 9
    target_group "far-$1" "$5" 8080
    target_group "beyond-$1" "$6" 8080
    target_group "streams-$1" "$4" 7011
    target_group "websocket-$1" "$4" 7012
    target_group "tls-$1" "$4" 8444
    target_group "dns-$1" "$4" 5353
    target_group "echo-beyond-$1" "$6" 7007
    endpoint "a-$1" "orders-$1" "$consumer_a" "$2"
    endpoint "b-$1" "orders-$1" "$consumer_b" "$2"
}

# A consumer on IPv6 in front of targets on IPv4.
translating_service() {
    cat <<END

[[service]]
name      = "translating"
namespace = "$provider"
nodes     = [{ zone = "a", address = "10.2.9.3" }]
listeners = [
  { protocol = "tcp", port = 80, forward = "web-v4", path = "terminate" },
  { protocol = "tcp", port = 94, forward = "streams-v4", path = "terminate" },
]
END
    endpoint translating translating "$consumer_a" fd01:9::53
}

# target_group NAME ADDRESS PORT
target_group() {
    cat <<END

[[target_group]]
name    = "$1"
targets = [{ address = "$2", port = $3 }]
END
}

# endpoint NAME SERVICE NAMESPACE ADDRESS
endpoint() {
    cat <<END

[[endpoint]]
name       = "$1"
service    = "$2"
namespace  = "$3"
interfaces = [{ zone = "a", address = "$4" }]
END
}
