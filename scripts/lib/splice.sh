# shellcheck shell=bash
# Checks of splicing: the handshake with the consumer is sidegate's own, and what follows is packets that pass through.

# A check of the shared forwarder's where nothing stays terminated, since the target is known:
# spliced FAMILY SERVICE FUNCTION [ARGUMENT…]
spliced() {
    local at_door before greeted
    at_door=$(door splice "$1" "$2")
    if [[ $2 == bulk ]]; then
        iperf3_rate splice "$1" # it stops listening for a moment after whatever else
    else
        knock_at "$at_door"
    fi
    before=$(counted splice_terminated) greeted=$(counted splice_handshake)
    "${@:3}"
    equal "the number of connections that stayed terminated" "$(($(counted splice_terminated) - before))" 0
    counted_more splice_handshake "$greeted" || fail "nothing was spliced"
}

# acquaint FAMILY PORT: the side forwarder gets to know the target behind this port, and takes note of how often a connection
# to one that it did not know has stayed terminated.
acquaint() {
    knock_at "$(side_door_of "$1"):$2"
    unacquainted=$(counted splice_terminated "$balanced_file")
}

# A connection and nothing else: knock_at DOOR
knock_at() {
    # shellcheck disable=SC2016 # for the inner shell
    at "$consumer_a" bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$(host_of "$1")" "${1##*:}"
}

# went_by PATH: what has gone through the side forwarder since it knows the target. (Of a terminated flow nothing is left to see
# once it has closed.)
went_by() {
    [[ $1 != splice ]] || equal "the number of connections that stayed terminated" \
        "$(counted splice_terminated "$balanced_file")" "$unacquainted"
    [[ $1 == terminate ]] || "$sidegate" flows --json --config "$balanced_file" |
        jq --exit-status --arg path "$1" '.flows | any(.path == $path and .listener_path == $path)' || fail "no flow went by $1"
}

# spliced_file FAMILY ADDRESS PORT [KEY…]: port 103 is spliced to this target, 102 terminated.
spliced_file() {
    instance
    published spliced "$(side_node_of "$1")" '102 spliced terminate' '103 spliced splice'
    group spliced "$(at_address "$2" "$3")" "${@:4}"
    endpoint spliced spliced "$consumer_a" "$(side_door_of "$1" | tr -d '[]')"
}

# start_spliced FAMILY PORT: the side forwarder, which knows the target.
start_spliced() {
    spliced_file "$1" "$(target "$1")" "$2" >"$balanced_file"
    start_balanced
    acquaint "$1" 103
}

# On the wire: the consumer is answered before the target hears anything, and told to wait; the target's SYN has the
# consumer's own number; and the consumer speaks only once the target has answered: handshake_is_spliced FAMILY
handshake_is_spliced() {
    local at_door syn answer onward
    start_spliced "$1" 8080
    at_door=$(side_door_of "$1" | tr -d '[]').103
    capture_side "$1"
    whoami_at "$consumer_a" "$(side_door_of "$1"):103"
    went_by splice
    await 5 "the SYN at the provider" packet "$provider" S
    await 5 "the consumer's bytes" captured_any "$consumer_a" " > $at_door: .* length [1-9]"
    syn=$(packet "$consumer_a" S) answer=$(packet "$consumer_a" S.) onward=$(packet "$provider" S)
    printf '%s\n' "$syn" "$answer" "$onward"
    contains "the answer to the consumer" "$answer" "win 0,"
    [[ $answer < $onward ]] || fail "the target heard of it before the consumer was answered"
    equal "the number in the target's SYN" "$(sequence_in "$onward")" "$(sequence_in "$syn")"
    (($(mss_in "$onward") < $(mss_in "$syn"))) || fail "the MSS is not clamped"
    (($(line_of " > $at_door: .* length [1-9]") > $(line_of " $at_door > .*Flags \[\.\].* win [1-9]"))) ||
        fail "the consumer spoke too early: $(captured "$consumer_a")"
    note "$(captured "$consumer_a" | wc -l) packets with the consumer, $(captured "$provider" | wc -l) with the target"
}

# The place of the consumer's first packet that matches: line_of PATTERN
line_of() {
    captured "$consumer_a" | grep -nm 1 -E "$1" | cut -d: -f1
}

sequence_in() {
    sed -nE 's/.* seq ([0-9]+).*/\1/p' <<<"$1"
}

# What is on the side forwarder's devices at both ends, or only what is from or to the consumer's port there, and the node's:
# capture_side FAMILY [CONSUMER-PORT NODE-PORT]
capture_side() {
    capture_on "$consumer_a" "$(device_in "$consumer_a" "$(side_door_of "$1" | tr -d '[]')")" tcp ${2:+and port "$2"}
    capture_on "$provider" "$(device_in "$provider" "$(side_node_of "$1")")" tcp ${3:+and port "$3"}
}

# A target that refuses refuses the consumer: at once where it is not known yet, and by a reset once it is:
# spliced_refusal_is_carried FAMILY
spliced_refusal_is_carried() {
    local url listener
    url="http://$(side_door_of "$1"):103/"
    spliced_file "$1" "$(target "$1")" 8090 >"$balanced_file"
    start_balanced
    exits 7 fetch "$consumer_a" --verbose --connect-timeout 2 "$url"
    contains "curl" "$output" "Connection refused"
    start_at listener "$provider" socat TCP6-LISTEN:8090,ipv6only=0,reuseaddr,fork EXEC:cat
    listener=$started
    await 5 "a listener" bound "$provider" tcp 8090
    acquaint "$1" 103
    heard_echo_at "$(side_door_of "$1"):103"
    went_by splice
    stop "$listener"
    ! output=$(fetch "$consumer_a" --verbose "$url" 2>&1) || fail "a target that refuses was not noticed"
    contains "curl" "$output" "reset by peer"
    equal "the number of connections that stayed terminated" "$(counted splice_terminated "$balanced_file")" "$unacquainted"
}

# heard_echo_at DOOR
heard_echo_at() {
    equal "the echo" "$(at "$consumer_a" socat -t 5 - "TCP:$1" <<<hello)" hello
}

# A target that says nothing any more is given 29 seconds; then the consumer, whose connection stands, is reset. Both
# families at once: spliced_silence_times_out
spliced_silence_times_out() {
    local family since took
    whatever_the_device
    {
        instance
        for family in v4 v6; do
            published "silent-$family" "$(side_node_of "$family")" "103 silent-$family splice"
            group "silent-$family" "$(at_address "$(target "$family")" 8080)"
            endpoint "silent-$family" "silent-$family" "$consumer_a" "$(side_door_of "$family" | tr -d '[]')"
        done
    } >"$balanced_file"
    start_balanced
    for family in v4 v6; do
        acquaint "$family" 103
        whoami_at "$consumer_a" "$(side_door_of "$family"):103"
    done
    went_by splice
    target_drops "tcp dport 8080 iifname \"$(device_in "$provider" "$side_node")\""
    since=$EPOCHREALTIME
    for family in v4 v6; do
        start_at "silent-$family" "$consumer_a" "${curl[@]}" --verbose "http://$(side_door_of "$family"):103/"
    done
    for family in v4 v6; do
        await 40 "the reset" grep -q '^curl' "$scratch/silent-$family.log"
        contains "curl" "$(cat "$scratch/silent-$family.log")" "reset by peer"
    done
    took=$(milliseconds_since "$since")
    note "reset after $((took / 1000)) s"
    ((took > 28000 && took < 33000)) || fail "reset after $took ms, not after 29 seconds"
}

# Both ends ask whether the other is there, and are answered by each other: keep_alives_pass FAMILY
keep_alives_pass() {
    local namespace port node alive=keepalive,keepidle=1,keepintvl=1,keepcnt=2
    start_at echo "$provider" socat "TCP6-LISTEN:8090,ipv6only=0,reuseaddr,fork,$alive" EXEC:cat
    await 5 "the echo" bound "$provider" tcp 8090
    start_spliced "$1" 8090
    converse TCP "$(side_door_of "$1"):103,$alive"
    say one
    went_by splice
    # Of this connection only: the kernel may still repeat the end of those that other checks have left.
    port=$(local_port "$consumer_a" --tcp "dport = :103")
    node=$("$sidegate" flows --json --config "$balanced_file" |
        jq --raw-output --arg port ":$port" '.flows[] | select(.client | endswith($port)).node')
    capture_side "$1" "$port" "${node##*:}"
    # If nobody answered, it would have ended before there are as many.
    await 10 "keep-alives of the target's and their answers at the consumer" enough_captured 6 "$consumer_a"
    await 10 "keep-alives of the consumer's and their answers at the target" enough_captured 6 "$provider"
    for namespace in "$consumer_a" "$provider"; do
        only_captured "$namespace" 'Flags \[\.\].* length 0$'
    done
    say two
}

# A consumer that asks whether we are there while its target is still being asked is told so: its connection lives until the target
# answers. keep_alives_are_answered_early FAMILY
keep_alives_are_answered_early() {
    start_at echo "$provider" socat TCP6-LISTEN:8090,ipv6only=0,reuseaddr,fork EXEC:cat
    await 5 "the echo" bound "$provider" tcp 8090
    start_spliced "$1" 8090
    target_drops "tcp dport 8090 tcp flags & (syn | ack) == syn"
    converse TCP "$(side_door_of "$1"):103,keepalive,keepidle=1,keepintvl=1,keepcnt=1"
    # Unanswered it would end after two seconds. The third SYN comes after three, and the fourth after seven.
    await 10 "SYNs that the target does not hear" enough_dropped 3
    at "$provider" nft flush table inet losses
    say one
    went_by splice
}

# enough_dropped NUMBER
enough_dropped() {
    (($(target_dropped) >= $1))
}

# enough_captured NUMBER NAMESPACE
enough_captured() {
    (($(captured "$2" | wc -l) >= $1))
}

# A consumer, and a target, that lack options which the other has, and both: bytes go both ways whatever is agreed, and no
# connection stays terminated: options_are_agreed FAMILY
options_are_agreed() {
    local of_consumer of_target agreed=0
    for of_target in '1 1 1' '0 1 1' '1 0 1' '1 1 0' '0 0 0'; do
        speak "$provider" "$of_target"
        start_spliced "$1" 7011
        for of_consumer in '1 1 1' '0 1 1' '1 0 1' '1 1 0' '0 0 0'; do
            speak "$consumer_a" "$of_consumer"
            echo "timestamps, SACK and window scale: the target has $of_target, the consumer $of_consumer"
            at "$consumer_a" /usr/bin/python3 scripts/lib/streams_run.py both 4 3000000 "$(side_door_of "$1" | tr -d '[]')" 103
            agreed=$((agreed + 1))
        done
        went_by splice
        equal "the number of targets that surprised" "$(counted splice_mismatch "$balanced_file")" 0
        stop "$side"
        forget "$side"
    done
    note "$agreed kinds of agreement"
}

# speak NAMESPACE 'TIMESTAMPS SACK SCALING': what its kernel offers, until the check ends.
speak() {
    local timestamps sack scaling
    read -r timestamps sack scaling <<<"$2"
    afterwards at "$1" sysctl -qw net.ipv4.tcp_timestamps=1 net.ipv4.tcp_sack=1 net.ipv4.tcp_window_scaling=1
    at "$1" sysctl -qw "net.ipv4.tcp_timestamps=$timestamps" "net.ipv4.tcp_sack=$sack" "net.ipv4.tcp_window_scaling=$scaling"
}

# A target that has forgotten what it spoke makes one connection fail. The next one is terminated, which teaches, and those after it
# are spliced again: surprising_target_is_learnt FAMILY
surprising_target_is_learnt() {
    local at_door lost surprises=0
    start_spliced "$1" 7007
    at_door="$(side_door_of "$1"):103"
    heard_echo_at "$at_door"
    for lost in '0 1 1' '0 0 1' '0 0 0'; do
        speak "$provider" "$lost"
        surprises=$((surprises + 1))
        equal "what comes from a target that has changed" "$(at "$consumer_a" socat -t 5 - "TCP:$at_door" <<<hello || true)" ''
        equal "the number of surprises" "$(counted splice_mismatch "$balanced_file")" "$surprises"
        heard_echo_at "$at_door"
        unacquainted=$((unacquainted + 1))
        heard_echo_at "$at_door"
        went_by splice
    done
}

# SYNs whose senders do not exist, as fast as they can be sent: the target hears of none, and who is connected stays so:
# flood_stays_outside FAMILY
flood_stays_outside() {
    local at_door nobody=10.128.0.0 rate
    [[ $1 == v4 ]] || nobody=fd80::
    at_door=$(side_door_of "$1" | tr -d '[]')
    start_named
    start_spliced "$1" "$named_port"
    start_at held "$consumer_a" /usr/bin/python3 scripts/lib/held.py "$at_door" 103:1
    held=$started
    await 20 "connections" held_or_ended
    target_drops "tcp dport $named_port tcp flags & (syn | ack) == syn"
    rate=$(at "$consumer_a" /usr/bin/python3 scripts/lib/flood.py "$(device_in "$consumer_a" "$at_door")" \
        "$nobody" "$at_door" 103 500000)
    await 10 "the flood to be counted" flood_was_heard
    note "$rate SYNs/s, of which $(counted splice_handshake "$balanced_file") were heard"
    equal "the number of SYNs at the target" "$(target_dropped)" 0
    still_held "103 $(target "$1")"
    went_by splice
    at "$provider" nft flush table inet losses
    equal "the target that newcomers reach" "$(who_is_reached 103 "$consumer_a" "$at_door")" "$(target "$1")"
}

flood_was_heard() {
    (($(counted splice_handshake "$balanced_file") > 100000))
}
