# shellcheck shell=bash
# Checks of traffic that must not pass: the path is one way.
#
# Each first shows the same programs at work where they are allowed. "Nothing arrived" is read from a capture in the
# consumer once a packet that was sent later is seen there: so it is not a matter of waiting long enough.

# A program at the target's own address, on another port, tries the (node, source port) of a live connection:
# stranger_cannot_join_connection FAMILY
stranger_cannot_join_connection() {
    local node_port consumer_port before
    capture "$consumer_a"
    converse TCP "$(door nat "$1" echo)"
    say one
    node_port=$(peer_port "$provider" --tcp "sport = :7007")
    consumer_port=$(local_port "$consumer_a" --tcp "dport = :7")
    before=$(counted one_way)
    exits 1 at "$provider" socat -u OPEN:/dev/null \
        "TCP:$(bracketed "$(node "$1")"):$node_port,bind=$(bracketed "$(target "$1")"):9999,connect-timeout=1"
    await 5 "a counted drop" counted_more one_way "$before"
    say two
    await 5 "the second answer in the capture" captured_count 2 "$consumer_a" " > .*\.$consumer_port: .*length 4\$"
    captured_count 0 "$consumer_a" " > .*\.$consumer_port: Flags \[S\]" || fail "the consumer got a SYN"
    only_captured "$consumer_a" "\.(${consumer_port})[ :]"
}

# The same over UDP: stranger_cannot_join_datagrams FAMILY
stranger_cannot_join_datagrams() {
    local node_port consumer_port before
    capture "$consumer_a"
    capture "$provider"
    converse UDP "$(door nat "$1" echo)"
    say one
    consumer_port=$(local_port "$consumer_a" --udp "dport = :7")
    await 5 "the datagram at the provider" captured_count 1 "$provider" " > .*\.7007: "
    node_port=$(captured "$provider" | sed -nE 's/.*\.([0-9]+) > .*\.7007: .*/\1/p' | head -n 1)
    before=$(counted one_way)
    at "$provider" socat -u - \
        "UDP:$(bracketed "$(node "$1")"):$node_port,bind=$(bracketed "$(target "$1")"):9998" <<<stray
    await 5 "a counted drop" counted_more one_way "$before"
    say two
    await 5 "the second answer in the capture" captured_count 2 "$consumer_a" " > .*\.$consumer_port: "
    only_captured "$consumer_a" "\.(${consumer_port})[ :]"
    equal "what the consumer heard" "$(cat "$scratch/heard")" $'one\ntwo'
}

# The provider routes the consumer's own address to sidegate's device, and knocks: route_leads_nowhere FAMILY
route_leads_nowhere() {
    local consumer=10.1.0.2 before namespace
    [[ $1 == v4 ]] || consumer=fd01::2
    for namespace in "$consumer_a" "$consumer_b"; do
        start_at "bait-$namespace" "$namespace" socat TCP6-LISTEN:4444,ipv6only=0,reuseaddr,fork SYSTEM:'echo open'
        await 5 "the bait" bound "$namespace" tcp 4444
        equal "what the consumer's own programs get" "$(knock "$namespace" "$consumer")" open
        capture "$namespace"
    done
    before=$(counted unknown_address)
    ip -n "$provider" route add "$consumer" dev "$(device_in "$provider")"
    exits 1 knock "$provider" "$consumer"
    at "$provider" socat -u - "UDP:$(bracketed "$consumer"):4444" <<<stray
    await 5 "two counted drops" counted_more unknown_address "$((before + 1))"
    ip -n "$provider" route del "$consumer"
    for namespace in "$consumer_a" "$consumer_b"; do
        whoami_at "$namespace" "$(door nat "$1")"
        await 5 "allowed traffic in the capture" captured_count 1 "$namespace" 'Flags \[S\.\]'
        captured_count 0 "$namespace" '\.4444[ :]' || fail "a packet of the provider's arrived"
    done
}

# A port without a listener says nothing: no_listener_is_silent FAMILY
no_listener_is_silent() {
    local before
    before=$(counted no_listener)
    exits 28 fetch "$consumer_a" --connect-timeout 1 "http://$(bracketed "$(host_of "$(door nat "$1")")"):81/"
    counted_more no_listener "$before" || fail "the drop was not counted"
}

# knock NAMESPACE ADDRESS
knock() {
    at "$1" socat -T 1 -u "TCP:$(bracketed "$2"):4444,connect-timeout=1" -
}

# converse TCP|UDP DOOR: opens a conversation between consumer a and the echo service, for `say`.
converse() {
    mkfifo "$scratch/mouth"
    start_at conversation "$consumer_a" \
        socat -t 1 "OPEN:$scratch/mouth,rdonly!!CREATE:$scratch/heard" "$1:$2"
    conversation=$started
    exec {mouth}>"$scratch/mouth"
    rm "$scratch/mouth"
}

# say WORD: and hear it.
say() {
    echo "$1" >&"$mouth"
    await 5 "the answer to '$1'" grep -qx "$1" "$scratch/heard"
}

# The port at the other end of an established socket: peer_port NAMESPACE --tcp|--udp FILTER
peer_port() {
    at "$1" ss --no-header --numeric "$2" state established "$3" | awk '{sub(/.*:/, "", $4); print $4}'
}

# The port at this end: local_port NAMESPACE --tcp|--udp FILTER
local_port() {
    at "$1" ss --no-header --numeric "$2" state established "$3" | awk '{sub(/.*:/, "", $3); print $3}'
}
