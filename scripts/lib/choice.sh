# shellcheck shell=bash
# Checks of the choice of a target: by weight, by zone, by client.

readonly many_connections=10000

# Of many connections each target, and each group, has the share that its weight says, within two in a hundred.
weights_are_shares() {
    local of_targets of_groups
    whatever_the_device
    {
        instance
        published weighted "$side_node" '80 targets' '81 heavy:9,light:1'
        group targets "$(at_port 8091 'weight = 9')$(at_port 8092)"
        group heavy "$(at_port 8091)"
        group light "$(at_port 8092)"
        endpoint weighted weighted "$consumer_a" "$side_door"
    } >"$balanced_file"
    start_members 1 2
    start_balanced
    of_targets=$(per_mille_of_member_1 "$side_door:80")
    of_groups=$(per_mille_of_member_1 "$side_door:81")
    note "of 1000 connections, $of_targets go to the target and $of_groups to the group with nine tenths of the weight"
    ((of_targets >= 880 && of_targets <= 920)) || fail "$of_targets of 1000 connections go to the target with weight 9"
    ((of_groups >= 880 && of_groups <= 920)) || fail "$of_groups of 1000 connections go to the group with weight 9"
}

# per_mille_of_member_1 DOOR
per_mille_of_member_1() {
    local before_1 before_2 to_1 to_2
    before_1=$(asked 1) before_2=$(asked 2)
    await 60 "$many_connections connections" \
        connections_were_made "$((before_1 + before_2 + many_connections))" "http://$1/" >&2
    to_1=$(($(asked 1) - before_1)) to_2=$(($(asked 2) - before_2))
    echo "$((1000 * to_1 / (to_1 + to_2)))"
}

# Some more of them, until there have been so many: connections_were_made NUMBER URL
connections_were_made() {
    wrk_is_undisturbed 1 "$2" --header 'Connection: close'
    (($(asked 1 2) >= $1))
}

# A client is always sent to the same target, as `explain` says; of many clients, hardly more than have to are moved by a
# new target.
sticky_clients_stay() {
    local before after moved=0 strayed=0 client
    whatever_the_device
    sticky_web "$(at_port 8091)$(at_port 8092)" >"$balanced_file"
    add_range "$consumer_a" 10.1.16.0/24
    start_members 1 2 3
    start_balanced
    equal "the target that explain names" "$(explained_choice 10.1.0.2)" "$(who_answers "$side_door" 50)"
    clients_answers >"$scratch/before"
    (($(sort -u "$scratch/before" | wc -l) == 2)) || fail "100 clients all come to the same target"
    sticky_web "$(at_port 8091)$(at_port 8092)$(at_port 8093)" >"$balanced_file"
    reload
    clients_answers >"$scratch/after"
    while read -r before after; do
        [[ $before == "$after" ]] || moved=$((moved + 1))
        [[ $before == "$after" || $after == 10.2.0.2:8093 ]] || strayed=$((strayed + 1))
    done < <(paste "$scratch/before" "$scratch/after")
    note "a third target moves $moved of 100 clients, $strayed of them to one of the others"
    ((moved > 15 && moved < 55 && strayed < 10)) || fail "$moved of 100 clients move, $strayed to one of the others"
}

# sticky_web TARGETS
sticky_web() {
    instance
    published web "$side_node" '80 web'
    group web "$1" "$(attributes 'stickiness.enabled = true')"
    endpoint web web "$consumer_a" "$side_door"
}

# explained_choice CLIENT: of a connection from any of its ports.
explained_choice() {
    "$sidegate" explain --json --from "$1:40000" --to "$side_door:80" --config "$balanced_file" |
        jq --raw-output .way.choice
}

# Where each of a hundred clients is sent, a line each.
clients_answers() {
    local client
    for client in {1..100}; do
        fetch "$consumer_a" --interface "10.1.16.$client" "http://$side_door/" | cut -d' ' -f2
    done
}

# A node sends to its own zone, to all where the group says so, and, unless forbidden, where its own zone has nobody. An
# interface keeps to its first node, also when its own zone gets one.
zones_are_kept() {
    local a=10.2.0.2:8091 b=10.2.0.2:8092
    whatever_the_device
    start_members 1 2
    zoned_file >"$balanced_file"
    start_balanced
    node_and_members "$side_door" "$side_node" "$a"
    node_and_members "$second_door" "$second_node" "$b"
    node_and_members 10.1.9.55 "$side_node" "$a"
    zoned_file '{ zone = "c", address = "10.2.9.5" }' >"$balanced_file"
    reload
    node_and_members 10.1.9.55 "$side_node" "$a"
    node_and_members 10.1.9.56 10.2.9.5 "$a $b"
    zoned_file '{ zone = "c", address = "10.2.9.5" }' 'load_balancing.cross_zone.enabled = true' >"$balanced_file"
    reload
    node_and_members "$side_door" "$side_node" "$a $b"
    node_and_members "$second_door" "$second_node" "$a $b"
    zoned_file '{ zone = "c", address = "10.2.9.5" }' 'load_balancing.cross_zone.enabled = false' >"$balanced_file"
    reload
    node_and_members "$side_door" "$side_node" "$a"
    before=$(counted no_target "$balanced_file")
    exits 28 fetch "$consumer_a" --connect-timeout 0.5 http://10.1.9.56/
    counted_more no_target "$before" "$balanced_file" || fail "the drop was not counted"
}

# node_and_members DOOR NODE MEMBERS: who answers there, and the node that they see.
node_and_members() {
    local answers
    answers=$(answers "$1" 40)
    equal "the node behind $1" "$(cut -d' ' -f1 <<<"$answers" | sort -u | paste -sd' ')" "$2"
    equal "the list of those who answer at $1" "$(cut -d' ' -f2 <<<"$answers" | sort -u | paste -sd' ')" "$3"
}

# zoned_file [NODE [ATTRIBUTE]]: two zones with a node and a target each; consumers in a third one, which may have a node.
zoned_file() {
    instance
    cat <<END

[[service]]
name      = "zoned"
namespace = "$provider"
nodes     = [{ zone = "a", address = "$side_node" }, { zone = "b", address = "$second_node" }, ${1:-}]
listeners = [{ protocol = "tcp", port = 80, forward = "zoned" }]

[[endpoint]]
name       = "zoned"
service    = "zoned"
namespace  = "$consumer_a"
interfaces = [
  { zone = "a", address = "$side_door" },
  { zone = "b", address = "$second_door" },
  { zone = "c", address = "10.1.9.55" },
]

[[endpoint]]
name       = "late"
service    = "zoned"
namespace  = "$consumer_a"
interfaces = [{ zone = "c", address = "10.1.9.56" }]
END
    group zoned "$(at_port 8091 'zone = "a"')$(at_port 8092 'zone = "b"')" "$([[ -z ${2:-} ]] || attributes "$2")"
}
