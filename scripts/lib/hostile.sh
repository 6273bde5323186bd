# shellcheck shell=bash
# Checks of hostile packets, sent raw through sidegate's devices while ordinary traffic goes on.

# Hand-made ones, each kind counted as what it is: crafted_packets_are_counted consumer|provider FAMILY
crafted_packets_are_counted() {
    local namespace=$consumer_a source=10.1.0.2 destination
    [[ $2 == v4 ]] || source=fd01::2
    destination=$(host_of "$(door nat "$2")")
    if [[ $1 == provider ]]; then
        namespace=$provider
        source=$(target "$2")
        destination=$(node "$2")
    fi
    start_ordinary_traffic
    briefly /usr/bin/python3 scripts/lib/crafted.py "$1" "$namespace" "$(device_in "$namespace")" \
        "$source" "$destination" "$sidegate" status --json --config "$shared_file" 2>&1 |
        tee "$scratch/crafted.log" || fail "$(tail -n 1 "$scratch/crafted.log")"
    ordinary_traffic_was_undisturbed
    note "$(tail -n 1 "$scratch/crafted.log") packets"
}

# A hundred thousand random mutations of what comes to sidegate in ordinary traffic here.
mutations_are_survived() {
    local seed=$RANDOM$RANDOM since=$EPOCHREALTIME
    echo "seed $seed"
    afterwards keep_recording_of_failure "$seed"
    record_traffic
    start_ordinary_traffic
    briefly /usr/bin/python3 scripts/lib/mutations.py 100000 "$seed" \
        "$consumer_a" "$(device_in "$consumer_a")" "$scratch/$consumer_a.pcap" \
        "$provider" "$(device_in "$provider")" "$scratch/$provider.pcap"
    ordinary_traffic_was_undisturbed
    note "seed $seed, $(((${EPOCHREALTIME/./} - ${since/./}) / 1000000)) s"
}

# With the seed, the recording makes the same mutations again: keep_recording_of_failure SEED
keep_recording_of_failure() {
    [[ -e $scratch/why ]] || return 0
    local kept="${TMPDIR:-/tmp}/sidegate-mutations-$1"
    mkdir -p "$kept"
    cp "$scratch"/*.pcap "$kept"
    echo "the recorded traffic is kept in $kept"
}

# Something of everything that sidegate gets, recorded on both sides: TCP on every path, datagrams whole and in
# fragments, ICMP.
record_traffic() {
    local namespace family
    for namespace in "$consumer_a" "$provider"; do
        start_at "record-$namespace" "$namespace" \
            tcpdump -n -U --immediate-mode --direction=out -i "$(device_in "$namespace")" -w "$scratch/$namespace.pcap"
        await 5 "tcpdump to listen" grep -q 'listening on' "$scratch/record-$namespace.log"
    done
    afterwards forget_mtu
    far_mtu 1500
    for family in v4 v6; do
        afterwards route_mtu "$consumer_a" "$family" 0
        route_mtu "$consumer_a" "$family" 1500
        whoami_at "$consumer_a" "$(door nat "$family")"
        whoami_at "$consumer_a" "$(door terminate "$family")"
        whoami_at "$consumer_a" "$(door splice "$family")"
        dig_resolves "$family"
        datagram "$family" "$(door nat "$family" echo)" 1000
        datagram "$family" "$(door nat "$family" closed)" 100
        briefly /usr/bin/python3 scripts/lib/fragments.py whole 5 "$(host_of "$(door nat "$family" beyond)")" 92 1500 \
            "$consumer_a"
    done
}

# New connections of both consumers, a few at a time, for as long as no one fails.
start_ordinary_traffic() {
    local path family consumer
    ordinary=()
    for path in nat terminate splice; do
        for family in v4 v6; do
            for consumer in "$consumer_a" "$consumer_b"; do
                start_at "ordinary-$path-$family-$consumer" "$consumer" "${curl[@]}" --fail-early --rate 50/s \
                    --header 'Connection: close' "http://$(door "$path" "$family")/whoami?[1-1000000]"
                ordinary+=("$started")
            done
        done
    done
}

# Nothing of it has failed, every kind of connection opens still, and every packet has been counted.
ordinary_traffic_was_undisturbed() {
    local pid path family
    for pid in "${ordinary[@]}"; do
        running "$pid" || fail "ordinary traffic failed: $(grep -h '^curl' "$scratch"/ordinary-*.log)"
        stop "$pid"
    done
    for family in v4 v6; do
        dig_resolves "$family"
        for path in nat terminate splice; do
            whoami_at "$consumer_a" "$(door "$path" "$family")"
            whoami_at "$consumer_b" "$(door "$path" "$family")"
        done
    done
    ! grep -i panic "$scratch/forwarder.log" || fail "sidegate panicked"
    await 5 "as many verdicts as frames" every_frame_has_its_verdict
}

# A fragment that is kept is counted again by how it ends.
every_frame_has_its_verdict() {
    "$sidegate" status --json --config "$shared_file" |
        jq --exit-status '([.verdicts[] | select(.outcome != "kept").count] | add) == ([.devices[].received.frames] | add)
            and .flows.live == .flows.opened - ([.flows.closed[]] | add // 0)'
}
