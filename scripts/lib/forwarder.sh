# shellcheck shell=bash
# The forwarder under test: its file, starting it, asking it.
#
# The shared one serves every check. A check that stops or kills one starts the side one: another instance with
# addresses of its own in the same namespaces.

sidegate=${SIDEGATE:-target/release/sidegate}
readonly shared_file="$scratch/shared.toml" side_file="$scratch/side.toml"
readonly side_door=10.1.9.51 side_node=10.2.9.2
forwarder=

# Starts the shared forwarder, unless it runs.
ensure_forwarder() {
    [[ -z $forwarder ]] || ! running "$forwarder" || return 0
    operators_file "$lab" 10.1.9.50 fd01:9::50 10.2.9.1 fd02:9::1 >"$shared_file"
    operators_file "$lab-side" "$side_door" fd01:9::51 "$side_node" fd02:9::2 >"$side_file"
    start forwarder "$sidegate" run --config "$shared_file"
    forwarder=$started
    await_ready forwarder "$forwarder"
}

# Stops the shared forwarder: the next check gets a new one.
drop_forwarder() {
    stop "$forwarder"
    forwarder=
}

# start_side: leaves its process id in `side`.
start_side() {
    start side "$sidegate" run --config "$side_file"
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

# counted_more REASON BEFORE
counted_more() {
    (($(counted "$1") > $2))
}

# door nat|terminate v4|v6 [SERVICE]: the URL's host and port at the endpoint.
door() {
    local host=10.1.9.50 port
    [[ $2 == v4 ]] || host='[fd01:9::50]'
    case $1-${3:-web} in
        nat-web) port=80 ;;
        terminate-web) port=8443 ;;
        nat-bulk) port=5201 ;;
        terminate-bulk) port=5202 ;;
        nat-echo) port=7 ;;
        terminate-echo) port=77 ;;
        nat-digest) port=9 ;;
        terminate-digest) port=99 ;;
        nat-closed) port=82 ;;
        terminate-closed) port=83 ;;
        nat-far) port=90 ;;
        terminate-far) port=91 ;;
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

# operators_file NAME DOOR_V4 DOOR_V6 NODE_V4 NODE_V6
operators_file() {
    cat <<END
[run]
name = "$1"

[[service]]
name      = "orders"
namespace = "$provider"
nodes     = [{ zone = "a", address = "$4" }, { zone = "a", address = "$5" }]
listeners = [
  { protocol = "tcp", port = 80,   forward = "web" },
  { protocol = "tcp", port = 8443, forward = "web", path = "terminate" },
  { protocol = "tcp", port = 5201, forward = "bulk" },
  { protocol = "tcp", port = 5202, forward = "bulk", path = "terminate" },
  { protocol = "tcp", port = 7,    forward = "echo" },
  { protocol = "tcp", port = 77,   forward = "echo", path = "terminate" },
  { protocol = "tcp", port = 9,    forward = "digest" },
  { protocol = "tcp", port = 99,   forward = "digest", path = "terminate" },
  { protocol = "tcp", port = 82,   forward = "closed" },
  { protocol = "tcp", port = 83,   forward = "closed", path = "terminate" },
  { protocol = "tcp", port = 90,   forward = "far" },
  { protocol = "tcp", port = 91,   forward = "far", path = "terminate" },
  { protocol = "udp", port = 7,    forward = "echo" },
  { protocol = "udp", port = 53,   forward = "dns" },
]
$(target_group web 8080 10.2.0.2 fd02::2)
$(target_group bulk 5201 10.2.0.2 fd02::2)
$(target_group echo 7007 10.2.0.2 fd02::2)
$(target_group digest 7009 10.2.0.2 fd02::2)
$(target_group closed 9 10.2.0.2 fd02::2)
$(target_group far 8080 10.2.7.2 fd02:7::2)
$(target_group dns 5353 10.2.0.2 fd02::2)
$(endpoint orders-a "$consumer_a" "$2" "$3")
$(endpoint orders-b "$consumer_b" "$2" "$3")
END
}

# target_group NAME PORT ADDRESS_V4 ADDRESS_V6
target_group() {
    cat <<END

[[target_group]]
name    = "$1"
targets = [{ address = "$3", port = $2 }, { address = "$4", port = $2 }]
END
}

# endpoint NAME NAMESPACE ADDRESS_V4 ADDRESS_V6
endpoint() {
    cat <<END

[[endpoint]]
name       = "$1"
service    = "orders"
namespace  = "$2"
interfaces = [{ zone = "a", address = "$3" }, { zone = "a", address = "$4" }]
END
}
