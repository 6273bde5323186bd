# shellcheck shell=bash
# Checks of reload: what it ends, what it leaves alone, when it takes effect, and that a thousand of them leave nothing.

# A target is removed: what becomes of its flows is what each group says. One that is added again goes on as if it had
# never been away.
removed_target_meets_attributes() {
    local one=10.2.16.1 two=10.2.16.2 port group download
    deregistering "$one" "$one" "$two" >"$balanced_file"
    add_range "$provider" 10.2.16.0/22
    start_members 9
    start_named
    start_balanced
    await 5 "healthy targets" targets_are healthy
    hold 101:2 102:2 103:2 105:2
    start_at download "$consumer_a" "${curl[@]}" --limit-rate 16M --output "$scratch/downloaded" \
        "http://$side_door:104/for-a"
    download=$started
    await 5 "the download to begin" test -s "$scratch/downloaded"
    deregistering '' '' "$two" >"$balanced_file"
    reload
    contains "what the reload says" "$output" "$one"
    for group in kept ended back; do
        targets_are draining "$group" "$one" Target.DeregistrationInProgress || fail "$one is not draining in $group"
    done
    for port in 101 102 103; do
        equal "who takes new connections by port $port" "$(who_is_reached "$port")" "$two"
    done
    equal "the number of resets before the delay has ended" "$(said reset 102 "$one")" 0
    deregistering '' "$one" "$two" >"$balanced_file"
    reload
    await_resets 6 102 "$one"
    await_resets 6 105 "$one"
    equal "the number of flows that ended as deregistered" \
        "$(closed deregistered)" "$(($(said reset 102 "$one") + $(said reset 105 "$one")))"
    await 5 "the end of the delay where flows are kept" not_in_group kept "$one"
    await 5 "it to be healthy again where it was added again" targets_are healthy back "$one"
    equal "who takes new connections by port 103" "$(who_is_reached 103)" "$one $two"
    still_held "101 $one" "101 $two" "102 $two" "103 $one" "103 $two" "105 $two"
    wait "$download" || fail "the download broke off: $(tail -n 1 "$scratch/download.log")"
    cmp "$scratch/downloaded" "$www/for-a"
}

# deregistering ONE ONE_OF_BACK TWO: the targets' addresses; the first may be missing, or missing but in one group.
deregistering() {
    local targets back short='deregistration_delay.timeout_seconds = 3'
    local terminates='deregistration_delay.connection_termination.enabled = true'
    targets="${1:+$(at_address "$1" "$named_port")}$(at_address "$3" "$named_port")"
    back="${2:+$(at_address "$2" "$named_port")}$(at_address "$3" "$named_port")"
    instance
    published leaving "$side_node" '101 kept' '102 ended' '103 back' '104 download' '105 ended terminate'
    endpoint leaving leaving "$consumer_a" "$side_door"
    group kept "$targets" "$(attributes "$short")"
    group ended "$targets" "$(attributes "$short" "$terminates")"
    group back "$back" "$(brisk tcp)" "$(attributes "$short" "$terminates")"
    group download "${1:+$(at_address "$1" 8099)}" "$(attributes "$short")"
}

# not_in_group GROUP ADDRESS
not_in_group() {
    targets_json | jq --exit-status --arg group "$1" --arg address "$2" \
        'all(.group != $group or .address != $address)'
}

# A listener and an endpoint are removed, and their flows end; another endpoint comes. What stays is not disturbed, not
# even by a file with mistakes. SIGHUP is a reload, too.
removed_things_end_their_flows() {
    local one=10.2.16.1
    add_range "$provider" 10.2.16.0/22
    start_named
    open_doors "$one" '101 web' '102 web' >"$balanced_file"
    endpoint staying web "$consumer_a" "$side_door" >>"$balanced_file"
    start_balanced
    hold 101:1 102:1
    open_doors "$one" '101 web' '102 wbe' >"$balanced_file"
    exits 1 briefly "$sidegate" reload "$lab-side"
    contains "what the reload says" "$output" wbe "nothing was changed"
    open_doors "$one" '101 web' >"$balanced_file"
    endpoint staying web "$consumer_a" "$side_door" >>"$balanced_file"
    endpoint coming web "$consumer_b" "$second_door" >>"$balanced_file"
    kill -HUP "$side"
    await_resets 6 102 "$one"
    equal "the number of flows that ended as removed" "$(closed removed)" "$(said reset 102 "$one")"
    await 5 "the new endpoint to work" new_door_opens
    still_held "101 $one"
    open_doors "$one" '101 web' >"$balanced_file"
    endpoint coming web "$consumer_b" "$second_door" >>"$balanced_file"
    reload
    await_resets 6 101 "$one"
    await 5 "the route to be removed" no_route_to "$consumer_a" "$side_door"
    new_door_opens
}

# open_doors TARGET LISTENER…
open_doors() {
    instance
    published web "$side_node" "${@:2}"
    group web "$(at_address "$1" "$named_port")"
}

new_door_opens() {
    [[ $(who_is_reached 101 "$consumer_b" "$second_door") == 10.2.16.1 ]]
}

# no_route_to NAMESPACE ADDRESS
no_route_to() {
    [[ -z $(ip -n "$1" route show "$2") ]]
}

# A reload takes effect only after the delay: not at once, and then all of it.
reload_is_propagated() {
    local since
    whatever_the_device
    {
        instance 'propagation_delay = 2'
        web_behind 8091
    } >"$balanced_file"
    start_members 1 2
    start_balanced
    equal "who answers" "$(who_answers "$side_door" 1)" 10.2.0.2:8091
    {
        instance 'propagation_delay = 2'
        web_behind 8092
    } >"$balanced_file"
    since=$EPOCHREALTIME
    reload
    equal "who answers" "$(who_answers "$side_door" 20)" 10.2.0.2:8091
    await 5 "the new target to answer" answered_by_member_2
    note "after $(milliseconds_since "$since") ms"
    (($(milliseconds_since "$since") >= 2000)) || fail "in effect after $(milliseconds_since "$since") ms"
}

# web_behind PORT
web_behind() {
    published web "$side_node" '80 web'
    group web "$(at_port "$1")"
    endpoint web web "$consumer_a" "$side_door"
}

answered_by_member_2() {
    [[ $(who_answers "$side_door" 1) == 10.2.0.2:8092 ]]
}

# Reloads, a thousand a minute, while connections are open and come and go on nat and on terminate: targets, weights, services and
# endpoints come and go as well. No request fails, no stream breaks off, and nothing is left.
reloads_disturb_nobody() {
    local seconds=$((reloads * 60 / 1000)) before pid path cause slowest took early late
    make_variants
    start_members 1 2 3
    start_at iperf3-second "$provider" iperf3 --server --port 5203
    await 5 "a second iperf3" bound "$provider" tcp 5203
    start_balanced
    before=$(what_it_holds)
    start_streams "$((seconds + 1))"
    reload_often "$seconds"
    note "$reloads in $took s, the slowest took $slowest ms"
    for pid in "${streams[@]}"; do
        wait "$pid" || fail "a stream broke off: $(tail -qn 2 "$scratch"/stream-*.log)"
    done
    for path in nat terminate; do
        wrk_has_no_errors <"$scratch/stream-kept-$path.log"
        wrk_has_no_errors <"$scratch/stream-opened-$path.log"
    done
    for cause in unhealthy deregistered removed; do
        equal "the number of flows that ended as $cause" "$(closed "$cause")" 0
    done
    # The flow table takes memory as flows come: so this is judged with none.
    reload_often 0
    note "$(cat "$scratch/note"); as many without flows: $early KiB became $late KiB"
    ((late - early < 3072)) || fail "without flows it has grown from $early to $late KiB"
    cp "$scratch/variant-0" "$balanced_file"
    reload
    await 10 "it to hold what it held before: $before" holds_again "$before"
}

# The files that follow each other; the first is in force.
make_variants() {
    reloaded_file "$(at_port 8091)$(at_port 8092)" >"$scratch/variant-0"
    reloaded_file "$(at_port 8091 'weight = 3')$(at_port 8092)$(at_port 8093)" >"$scratch/variant-1"
    {
        reloaded_file "$(at_port 8092)$(at_port 8091)"
        published more "$second_node" '80 web'
        endpoint more more "$consumer_b" "$second_door"
    } >"$scratch/variant-2"
    cp "$scratch/variant-0" "$balanced_file"
}

# On nat and on terminate a bulk transfer, connections that stay, and connections that are made for one request each; for so many
# seconds. Their process ids are in `streams`: start_streams SECONDS
start_streams() {
    local path port
    streams=()
    for path in nat terminate; do
        port=$([[ $path == nat ]] && echo 5201 || echo 5202)
        start_stream "bulk-$path" iperf3 --client "$side_door" --port "$port" --time "$1"
        port=$([[ $path == nat ]] && echo 80 || echo 81)
        start_stream "kept-$path" "${wrk[@]}" --duration "$1s" "http://$side_door:$port/"
        start_stream "opened-$path" "${wrk[@]}" --duration "$1s" --header 'Connection: close' "http://$side_door:$port/"
    done
}

# start_stream NAME COMMAND…
start_stream() {
    start_at "stream-$1" "$consumer_a" "${@:2}"
    streams+=("$started")
}

# As often as `reloads` says, within so many seconds; leaves what reloads.py prints in `slowest`, `took`, `early` and
# `late`: reload_often SECONDS
reload_often() {
    local patience=$(($1 + 60))
    briefly /usr/bin/python3 scripts/lib/reloads.py "/run/sidegate/$lab-side.sock" "$side" "$balanced_file" \
        "$reloads" "$1" "$scratch"/variant-? >"$scratch/reloads"
    read -r slowest took early late <"$scratch/reloads"
}

# reloaded_file TARGETS: of the group that everybody uses. They are not checked, so that a new one has flows at once.
reloaded_file() {
    instance
    published web "$side_node" '80 web' '81 web terminate' '82 checked' '5201 bulk' '5202 more-bulk terminate'
    group web "$1"
    group checked "$(at_port 8091)$(at_port 8092)" "$(brisk http 'path = "/check"')"
    group bulk "$(at_port 5201)"
    group more-bulk "$(at_port 5203)"
    endpoint web web "$consumer_a" "$side_door"
}

# Open descriptors, devices and routes.
what_it_holds() {
    local namespace
    find "/proc/$side/fd" -type l | wc -l
    for namespace in "$consumer_a" "$consumer_b" "$provider"; do
        ip -n "$namespace" -json link show type tun | jq 'map(select(.ifname)) | length'
        ip -n "$namespace" route show | wc -l
    done | paste -sd' '
}

# holds_again WHAT
holds_again() {
    [[ $(what_it_holds) == "$1" ]]
}
