# shellcheck shell=bash
# Checks of datagrams that travel in fragments.

# 20 KB datagrams from both consumers, which have the same addresses, at once: 200 each that their kernels cut, and 200
# each that are cut by hand so that both use the same identifications. All come back byte for byte, from a target that
# cuts them too: fragments_stay_apart FAMILY MTU
fragments_stay_apart() {
    local how consumer before
    afterwards forget_mtu
    far_mtu "$2"
    for consumer in "$consumer_a" "$consumer_b"; do
        afterwards route_mtu "$consumer" "$1" 0
        route_mtu "$consumer" "$1" "$2"
    done
    before=$(counted fragment_forwarded)
    for how in whole forged; do
        briefly /usr/bin/python3 scripts/lib/fragments.py "$how" 200 "$(host_of "$(door nat "$1" beyond)")" 92 "$2" \
            "$consumer_a" "$consumer_b"
    done
    note "$(($(counted fragment_forwarded) - before)) fragments"
}

# route_mtu NAMESPACE FAMILY MTU: of the way to the endpoint, as if the consumer's own link had that MTU; 0 for none.
route_mtu() {
    local route
    route=$(ip -n "$1" "-${2#v}" route show "$(host_of "$(door nat "$2")")" | sed 's/ mtu [0-9]*//; s/ pref [a-z]*//')
    # shellcheck disable=SC2086 # a destination and its attributes
    ip -n "$1" "-${2#v}" route change $route mtu "$3"
}
