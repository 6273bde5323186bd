# shellcheck shell=bash
# Checks of a forwarder's life: stopping, dying, being started twice, and namespaces that come and go.

# Asked to stop: exit status 0, and nothing is left: signal_leaves_nothing TERM|INT
signal_leaves_nothing() {
    local status=0
    start_side
    whoami_at "$consumer_a" "$side_door:80"
    kill "-$1" "$side"
    wait "$side" || status=$?
    equal "the exit status" "$status" 0
    side_is_gone || fail "a route or a device is still there"
}

# SIGKILL: the kernel cleans up, the next start works, and a connection from before is reset.
sigkill_then_start() {
    start_side
    converse TCP "$side_door:7"
    say one
    kill_side
    await 5 "devices and routes to vanish" side_is_gone
    start_side
    whoami_at "$consumer_a" "$side_door:80"
    echo two >&"$mouth"
    # What others have sent to closed connections meanwhile takes from the same allowance of resets: a later try may be the first heard.
    await 15 "the old connection to be reset" ended "$conversation"
    (($(counted no_flow_reset "$side_file") > 0)) || fail "the reset was not counted"
}

side_is_gone() {
    local namespace
    for namespace in "$consumer_a" "$consumer_b" "$provider"; do
        # Only the shared forwarder's device is left.
        (($(ip -n "$namespace" -json link show type tun | jq 'map(select(.ifname)) | length') == 1)) || return 1
        [[ -z $(ip -n "$namespace" route show "$side_door") ]] || return 1
        [[ -z $(ip -n "$namespace" route show "$side_node") ]] || return 1
    done
}

# Start, SIGKILL, start, and so on: nothing is left of any round, and the kernel holds little for a device. Other
# programs' memory comes and goes meanwhile; hence the medians.
killed_many_times() {
    local namespaces at_first before idle held=() left=() since=$EPOCHREALTIME per_device per_round on_average
    namespaces=$(our_namespaces)
    at_first=$(kernel_memory)
    idle=$at_first
    for ((round = 0; round < rounds; round++)); do
        before=$idle
        start_side
        held+=($((($(kernel_memory) - before) / 3)))
        kill_side
        await 5 "devices and routes of round $round to vanish" side_is_gone
        ! grep -q "$lab-side" /proc/net/unix || fail "the kernel still knows the socket of round $round"
        idle=$(kernel_memory)
        left+=($((idle - before)))
    done
    per_device=$(median "${held[@]}")
    per_round=$(median "${left[@]}")
    on_average=$(((idle - at_first) / rounds))
    note "$rounds rounds in $(((${EPOCHREALTIME/./} - ${since/./}) / 1000000)) s:" \
        "$per_device kB of kernel memory per device, $per_round kB left by a round, $on_average kB on average"
    ((per_device < 1024)) || fail "the kernel holds $per_device kB per device, not less than 1024"
    # A device that stayed would be three times 500 kB; less than half of one is other programs' noise.
    ((per_round < 256)) || fail "the kernel holds $per_round kB more after a round"
    # What is too little for one round to show, the slope of many does.
    ((rounds < 200 || on_average < 32)) || fail "each of $rounds rounds leaves $on_average kB in the kernel"
    equal "the list of namespaces" "$(our_namespaces)" "$namespaces"
    start_side
    whoami_at "$consumer_a" "$side_door:80"
    stop "$side"
    side_is_gone || fail "a route or a device is still there"
    [[ -z $(find /run/sidegate -name "$lab-side*") ]] || fail "a file is still in /run/sidegate"
}

# Others may come and go on the same machine.
our_namespaces() {
    ip netns list | awk -v ours="^$lab" '$1 ~ ours {print $1}' | sort | paste -sd,
}

# Ends the side forwarder the hard way.
kill_side() {
    kill -KILL "$side"
    wait "$side" 2>/dev/null || true
    forget "$side"
}

# What the kernel holds for itself, in kB: neither free (pages that a processor keeps for its next allocation are),
# nor a cache, nor a program's.
kernel_memory() {
    cat /proc/sys/vm/stat_refresh
    awk -v page="$(($(getconf PAGESIZE) / 1024))" '
        /^ +count:/ {kb["PerProcessor:"] += $2 * page; next}
        {kb[$1] = $2}
        END {print kb["MemTotal:"] - kb["MemFree:"] - kb["PerProcessor:"] - kb["Buffers:"] - kb["Cached:"] \
            - kb["AnonPages:"] - kb["SReclaimable:"] - kb["PageTables:"]}' /proc/meminfo /proc/zoneinfo
}

# median NUMBER…
median() {
    printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"
}

# The same file a second time: a clear error, and the first is undisturbed.
second_start_is_refused() {
    exits 2 briefly "$sidegate" run --config "$shared_file"
    contains "the error" "$output" "$lab"
    running "$forwarder" || fail "the first has ended"
    whoami_at "$consumer_a" "$(door nat v4)"
    whoami_at "$consumer_b" "$(door terminate v6)"
}

# A namespace that is deleted and made again has no device of ours, until sidegate notices.
replaced_namespace_is_attached() {
    local since
    whoami_at "$consumer_a" "$(door nat v4)"
    ip netns del "$consumer_a"
    add_namespace "$consumer_a" "${consumer_addresses[@]}"
    since=$EPOCHREALTIME
    await 3 "the endpoint to work again" whoami_at "$consumer_a" "$(door nat v4)"
    note "$(((${EPOCHREALTIME/./} - ${since/./}) / 1000)) ms"
    whoami_at "$consumer_a" "$(door terminate v6)"
    contains "the log" "$(cat "$scratch/forwarder.log")" "$consumer_a"
}

# A namespace that is gone takes its own endpoint along and nothing else, and may come back.
missing_namespace_is_survived() {
    ip netns del "$consumer_b"
    whoami_at "$consumer_a" "$(door nat v4)"
    whoami_at "$consumer_a" "$(door terminate v6)"
    await 5 "consumer b's endpoints to be marked down" only_consumer_a_is_up
    add_namespace "$consumer_b" "${consumer_addresses[@]}"
    await 5 "the endpoint to work again" whoami_at "$consumer_b" "$(door nat v4)"
}

only_consumer_a_is_up() {
    "$sidegate" status --json --config "$shared_file" |
        jq --exit-status '[.endpoints[] | select(.up).name] | sort == ["a-v4", "a-v6", "translating"]'
}
