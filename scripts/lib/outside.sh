# shellcheck shell=bash
# Checks of what an endpoint looks like to somebody who looks around in the consumer's network.

# Of a few hundred ports, the listeners' are open, or closed where the target refuses; all others are silent:
# nmap_sees_listeners FAMILY
nmap_sees_listeners() {
    local port report listeners silent
    # The doors to iperf3 one after the other: it stops listening for a moment after each connection.
    for port in 5202 5203; do
        equal "the door to iperf3" "$(scanned open "$(scan "$1" "$port")")" "$port"
    done
    listeners=$(listening_ports tcp | grep -vxE '5202|5203')
    report=$(scan "$1" "1-250,$(paste -sd, <<<"$listeners")")
    echo "$report"
    equal "the list of open ports" "$(scanned open "$report")" "$(grep -vxE '82|83' <<<"$listeners" | paste -sd,)"
    equal "the list of refusing ports" "$(scanned closed "$report")" 82,83
    silent=$((250 - $(awk '$1 <= 250' <<<"$listeners" | wc -l)))
    contains "the scan" "$report" "Ignored State: filtered ($silent)"
    note "$silent ports are silent"
}

# What nmap finds on the ports of an endpoint, once iperf3 listens: scan FAMILY PORTS
scan() {
    await 10 "iperf3's listener" bound "$provider" tcp 5201
    at "$consumer_a" nmap "-${1#v}" -sT -Pn -n --max-retries 1 --max-rtt-timeout 200ms -oG - \
        -p "$2" "$(host_of "$(door nat "$1")")"
}

# scanned STATE REPORT: the ports in that state.
scanned() {
    grep -oE "[0-9]+/$1/" <<<"$2" | cut -d/ -f1 | sort -n | paste -sd,
}

# listening_ports PROTOCOL: of the services' listeners, one a line.
listening_ports() {
    sed -nE "s/.*protocol = \"$1\", port = ([0-9]+),.*/\1/p" "$shared_file" | sort -nu
}

# By UDP and by ICMP nobody on the way answers: traceroute_is_blind FAMILY
traceroute_is_blind() {
    local method hops
    for method in default icmp; do
        hops=$(hops_to "$(door nat "$1")" "$1" "--module=$method" --max-hops=4)
        equal "the hops by $method" "$hops" $'1 *\n2 *\n3 *\n4 *'
    done
}

# By TCP to a listener's port the endpoint is the last hop, and the only one that shows:
# traceroute_ends_at_door PATH FAMILY
traceroute_ends_at_door() {
    local at_door hops visible
    at_door=$(door "$1" "$2")
    hops=$(hops_to "$at_door" "$2" --module=tcp "--port=${at_door##*:}" --max-hops=8)
    visible=$(sed '/ \*$/d' <<<"$hops")
    equal "the hops that show themselves" "$visible" "$(wc -l <<<"$hops") $(host_of "$at_door")"
    note "hop ${visible%% *}"
}

# hops_to DOOR FAMILY OPTION…: a line each, its number and who answered.
hops_to() {
    local host family=$2
    host=$(host_of "$1")
    shift 2
    at "$consumer_a" traceroute "-${family#v}" -n --queries=1 --wait=0.3 "$@" "$host" |
        awk 'NR > 1 {print $1, $2}'
}

# Nobody answers a ping, and it is counted: ping_is_not_answered FAMILY
ping_is_not_answered() {
    local before
    before=$(counted ping)
    exits 1 ping_door "$(host_of "$(door nat "$1")")"
    counted_more ping "$before" || fail "the drop was not counted"
}

# ping_door HOST
ping_door() {
    at "$consumer_a" ping -n -c 1 -W 0.5 "$1"
}

# With `icmp = "helpful"` the endpoint answers a ping, shows itself to traceroute, and names the MTU:
# helpful_one_answers FAMILY
helpful_one_answers() {
    local file="$scratch/helpful.toml" at_door="$side_door:7"
    [[ $1 == v4 ]] || at_door="[$side_door_v6]:7"
    sed '/^\[run\]/a icmp = "helpful"' "$side_file" >"$file"
    start_side "$file"
    ping_door "$(host_of "$at_door")"
    equal "the pings that were answered" "$(counted ping_answered "$file")" 1
    equal "the first hop" "$(hops_to "$at_door" "$1" --module=tcp --port=7 --max-hops=1)" "1 $(host_of "$at_door")"
    equal "the packets with their TTL at its end that were answered" "$(counted ttl_expired_answered "$file")" 1
    equal "a packet of one byte too many" "$(datagram "$1" "$at_door" $((path_mtu + 1)))" "too big: $path_mtu"
    equal "the long packets that were answered" "$(counted over_mtu_answered "$file")" 1
    equal "one that fits" "$(datagram "$1" "$at_door" "$path_mtu")" echoed
}
