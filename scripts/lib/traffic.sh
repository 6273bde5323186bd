# shellcheck shell=bash
# Checks of traffic that is meant to pass, and of what it looks like on the wire.

readonly curl=(curl --silent --show-error --fail --noproxy '*' --connect-timeout 5 --max-time 60)

# fetch NAMESPACE [CURL-OPTION…] URL
fetch() {
    local namespace=$1
    shift
    at "$namespace" "${curl[@]}" "$@"
}

# whoami_at NAMESPACE DOOR: who the target says is asking.
whoami_at() {
    fetch "$1" --max-time 5 "http://$2/whoami"
}

# The target answers, and sees the node as its client: curl_answers PATH FAMILY
curl_answers() {
    local answer
    answer=$(whoami_at "$consumer_a" "$(door "$1" "$2")")
    equal "the client that the target sees" "${answer%% *}" "$(node "$2")"
}

# The terminate path may change the family on the way.
curl_changes_family() {
    local answer
    answer=$(whoami_at "$consumer_a" "[fd01:9::53]:80")
    equal "the client that the target sees" "${answer%% *}" 10.2.9.3
}

# A target behind a router of the provider's: curl_reaches_second_hop PATH FAMILY
curl_reaches_second_hop() {
    local url
    url="http://$(door "$1" "$2" far)"
    equal "the client that the target sees" "$(fetch "$consumer_a" "$url/whoami" | cut -d' ' -f1)" "$(node "$2")"
    fetch "$consumer_a" --output "$scratch/far" "$url/for-a"
    cmp "$scratch/far" "$www/for-a"
    fetch "$consumer_a" --upload-file "$www/for-b" "$url/up/far"
    cmp "$www/up/far" "$www/for-b"
}

# 100 MB each way, compared by checksum: curl_keeps_bytes PATH FAMILY
curl_keeps_bytes() {
    local url got
    url="http://$(door "$1" "$2")"
    got=$(fetch "$consumer_a" "$url/blob" | sha256sum | cut -d' ' -f1)
    equal "the downloaded file's checksum" "$got" "$blob_digest"
    fetch "$consumer_a" --upload-file "$www/blob" "$url/up/blob"
    equal "the uploaded file's checksum" "$(digest_of "$www/up/blob")" "$blob_digest"
}

# The consumer ends its side, and the target still answers: half_close_answers PATH FAMILY
half_close_answers() {
    local got
    got=$(at "$consumer_a" socat -t 20 - "TCP:$(door "$1" "$2" digest)" <"$www/blob" | cut -d' ' -f1)
    equal "the checksum that came back after our FIN" "$got" "$blob_digest"
}

# Both consumers at once, from the same address and port to the same address and port, each fetch a file of their own. Nobody
# reads what they get until both are seen to be open. The port is none that the kernel gives to others, whose TIME-WAIT would be in
# the way: consumers_stay_apart PATH FAMILY LOCAL_PORT
consumers_stay_apart() {
    local url clinging=("${curl[@]}" --local-port "$3")
    url="http://$(door "$1" "$2")"
    local before
    before=$(connections_at_target "$2")
    mkfifo "$scratch/got-a" "$scratch/got-b"
    start_at fetch-a "$consumer_a" "${clinging[@]}" --output "$scratch/got-a" "$url/for-a"
    local a=$started
    start_at fetch-b "$consumer_b" "${clinging[@]}" --output "$scratch/got-b" "$url/for-b"
    local b=$started
    afterwards cat "$scratch/fetch-a.log" "$scratch/fetch-b.log"
    await 5 "two more connections with different ports at the target" target_sees_two_more "$2" "$before"
    timeout 20 cmp "$scratch/got-a" "$www/for-a"
    timeout 20 cmp "$scratch/got-b" "$www/for-b"
    wait "$a" || fail "consumer a: $(cat "$scratch/fetch-a.log")"
    wait "$b" || fail "consumer b: $(cat "$scratch/fetch-b.log")"
    rm "$scratch/got-a" "$scratch/got-b"
}

# Whether the target has two connections from the node that are not among those of BEFORE (another check's may still be open):
# target_sees_two_more FAMILY BEFORE
target_sees_two_more() {
    local now
    now=$(connections_at_target "$1")
    (($(comm -13 <(echo "$2") <(echo "$now") | wc -l) == 2))
}

# The addresses and ports that the node has connections from to the target's web server: connections_at_target FAMILY
connections_at_target() {
    at "$provider" ss --no-header --numeric --tcp state established "sport = :8080 and dst $(bracketed "$(node "$1")")" |
        awk '{print $4}' | sort -u
}

# One stream each way: iperf3_moves PATH FAMILY
iperf3_moves() {
    local there back
    there=$(iperf3_rate "$1" "$2")
    back=$(iperf3_rate "$1" "$2" --reverse)
    note "$there Mb/s to the target, $back Mb/s back"
    ((there > 100 && back > 100)) || fail "$there Mb/s to the target, $back Mb/s back: that is a stall, not a path"
}

# iperf3_rate PATH FAMILY [OPTION…]: Mb/s as received.
iperf3_rate() {
    local at_door
    at_door=$(door "$1" "$2" bulk)
    shift 2
    at "$consumer_a" iperf3 --client "$(host_of "$at_door")" --port "${at_door##*:}" --time 3 --json "$@" |
        jq '.end.sum_received.bits_per_second / 1e6 | floor'
}

# 64 requests at a time on connections that stay open, then on one connection each, and no error: wrk_is_served PATH
wrk_is_served() {
    local kept opened
    kept=$(wrk_rate "$1")
    opened=$(wrk_rate "$1" --header 'Connection: close')
    note "$kept requests/s, $opened connections/s"
}

# wrk_rate PATH [OPTION…]: per second
wrk_rate() {
    local report url
    url="http://$(door "$1" v4)/whoami"
    shift
    report=$(at "$consumer_a" wrk --threads 2 --connections 64 --duration 2s "$@" "$url")
    echo "$report" >&2
    ! grep -qE 'Socket errors|Non-2xx' <<<"$report" || fail "wrk counts errors: $(grep -E 'errors|Non-2xx' <<<"$report")"
    awk '/Requests\/sec/ {printf "%d\n", $2}' <<<"$report"
}

# A name server over UDP: dig_resolves FAMILY
dig_resolves() {
    local ask=(dig +short +tries=1 +time=2 orders.test "@$(host_of "$(door nat "$1")")")
    equal "the A record" "$(at "$consumer_a" "${ask[@]}" A)" 192.0.2.7
    equal "the AAAA record" "$(at "$consumer_b" "${ask[@]}" AAAA)" 2001:db8::7
}

# A closed port at the target is a refusal at the endpoint, at once: refused_target_refuses PATH FAMILY
refused_target_refuses() {
    exits 7 fetch "$consumer_a" --verbose --connect-timeout 2 "http://$(door "$1" "$2" closed)/"
    contains "curl" "$output" "Connection refused"
}

# The SYN as the consumer sends it and as the provider gets it, and the SYN-ACK on its way back: the MSS is clamped, the
# TTL is one lower, the source is the node, and nothing else has changed: handshake_is_rewritten FAMILY CEILING
handshake_is_rewritten() {
    capture "$consumer_a"
    capture "$provider"
    whoami_at "$consumer_a" "$(door nat "$1")"
    await 5 "the SYN at the provider" packet "$provider" S
    await 5 "the SYN-ACK at the consumer" packet "$consumer_a" S.
    contains "the SYN at the provider" "$(packet "$provider" S)" " $(node "$1")."
    rewritten_to "$2" "$(packet "$consumer_a" S)" "$(packet "$provider" S)"
    rewritten_to "$2" "$(packet "$provider" S.)" "$(packet "$consumer_a" S.)"
    note "MSS $(mss_in "$(packet "$consumer_a" S)") became $(mss_in "$(packet "$provider" S)")"
}

# rewritten_to CEILING SENT RECEIVED
rewritten_to() {
    printf '%s\n' "sent $2" "received $3"
    (($(mss_in "$2") > $1)) || fail "the sender's own MSS is $(mss_in "$2"): there is nothing to clamp"
    (($(mss_in "$3") <= $1)) || fail "MSS $(mss_in "$3") on the wire, over $1"
    equal "the TTL" "$(ttl_in "$3")" "$(($(ttl_in "$2") - 1))"
    equal "what has to stay" "$(unchanging "$3")" "$(unchanging "$2")"
}
