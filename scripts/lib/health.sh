# shellcheck shell=bash
# Checks of health checks: what targets see of them, what they find, and what that does to new flows and to open ones.

# Under load one of three members is stopped: after the thresholds nobody is sent there. It comes back, and takes its share.
member_stops_and_returns() {
    local load since fell rose before share
    web_of_three >"$balanced_file"
    start_members 1 2 3
    start_balanced
    await 5 "three healthy targets" targets_are healthy web
    # This one's errors, as the member stops, are not held against anybody.
    start_at load "$consumer_a" "${wrk[@]}" --duration 60s "http://$side_door:81/"
    load=$started
    since=$EPOCHREALTIME
    stop_member 2
    await 20 "its target to be unhealthy" targets_are unhealthy web 8092 Target.FailedHealthChecks
    fell=$(milliseconds_since "$since")
    nobody_comes_to_member_2
    since=$EPOCHREALTIME
    start_member 2
    await 20 "it to be healthy again" targets_are healthy web 8092
    rose=$(milliseconds_since "$since")
    stop "$load"
    before=$(asked 2)/$(asked 1 2 3)
    wrk_is_undisturbed 1 "http://$side_door/" --header 'Connection: close'
    share=$((100 * ($(asked 2) - ${before%/*}) / ($(asked 1 2 3) - ${before#*/})))
    note "unhealthy after $fell ms, healthy again after $rose ms, then $share % of the requests are its own"
    ((share > 20 && share < 47)) || fail "$share % of the requests are its own, not a third"
}

web_of_three() {
    instance
    published web "$side_node" '80 web' '81 web terminate'
    group web "$(at_port 8091)$(at_port 8092)$(at_port 8093)" "$(brisk http 'path = "/check"')"
    endpoint web web "$consumer_a" "$side_door"
}

# New connections, and not one to the second member but those of its checks, which go on.
nobody_comes_to_member_2() {
    local flows
    start_at arrivals "$provider" tcpdump -n -l --immediate-mode -i "$(device_in "$provider" "$side_node")" \
        'dst port 8092 and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn'
    await 5 "tcpdump to listen" grep -q 'listening on' "$scratch/arrivals.log"
    wrk_is_undisturbed 1 "http://$side_door/" --header 'Connection: close'
    wrk_is_undisturbed 1 "http://$side_door:81/" --header 'Connection: close'
    (($(grep -c 'Flags \[S\]' "$scratch/arrivals.log") <= 2)) || fail "connections went to a member that is unhealthy"
    flows=$("$sidegate" flows --json --target 10.2.0.2:8092 --config "$balanced_file" | jq .matching)
    equal "the number of flows to it" "$flows" 0
}

# Every kind of check, and every answer that one may get, over both families at once.
checks_find_what_is_there() {
    local family group
    whatever_the_device
    {
        instance
        checked_service v4 "$side_node" 10.2.0.2
        checked_service v6 fd02:9::2 fd02::2
    } >"$balanced_file"
    start_members 1
    start_balanced
    for family in v4 v6; do
        for group in tcp http https matched elsewhere; do
            await 20 "$group-$family to be healthy" targets_are healthy "$group-$family"
        done
        await 20 "a status that does not match" \
            targets_are unhealthy "other-status-$family" '' Target.ResponseCodeMismatch
        await 20 "no answer" targets_are unhealthy "mute-$family" '' Target.Timeout
        await 20 "a refusal" targets_are unhealthy "closed-$family" '' Target.FailedHealthChecks
        contains "what the member was asked" "$(cat "$scratch/member-1/checked")" \
            "$(side_node_of "$family") $(bracketed "$(side_node_of "$family")"):102 ELB-HealthChecker/2.0" \
            "$(side_node_of "$family") orders.test ELB-HealthChecker/2.0"
    done
    equal "the list of those who have checked" \
        "$(cut -d' ' -f1 "$scratch/member-1/checked" | sort -u | paste -sd' ')" "$side_node fd02:9::2"
}

# checked_service FAMILY NODE TARGET
checked_service() {
    published "checked-$1" "$2" "101 tcp-$1" "102 http-$1" "103 https-$1" "104 matched-$1" "105 elsewhere-$1" \
        "106 other-status-$1" "107 mute-$1" "108 closed-$1"
    group "tcp-$1" "$(at_address "$3" 8091)" "$(brisk tcp)"
    group "http-$1" "$(at_address "$3" 8091)" "$(brisk http 'path = "/check"')"
    group "https-$1" "$(at_address "$3" 8444)" "$(brisk https 'path = "/whoami"')"
    group "matched-$1" "$(at_address "$3" 8091)" "$(brisk http 'path = "/teapot"' 'matcher = "200,418"')"
    group "elsewhere-$1" "$(at_address "$3" 9)" "$(brisk http 'port = 8091' 'path = "/check"' 'host = "orders.test"')"
    group "other-status-$1" "$(at_address "$3" 8091)" "$(brisk http 'path = "/teapot"')"
    # It waits for the end of what it is sent.
    group "mute-$1" "$(at_address "$3" 7009)" "$(brisk http)"
    group "closed-$1" "$(at_address "$3" 9)" "$(brisk tcp)"
}

# side_node_of FAMILY
side_node_of() {
    if [[ $1 == v4 ]]; then echo "$side_node"; else echo fd02:9::2; fi
}

# A check over TCP on the wire: SYN, ACK, FIN from the node's address, and what a target that speaks first says is
# acknowledged; never a reset. Both families at once.
tcp_check_is_polite() {
    local family
    {
        instance
        polite_service v4 10.2.0.2
        polite_service v6 fd02::2
    } >"$balanced_file"
    start_members 1
    start_at speaks-first "$provider" socat TCP6-LISTEN:7014,ipv6only=0,reuseaddr,fork SYSTEM:'echo 220 welcome; cat'
    await 5 "the target that speaks first" bound "$provider" tcp 7014
    # The first checks come with the device.
    start_at wire "$provider" tcpdump -n -S -l --immediate-mode -i any 'tcp port 8091 or tcp port 7014'
    await 5 "tcpdump to listen" grep -q 'listening on' "$scratch/wire.log"
    afterwards cat "$scratch/wire.log"
    start_balanced
    for family in v4 v6; do
        await 5 "a check over $family" check_was 8091 "$family" '^n:S t:S. n:. n:F. (t:. )?t:F. n:.$'
        await 5 "a check over $family of one that speaks first" check_was 7014 "$family" \
            '^n:S t:S. n:. ([nt]:P?. )*n:F. ([nt]:P?. )*t:FP?. (n:. )?n:.$'
    done
    ! grep 'Flags \[R' "$scratch/wire.log" || fail "somebody reset a check"
}

# polite_service FAMILY TARGET
polite_service() {
    published "polite-$1" "$(polite_node "$1")" "80 polite-$1"
    group "polite-$1" "$(at_address "$2" 8091)$(at_address "$2" 7014)" "$(brisk tcp)"
}

# A node that nobody else's checks come from: its ports meet no TIME-WAIT of theirs. polite_node FAMILY
polite_node() {
    if [[ $1 == v4 ]]; then echo 10.2.9.77; else echo fd02:9::77; fi
}

# The flags of the first check there, by node and target, are like the pattern: check_was PORT FAMILY PATTERN
check_was() {
    local node first
    node=$(polite_node "$2")
    first=$(grep -m 1 -oE "$node\.[0-9]+ > [^ ]+\.$1: Flags \[S\]" "$scratch/wire.log" | cut -d' ' -f1)
    [[ -n $first ]] || return 1
    grep -F " $first" "$scratch/wire.log" | sed -E "s/.* $first > .*Flags \[([^]]*)\].*/n:\1/; s/.*Flags \[([^]]*)\].*/t:\1/" |
        paste -sd' ' | grep -qE "$3"
}

# A target of several groups turns unhealthy. What becomes of its flows, and of new ones, is what each group says.
unhealthy_target_meets_attributes() {
    local one=10.2.16.1 two=10.2.16.2 group port
    whatever_the_device
    attributes_of_health "$one" "$two" >"$balanced_file"
    add_range "$provider" 10.2.16.0/22
    well well "$one" "$two"
    start_members 9
    start_named
    start_balanced
    await 5 "healthy targets" targets_are healthy
    hold 101:2 102:2 103:2 104:1 105:2 106:2
    unwell well "$one"
    await 20 "its draining interval" targets_are unhealthy.draining drains "$one"
    equal "the number of resets before it has drained" "$(said reset 103 "$one")" 0
    await_resets 6 103 "$one"
    await_resets 12 101 "$one"
    await_resets 12 106 "$one"
    equal "the number of flows that ended as unhealthy" "$(closed unhealthy)" \
        "$(($(said reset 101 "$one") + $(said reset 103 "$one") + $(said reset 106 "$one")))"
    for group in keeps minimum open; do
        await 20 "it to be unhealthy in $group" targets_are unhealthy "$group" "$one"
    done
    for port in 101 102 103 106; do
        equal "who takes new connections by port $port" "$(who_is_reached "$port")" "$two"
    done
    equal "who takes new connections by port 104" "$(who_is_reached 104)" "$one"
    equal "who takes new connections by port 105" "$(who_is_reached 105)" "$one $two"
    still_held "101 $two" "102 $one" "102 $two" "103 $two" "104 $one" "105 $one" "105 $two" "106 $two"
}

# attributes_of_health ONE TWO
attributes_of_health() {
    local both unhealthy=target_health_state.unhealthy
    local minimum=target_group_health.unhealthy_state_routing.minimum_healthy_targets.count
    both="$(at_address "$1" "$named_port")$(at_address "$2" "$named_port")"
    instance
    published attributes "$side_node" '101 ends' '102 keeps' '103 drains' '104 open' '105 minimum' '106 ends terminate'
    endpoint attributes attributes "$consumer_a" "$side_door"
    group ends "$both" "$(brisk http 'port = 8099' 'path = "/well"')"
    group keeps "$both" "$(brisk http 'port = 8099' 'path = "/well"')" \
        "$(attributes "$unhealthy.connection_termination.enabled = false")"
    group drains "$both" "$(brisk http 'port = 8099' 'path = "/well"')" \
        "$(attributes "$unhealthy.connection_termination.enabled = false" "$unhealthy.draining_interval_seconds = 2")"
    group open "$(at_address "$1" "$named_port")" "$(brisk http 'port = 8099' 'path = "/well"')"
    group minimum "$both" "$(brisk http 'port = 8099' 'path = "/well"')" "$(attributes "$minimum = 2")"
}

# Refused newcomers tell before the next check does, which is half a minute away.
refused_newcomers_are_overheard() {
    local since
    whatever_the_device
    {
        instance
        published web "$side_node" '80 web'
        group web "$(at_port 8091)$(at_port 8092)" 'health_check = { protocol = "tcp", interval = 30, passive = true }'
        endpoint web web "$consumer_a" "$side_door"
    } >"$balanced_file"
    start_members 1 2
    start_balanced
    await 5 "two healthy targets" targets_are healthy web
    equal "the list of those who answer" "$(who_answers "$side_door" 40)" '10.2.0.2:8091 10.2.0.2:8092'
    stop_member 2
    since=$EPOCHREALTIME
    await 5 "newcomers to find it unhealthy" unhealthy_for_newcomers
    note "$(milliseconds_since "$since") ms"
    equal "the list of those who answer" "$(who_answers "$side_door" 40)" 10.2.0.2:8091
}

unhealthy_for_newcomers() {
    answers "$side_door" 10 || true
    targets_are unhealthy web 8092
}

# A thousand targets that are each asked for a page every ten seconds cost less than two hundredths of a processor, over
# what the shared forwarder costs meanwhile, which has nothing to do. Half of them are waited for: five seconds' worth.
thousand_checks_are_cheap() {
    local before since idle cost host took
    whatever_the_device
    add_range "$provider" 10.2.16.0/22
    start_members 1
    {
        instance
        published thousand "$side_node" '80 thousand'
        group thousand "$(for ((host = 1; host <= 1000; host++)); do
            at_address "10.2.$((16 + host / 256)).$((host % 256))" 8091
        done)" 'health_check = { protocol = "http", path = "/check", interval = 10 }'
    } >"$balanced_file"
    start_balanced
    # All of them at once, and from then on one after the other.
    await 20 "the first checks" targets_are healthy
    before=$(checks_heard)
    await 20 "those that follow" checks_were_heard "$((before + 1))"
    since=$EPOCHREALTIME
    idle=$(processor_time "$forwarder")
    cost=$(processor_time "$side")
    await 20 "500 checks" checks_were_heard "$((before + 500))"
    cost=$(($(processor_time "$side") - cost)) idle=$(($(processor_time "$forwarder") - idle))
    took=$(milliseconds_since "$since")
    note "500 checks in $took ms cost $cost ms of processor time, with none it is $idle ms"
    ((took > 4000 && took < 8000)) || fail "500 checks took $took ms, not five seconds"
    ((cost - idle < 100)) || fail "500 checks cost $cost ms of processor time, with none it is $idle ms"
}

# checks_were_heard NUMBER: in all.
checks_were_heard() {
    (($(checks_heard) >= $1))
}

checks_heard() {
    wc -l <"$scratch/member-1/checked"
}

# processor_time PID: milliseconds of all its threads, also of those that have ended.
processor_time() {
    awk -v ticks="$(getconf CLK_TCK)" '{print int(($14 + $15) * 1000 / ticks)}' "/proc/$1/stat"
}
