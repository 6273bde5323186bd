# shellcheck shell=bash
# Checks of what is too long: for sidegate's path, and for a link behind it.

# datagram FAMILY DOOR LENGTH: sends consumer a's datagram in a packet of that length, with DF, and says what came of it.
datagram() {
    local headers=28
    [[ $1 == v4 ]] || headers=48
    at "$consumer_a" /usr/bin/python3 scripts/lib/datagram.py "$(host_of "$2")" "${2##*:}" $(($3 - headers))
}

# A datagram comes back whole up to the path's MTU; a larger one disappears, is counted, and draws no ICMP:
# path_mtu_holds FAMILY
path_mtu_holds() {
    local at_door before
    at_door=$(door nat "$1" echo)
    capture "$consumer_a"
    equal "a packet of $path_mtu bytes" "$(datagram "$1" "$at_door" "$path_mtu")" echoed
    before=$(counted over_mtu)
    equal "a packet of one byte more" "$(datagram "$1" "$at_door" $((path_mtu + 1)))" silence
    equal "the drops counted" "$(($(counted over_mtu) - before))" 1
    equal "a small packet after that" "$(datagram "$1" "$at_door" 100)" echoed
    await 5 "the last echo in the capture" captured_count 2 "$consumer_a" ' length: (72|52)$| UDP, length (72|52)$'
    captured_count 5 "$consumer_a" . || fail "not five packets but these: $(captured "$consumer_a")"
    only_captured "$consumer_a" 'UDP'
    [[ $1 == v6 ]] || only_captured "$consumer_a" 'flags \[DF\]'
}

# A closed UDP port at the target is a refusal at the endpoint, by ICMP: closed_datagram_port_refuses FAMILY
closed_datagram_port_refuses() {
    local before
    before=$(counted icmp_forwarded)
    equal "a datagram to a closed port" "$(datagram "$1" "$(door nat "$1" closed)" 100)" refused
    counted_more icmp_forwarded "$before" || fail "the ICMP error was not counted"
}

# The last link before the target gets a smaller MTU while an upload runs. The router's ICMP error reaches whoever sends:
# on nat and splice the consumer, to whom it comes from the endpoint; on terminate sidegate's own TCP, and the consumer sees
# nothing. The upload arrives whole: smaller_mtu_is_learnt PATH FAMILY
smaller_mtu_is_learnt() {
    local counter=icmp_forwarded before url
    [[ $1 != terminate ]] || counter=icmp_terminated
    url="http://$(door "$1" "$2" beyond)"
    before=$(counted "$counter")
    afterwards forget_mtu
    capture "$consumer_a" icmp or icmp6
    start_at upload "$consumer_a" "${curl[@]}" --max-time 20 --limit-rate 50M \
        --upload-file "$www/blob" "$url/up/beyond"
    local upload=$started
    await 5 "20 MB to arrive" uploading "$beyond" 20M
    far_mtu 1400
    wait "$upload" || fail "the upload ended: $(cat "$scratch/upload.log")"
    equal "the uploaded file's checksum" "$(digest_of "$www/up/beyond")" "$blob_digest"
    counted_more "$counter" "$before" || fail "no ICMP error was counted as $counter"
    note "$(($(counted "$counter") - before)) ICMP errors"
    if [[ $1 != terminate ]]; then
        error_is_the_doors "$2"
    else
        captured_count 0 "$consumer_a" . || fail "ICMP reached the consumer: $(captured "$consumer_a")"
    fi
}

# Whether an upload of that size is under way to nginx: uploading NAMESPACE SIZE
uploading() {
    [[ -n $(find "$scratch/nginx-$1/body" -size "+$2") ]]
}

# The errors in the consumer's capture are as long as they may be, come from the endpoint, quote what the consumer sent to
# it, and say nothing of the provider; and the consumer's kernel has taken the MTU to heart: error_is_the_doors FAMILY
error_is_the_doors() {
    local at_door=10.1.9.50 consumer=10.1.0.2 length=576 error
    [[ $1 == v4 ]] || { at_door=fd01:9::50 consumer=fd01::2 length='payload length: 1240'; }
    await 5 "the error in the capture" captured_any "$consumer_a" 'mtu 1400'
    error=" $length\) +$at_door > $consumer: .*ICMP.*mtu 1400"
    # tcpdump shows only IPv4's quote; but the kernel, too, believes only what quotes a packet of its own.
    [[ $1 == v6 ]] || error+=".* $consumer\.[0-9]+ > $at_door\.9[27]: "
    only_captured "$consumer_a" "$error"
    ! captured "$consumer_a" | grep -E ' (10\.2\.|fd02:)' || fail "an address of the provider's in the capture"
    contains "the consumer's route" "$(ip -n "$consumer_a" route get "$at_door")" "mtu 1400"
}

forget_mtu() {
    far_mtu "$path_mtu"
    ip -n "$consumer_a" route flush cache
    ip -n "$consumer_a" -6 route flush cache
}
