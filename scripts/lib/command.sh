# shellcheck shell=bash
# Checks of the command line: exit statuses, and what it says.

# `run -- CMD`: CMD runs while packets flow, and its status is ours.
run_command_passes_status_on() {
    exits 0 briefly "$sidegate" run --config "$side_file" -- \
        ip netns exec "$consumer_a" "${curl[@]}" "http://$side_door/whoami"
    contains "the command's output" "$output" "$side_node "
    exits 7 briefly "$sidegate" run --config "$side_file" -- sh -c 'exit 7'
    side_is_gone || fail "a route or a device is still there"
}

# `--ready-fd`: readable once packets flow.
ready_fd_tells() {
    local ready
    mkfifo "$scratch/ready"
    exec {ready}<>"$scratch/ready"
    start side "$sidegate" run --config "$side_file" --ready-fd "$ready"
    read -r -t 10 -u "$ready" || fail "nothing came within ten seconds: $(cat "$scratch/side.log")"
    rm "$scratch/ready"
    whoami_at "$consumer_a" "$side_door:80"
}

# Without privilege: exit 2, and what to do.
privilege_is_asked_for() {
    cp "$sidegate" "$scratch/sidegate"
    exits 2 briefly setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all \
        "$scratch/sidegate" run --config "$side_file"
    contains "the error" "$output" "sudo"
}

# Without /dev/net/tun: exit 2, and what to do.
tun_device_is_asked_for() {
    exits 2 briefly unshare --mount sh -c 'mount -t tmpfs none /dev/net && exec "$@"' - \
        "$sidegate" run --config "$side_file"
    contains "the error" "$output" "/dev/net/tun" "modprobe tun"
}

# No file at all is the operator's mistake.
usage_is_an_operators_mistake() {
    exits 1 briefly "$sidegate" run
    exits 1 briefly "$sidegate" run --config "$scratch/no-such-file"
    contains "the error" "$output" "no-such-file"
}

check_prints_topology() {
    exits 0 briefly "$sidegate" check --config "$shared_file"
    contains "the topology" "$output" orders-v4 orders-v6 a-v4 b-v6 10.1.9.50 fd02:9::1 10.2.7.2 terminate "$provider"
}

# Every mistake at once, each with its line.
check_lists_every_error() {
    local broken="$scratch/broken.toml"
    sed -e 's/port = 8443,/port = 0,   /' -e 's/forward = "dns-v4"/forward = "dsn"/' -e 's/fd02:9::1/127.0.0.1/' \
        -e 's/^name       = "b-v6"/name       = "a-v6"/' -e '/^\[run\]/a colour = "red"' \
        "$shared_file" >"$broken"
    exits 1 briefly "$sidegate" check --config "$broken"
    contains "the errors" "$output" "broken.toml:" colour dsn 127.0.0.1 a-v6 port
    (($(grep -c 'broken.toml:[0-9]' <<<"$output") >= 5)) || fail "fewer than five places are named"
}

# `check --live` judges the machine: as it is, without a namespace, and with forwarding off.
check_live_judges_the_machine() {
    exits 0 briefly "$sidegate" check --live --config "$shared_file"
    sed "s/$consumer_b/$lab-none/" "$shared_file" >"$scratch/live.toml"
    exits 2 briefly "$sidegate" check --live --config "$scratch/live.toml"
    contains "the finding" "$output" "$lab-none" "ip netns add"
    forwarding "$provider" 0
    exits 2 briefly "$sidegate" check --live --config "$shared_file"
    forwarding "$provider" 1
    contains "the finding" "$output" 10.2.7.2 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

# Devices, endpoints, offloads and counters, for people and for programs; on a socket that is its owner's alone.
status_tells() {
    local text json before offloads
    whoami_at "$consumer_a" "$(door nat v4)"
    text=$(briefly "$sidegate" status --config "$shared_file")
    contains "status" "$text" "instance $lab," "$(device_in "$provider")" a-v4 b-v6 forwarded
    json=$(briefly "$sidegate" status --json --config "$shared_file")
    equal "the devices that are up" "$(jq '[.devices[] | select(.state == "up")] | length' <<<"$json")" 3
    equal "the endpoints that are up" "$(jq '[.endpoints[] | select(.up)] | length' <<<"$json")" 5
    equal "the socket's mode" "$(stat --format %a "/run/sidegate/$lab.sock")" 600
    before=$(counted forwarded)
    whoami_at "$consumer_a" "$(door nat v4)"
    counted_more forwarded "$before" || fail "a forwarded packet was not counted"
    offloads=$(jq --raw-output '.devices[0].offloads' <<<"$json")
    [[ $backend-$offloads == plain-*"(plain)" || $backend-$offloads == offload-csum* ]] ||
        fail "'$offloads' is not what the $backend backend has"
    note "$offloads"
}
