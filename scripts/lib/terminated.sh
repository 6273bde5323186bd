# shellcheck shell=bash
# Checks of our own TCP between real programs: every byte arrives, every end is carried across, nobody waits for more than
# there is, and who does not read holds his sender back.

# Streams both ways at once, and the digests of both directions: streams_arrive FAMILY ROLE NUMBER BYTES [PATH]
streams_arrive() {
    local at_door sum since=$EPOCHREALTIME
    at_door=$(door "${5:-terminate}" "$1" streams)
    sum=$(at "$consumer_a" /usr/bin/python3 scripts/lib/streams_run.py "$2" "$3" "$4" \
        "$(host_of "$at_door")" "${at_door##*:}")
    note "${sum##*$'\n'} MB in $(milliseconds_since "$since") ms"
}

# A gigabyte both ways on one connection; less on a plain device, which is not about speed. Making and hashing it takes a
# slow machine long: gigabyte_arrives FAMILY
gigabyte_arrives() {
    local size=1000000000 patience=150
    [[ $backend == offload ]] || size=200000000
    streams_arrive "$1" both 1 "$size"
}

# Neither reader reads: the senders are held back, sidegate does not grow with what they have, and when the readers read
# again, not a byte is missing: slow_readers_hold_back FAMILY
slow_readers_hold_back() {
    local at_door sent growth
    at_door=$(door terminate "$1" streams)
    at "$consumer_a" /usr/bin/python3 scripts/lib/streams_stall.py 8 64000000 \
        "$(host_of "$at_door")" "${at_door##*:}" "$forwarder" | tee "$scratch/stalled"
    read -r sent growth < <(tail -n 1 "$scratch/stalled")
    note "a sender is held back after $((sent >> 10)) MiB, with 8 of them sidegate has grown by $growth KiB"
    ((sent < 16 << 10)) || fail "a sender got rid of $sent KiB that nobody reads"
    ((growth < 16 << 10)) || fail "sidegate has grown by $growth KiB"
}

# A request over TLS, by openssl, with the target's certificate verified: tls_is_spoken FAMILY
tls_is_spoken() {
    printf 'GET /for-a HTTP/1.0\r\n\r\n' |
        at "$consumer_a" openssl s_client -quiet -connect "$(door terminate "$1" tls)" -servername orders.test \
            -CAfile "$scratch/certificate" -verify_return_error -verify_hostname orders.test |
        LC_ALL=C sed '1,/^\r$/d' >"$scratch/over-tls"
    cmp "$scratch/over-tls" "$www/for-a"
}

# HTTP/2: many requests at a time on each of 32 connections, and every one succeeds: h2load_is_served FAMILY
h2load_is_served() {
    local report
    report=$(at "$consumer_a" h2load --requests=20000 --clients=32 --max-concurrent-streams=16 \
        "https://$(door terminate "$1" tls)/whoami")
    echo "$report"
    contains "h2load" "$report" "Application protocol: h2" "20000 succeeded, 0 failed, 0 errored, 0 timeout"
    note "$(sed -nE 's/^finished in .*, ([0-9.]+) req.*/\1/p' <<<"$report") requests/s"
}

# Messages of all sizes through a WebSocket, and its closing handshake: websocket_converses FAMILY
websocket_converses() {
    local said
    said=$(at "$consumer_a" /usr/bin/python3 scripts/lib/websocket.py converse \
        "ws://$(door terminate "$1" websocket)/")
    equal "the end of the conversation" "$said" "closed as agreed"
}

# Keys come back as they are typed: with no delayed acknowledgement, no timer, in between: typing_shows_at_once FAMILY
typing_shows_at_once() {
    local at_door median most
    at_door=$(door terminate "$1" echo)
    read -r median most < <(at "$consumer_a" /usr/bin/python3 scripts/lib/typing_at.py \
        "$(host_of "$at_door")" "${at_door##*:}" 500)
    note "median $median µs, 95 of 100 within $most µs"
    ((median < 5000 && most < 30000)) || fail "median $median µs, 95 of 100 within $most µs"
}

# Somebody is killed in the middle of a transfer: the other end is told at once, by a reset: killed_end_resets WHO FAMILY
killed_end_resets() {
    local at_door server client victim survivor since
    at_door=$(door terminate "$2" closed)
    start_at streams-server "$provider" /usr/bin/python3 scripts/lib/streams_serve.py 9
    server=$started
    await 5 "the server" bound "$provider" tcp 9
    start_at streams-client "$consumer_a" /usr/bin/python3 scripts/lib/streams_run.py both 1 1000000000000 \
        "$(host_of "$at_door")" "${at_door##*:}"
    client=$started
    await 5 "10 MB to arrive" received_at "$provider" 9 10000000
    if [[ $1 == target ]]; then
        victim=$server survivor=client
    else
        victim=$client survivor=server
    fi
    since=$EPOCHREALTIME
    kill -KILL "$victim"
    await 5 "the other end to see a reset" grep -q "how.*reset" "$scratch/streams-$survivor.log"
    note "$(milliseconds_since "$since") ms"
    (($(milliseconds_since "$since") < 1000)) || fail "the other end saw it only after $(milliseconds_since "$since") ms"
}

# Whether a connection to the port has received so many bytes: received_at NAMESPACE PORT BYTES
received_at() {
    local received
    received=$(at "$1" ss --no-header --numeric --info --tcp state established "sport = :$2" |
        grep -oE 'bytes_received:[0-9]+' | cut -d: -f2)
    ((received >= $3))
}

# A target that says nothing is given thirty seconds; then the consumer, who has waited all the time for an answer to its
# SYN, is refused. Both families at once: silent_target_times_out
silent_target_times_out() {
    local family since took
    [[ $backend == offload ]] || skip "half a minute of waiting for what no device has a part in"
    start_silent_side
    for family in v4 v6; do
        whoami_at "$consumer_a" "$(side_door_of "$family"):80"
    done
    since=$EPOCHREALTIME
    for family in v4 v6; do
        start_at "silent-$family" "$consumer_a" "${curl[@]}" --verbose --connect-timeout 40 \
            "http://$(side_door_of "$family"):84/"
    done
    for family in v4 v6; do
        await 40 "the refusal" grep -q '^curl' "$scratch/silent-$family.log"
        contains "curl" "$(cat "$scratch/silent-$family.log")" "Connection refused"
    done
    took=$(milliseconds_since "$since")
    note "refused after $((took / 1000)) s"
    ((took > 29000 && took < 33000)) || fail "refused after $took ms, not after 30 seconds"
}

# The rules of TCP that a consumer and a target can see, with both played by hand: tcp_rules_hold FAMILY
tcp_rules_hold() {
    local consumer=10.1.0.66 target=10.2.6.2 node=$side_node
    [[ $1 == v4 ]] || consumer=fd01::66 target=fd02:6::2 node=fd02:9::2
    start_silent_side
    whoami_at "$consumer_a" "$(side_door_of "$1"):80"
    briefly /usr/bin/python3 scripts/lib/rules.py \
        "$consumer_a" "$(device_in "$consumer_a" "$side_door")" "$consumer" "$(side_door_of "$1" | tr -d '[]')" \
        "$provider" "$(device_in "$provider" "$side_node")" "$node" "$target" | tee "$scratch/rules"
    note "$(wc -l <"$scratch/rules") rules"
}

# Starts the side forwarder in front of a target that nobody answers for: port 84; port 80 is nginx, as ever.
start_silent_side() {
    local file="$scratch/silent.toml"
    {
        printf '[run]\nname   = "%s-side"\ndevice = "%s"\n' "$lab" "$backend"
        silent_service v4 "$side_door" "$side_node" 10.2.0.2 10.2.6.2
        silent_service v6 "$side_door_v6" fd02:9::2 fd02::2 fd02:6::2
    } >"$file"
    ip -n "$provider" route add blackhole 10.2.6.0/24
    afterwards ip -n "$provider" route del 10.2.6.0/24
    ip -n "$provider" route add blackhole fd02:6::/64
    afterwards ip -n "$provider" route del fd02:6::/64
    start_side "$file"
}

# silent_service FAMILY DOOR NODE TARGET SILENT_TARGET
silent_service() {
    cat <<TOML

[[service]]
name      = "silent-$1"
namespace = "$provider"
nodes     = [{ zone = "a", address = "$3" }]
listeners = [
  { protocol = "tcp", port = 80, forward = "web-$1", path = "terminate" },
  { protocol = "tcp", port = 84, forward = "silent-$1", path = "terminate" },
]
TOML
    target_group "web-$1" "$4" 8080
    target_group "silent-$1" "$5" 7000
    endpoint "silent-$1" "silent-$1" "$consumer_a" "$2"
}

# The side forwarder's endpoint, as a URL has it: side_door_of FAMILY
side_door_of() {
    if [[ $1 == v4 ]]; then echo "$side_door"; else bracketed "$side_door_v6"; fi
}

# milliseconds_since EPOCHREALTIME
milliseconds_since() {
    echo "$(((${EPOCHREALTIME/./} - ${1/./}) / 1000))"
}
