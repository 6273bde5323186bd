# shellcheck shell=bash
# What tcpdump sees on sidegate's devices, a line for each packet.

# capture NAMESPACE [FILTER…]: what is on the device there, from now on.
capture() {
    capture_on "$1" "$(device_in "$1")" "${@:2}"
}

# capture_on NAMESPACE DEVICE [FILTER…]
capture_on() {
    local namespace=$1
    start_at "capture-$namespace" "$namespace" tcpdump -n -v -S -l --immediate-mode -i "$2" "${@:3}"
    await 5 "tcpdump to listen" grep -q 'listening on' "$scratch/capture-$namespace.log"
}

# captured NAMESPACE: the packets so far; what an ICMP error quotes is on its line.
captured() {
    sed -E ':join; $!N; s/\n( {4,}|\t)/ /; t join; P; D' "$scratch/capture-$1.log" | grep -E '^[0-9:.]+ IP6? ' || true
}

# captured_count NUMBER NAMESPACE PATTERN: whether so many packets match.
captured_count() {
    (($(captured "$2" | grep -cE "$3") == $1))
}

# captured_any NAMESPACE PATTERN: whether a packet matches.
captured_any() {
    captured "$1" | grep -qE "$2"
}

# only_captured NAMESPACE PATTERN: every packet matches.
only_captured() {
    local others
    others=$(captured "$1" | grep -vE "$2" || true)
    [[ -z $others ]] || fail "packets that should not be there: $others"
}

# packet NAMESPACE FLAGS: the first TCP packet with exactly these flags.
packet() {
    captured "$1" | grep -m 1 -F "Flags [$2]"
}

# The device that a forwarder made in a namespace; the shared one's, unless an address of another's is given.
device_in() {
    ip -n "$1" -json route get "${2:-$(door_or_node "$1")}" | jq -r '.[0].dev'
}

door_or_node() {
    if [[ $1 == "$provider" ]]; then node v4; else host_of "$(door nat v4)"; fi
}

mss_in() {
    sed -nE 's/.*mss ([0-9]+).*/\1/p' <<<"$1"
}

ttl_in() {
    sed -nE 's/.*(ttl|hlim) ([0-9]+).*/\2/p' <<<"$1"
}

# A packet without what a rewrite changes: time, addresses and ports, TTL, checksum, MSS.
unchanging() {
    sed -E 's/^[0-9:.]+ //; s/[^ ]+ > [^ ]+: //; s/(ttl|hlim) [0-9]+//; s/cksum [^,]*, //; s/mss [0-9]+//' <<<"$1"
}
