# shellcheck shell=bash
# Checks of the proxy protocol's header: on every path the target learns who its consumer is, once, and ahead of all else.
#
# Each has a file of its own: one target, which waits for a header, behind a listener on nat (101), one on terminate (102)
# and one on splice (103).
#
#   8301 nginx: / says what the header says, and there are files      8304 header.py: greets, notes the header, and echoes
#   8302 nginx: says what the header says, without being asked        8305 HAProxy, with accept-proxy: answers as nginx does
#   8303 HAProxy: notes the endpoint's id, and goes on to 8305

readonly vpce=vpce-08d2bf15fac5001c9 connection_id=9007199254740993 link_id=4026531841
readonly placement=proxy_protocol_v2.client_to_server.header_placement

# nginx, told to expect a header, learns the consumer's address and port and the endpoint's, and a file each way arrives
# whole: nginx_learns_consumer PATH FAMILY
nginx_learns_consumer() {
    local url
    start_headed_nginx "$provider"
    headed "$2" "$(target "$2")" 8301 >"$balanced_file"
    start_headed "$@"
    url="http://$(headed_door "$@")"
    target_tells_who_asks "$url/"
    equal "the downloaded file's checksum" "$(fetch "$consumer_a" "$url/blob" | sha256sum | cut -d' ' -f1)" "$blob_digest"
    fetch "$consumer_a" --upload-file "$www/blob" "$url/up/headed"
    equal "the uploaded file's checksum" "$(digest_of "$www/up/headed")" "$blob_digest"
    went_by "$1"
}

# HAProxy, too, and the endpoint's id: haproxy_learns_consumer PATH FAMILY
haproxy_learns_consumer() {
    start_haproxy
    headed "$2" "$(target "$2")" 8303 >"$balanced_file"
    start_headed "$@"
    target_tells_who_asks "http://$(headed_door "$@")/"
    await 5 "the endpoint's id" grep -qx "$vpce" "$scratch/haproxy.log"
    went_by "$1"
}

# What the target says is what curl knows of its connection: target_tells_who_asks URL [CURL-OPTION…]
target_tells_who_asks() {
    fetch "$consumer_a" "${@:2}" --write-out '\n%{local_ip} %{local_port} %{remote_ip} %{remote_port}\n' "$1" >"$scratch/said"
    cat "$scratch/said"
    equal "what the target learns" "$(sed -n 1p "$scratch/said")" "$(sed -n 2p "$scratch/said")"
}

# A target that greets at once is heard at once, and gets its header with the consumer's first bytes, or before them if so
# told. One that waits for the header before it greets, waits as long: placement_is_kept PATH FAMILY
placement_is_kept() {
    local at_door
    at_door=$(headed_door "$@")
    start_headed_nginx "$provider"
    start_recorder
    headed "$2" "$(target "$2")" 8304 >"$balanced_file"
    start_headed "$@"
    converse TCP "$at_door"
    await 5 "the greeting" grep -qx welcome "$scratch/heard"
    equal "what the target knows before the consumer speaks" "$(cat "$scratch/recorder.log")" ''
    say hello
    equal "the number of headers" "$(wc -l <"$scratch/recorder.log")" 1
    went_by "$1"

    placed on_first_ack "$2" 8304
    start_at silent "$consumer_a" socat -u "TCP:$at_door" "CREATE:$scratch/unasked"
    await 5 "the greeting of one that may have its header at once" grep -qx welcome "$scratch/unasked"
    await 5 "the header of a consumer that says nothing" noted "$(local_port "$consumer_a" --tcp "dport = :${at_door##*:}" | tail -n 1)"

    placed on_first_ack_with_payload "$2" 8302
    equal "what a consumer hears that waits" "$(heard_at "$at_door" 1)" ''
    contains "what one hears that speaks" "$(heard_at "$at_door" 5 hello)" "$(consumer_of "$2") "
    placed on_first_ack "$2" 8302
    contains "what one hears that need not speak" "$(heard_at "$at_door" 5)" "$(consumer_of "$2") "
}

# placed PLACEMENT FAMILY PORT: from now on.
placed() {
    headed "$2" "$(target "$2")" "$3" "$placement = \"$1\"" >"$balanced_file"
    reload
    acquaint "$2" 103
}

# heard_at DOOR SECONDS [WORD]: the first line that comes, if one comes in time.
heard_at() {
    # shellcheck disable=SC2016 # for the inner shell
    at "$consumer_a" bash -c 'exec {said}<>"/dev/tcp/$0/$1" && echo -n "$3" >&"$said" && read -r -t "$2" line <&"$said" && echo "$line"' \
        "$(host_of "$1")" "${1##*:}" "$2" "${3:-}" || true
}

# Whether the recorder has the header of this consumer's port.
noted() {
    grep -q "$(printf '%04x' "$1")" "$scratch/recorder.log"
}

# A parser that others have written reads what reaches the target, by every path and in every cloud's words, and finds the
# consumer's own tuple and the endpoint's id: parser_agrees FAMILY
parser_agrees() {
    local port tuple
    install_parser
    start_recorder
    headed_in_all_words "$1" >"$balanced_file"
    start_balanced
    for port in 103 113 123; do
        acquaint "$1" "$port"
    done
    for port in 101 102 103 111 112 113 121 122 123; do
        tuple=$(at "$consumer_a" /usr/bin/python3 scripts/lib/header.py call "$(side_door_of "$1" | tr -d '[]')" "$port")
        echo "$tuple $(words_at "$port") $(tail -n 1 "$scratch/recorder.log")"
    done | tee "$scratch/headers"
    went_by splice
    note "$(judged right <"$scratch/headers") headers"
}

# The words of the group that the port leads to, and the endpoint's id in them.
words_at() {
    case $1 in
        10*) echo "aws $vpce" ;;
        11*) echo "gcp $connection_id" ;;
        12*) echo "azure $link_id" ;;
    esac
}

# It also reads 10,000 headers with addresses, ports and ids of all kinds; and what is spoilt in some way is noticed.
parser_agrees_on_many() {
    local seed=$RANDOM$RANDOM patience=300 number spoilt
    whatever_the_device
    install_parser
    briefly cargo run --quiet --package wire --example headers -- 10000 "$seed" >"$scratch/headers"
    number=$(judged right <"$scratch/headers")
    head -n 30 "$scratch/headers" | "$scratch/parser/bin/python" scripts/lib/header_spoilt.py >"$scratch/spoilt"
    spoilt=$(judged wrong <"$scratch/spoilt")
    note "seed $seed, $number headers, $spoilt spoilt ones"
}

# judged right|wrong
judged() {
    "$scratch/parser/bin/python" scripts/lib/header_judge.py "$1"
}

# From PyPI; where that cannot be reached, the check is skipped.
install_parser() {
    [[ ! -e $scratch/parser/ready ]] || return 0
    /usr/bin/python3 -m venv "$scratch/parser" || skip "python3 -m venv does not work here"
    briefly "$scratch/parser/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 10 \
        proxy-protocol==0.11.3 google-crc32c==1.9.0 ||
        skip "PyPI's packages proxy-protocol and google-crc32c could not be installed"
    touch "$scratch/parser/ready"
}

# Checks of every kind are sent as nobody's: nginx and HAProxy take them in, and the recorder gets 16 bytes and no more:
# checks_have_no_client FAMILY
checks_have_no_client() {
    local group local_header=0d0a0d0a000d0a515549540a20000000 wanted
    wanted=$(attributes 'proxy_protocol_v2.enabled = true')
    whatever_the_device
    start_headed_nginx "$provider"
    start_haproxy
    start_recorder
    {
        instance
        published checked "$(side_node_of "$1")" '101 nginx' '102 haproxy' '103 recorder' '104 unaware'
        group nginx "$(at_address "$(target "$1")" 8301)" "$(brisk http)" "$wanted"
        group haproxy "$(at_address "$(target "$1")" 8305)" "$(brisk http)" "$wanted"
        group recorder "$(at_address "$(target "$1")" 8304)" "$(brisk tcp)" "$wanted"
        group unaware "$(at_address "$(target "$1")" 8301)" "$(brisk http)"
        endpoint checked checked "$consumer_a" "$(side_door_of "$1" | tr -d '[]')"
    } >"$balanced_file"
    start_balanced
    for group in nginx haproxy recorder; do
        await 20 "$group to be healthy" targets_are healthy "$group"
    done
    await 20 "nginx to be unhealthy where its checks have no header" targets_are unhealthy unaware
    await 5 "a second check" several_noted
    equal "what the recorder has had" "$(sort -u "$scratch/recorder.log")" "$local_header"
}

several_noted() {
    (($(wc -l <"$scratch/recorder.log") > 1))
}

# The first segment that has the header is lost on its way to the target, and comes again: lost_header_comes_again PATH FAMILY
lost_header_comes_again() {
    local since
    start_headed_nginx "$provider"
    headed "$2" "$(target "$2")" 8301 >"$balanced_file"
    start_headed "$@"
    # @ih is what TCP carries, and a header begins with CR LF CR LF.
    target_drops 'tcp dport 8301 @ih,0,32 0x0d0a0d0a numgen inc mod 1000000 0'
    since=$EPOCHREALTIME
    target_tells_who_asks "http://$(headed_door "$@")/"
    note "$(milliseconds_since "$since") ms"
    equal "the number of segments that were lost" "$(target_dropped)" 1
    fetch "$consumer_a" --upload-file "$www/blob" "http://$(headed_door "$@")/up/headed"
    equal "the uploaded file's checksum" "$(digest_of "$www/up/headed")" "$blob_digest"
    went_by "$1"
}

# A target that never acknowledges its header is given up, and the consumer is told: unheard_header_is_given_up FAMILY
unheard_header_is_given_up() {
    local since
    whatever_the_device
    start_headed_nginx "$provider"
    headed "$1" "$(target "$1")" 8301 >"$balanced_file"
    start_headed nat "$1"
    fetch "$consumer_a" "http://$(headed_door nat "$1")/"
    # Whatever has payload, so that the target is left with a connection that stands and is silent.
    target_drops 'tcp dport 8301 @ih,0,8 >= 0'
    since=$EPOCHREALTIME
    exits 56 fetch "$consumer_a" "http://$(headed_door nat "$1")/"
    note "$(milliseconds_since "$since") ms, $(target_dropped) segments"
    contains "curl" "$output" "reset by peer"
    equal "the number of flows that ended so" "$(closed header_unheard)" 1
}

# target_drops MATCH: what reaches the provider's sockets and matches, until the check ends.
target_drops() {
    afterwards at "$provider" nft delete table inet losses
    at "$provider" nft "table inet losses { counter lost { }; chain input { type filter hook input priority 0; $1 counter name lost drop; }; }"
}

# How many packets of it there were.
target_dropped() {
    at "$provider" nft --json list counter inet losses lost | jq '.nftables[] | .counter.packets // empty'
}

# As an upload finds its path's MTU, so does one that began with a header: headed_upload_learns_mtu PATH FAMILY
headed_upload_learns_mtu() {
    local counter=icmp_forwarded before upload
    [[ $1 != terminate ]] || counter=icmp_terminated
    start_headed_nginx "$beyond"
    headed "$2" "$(target_beyond "$2")" 8301 >"$balanced_file"
    start_headed "$@"
    before=$(counted "$counter" "$balanced_file")
    afterwards forget_mtu
    start_at upload "$consumer_a" "${curl[@]}" --max-time 20 --limit-rate 50M \
        --upload-file "$www/blob" "http://$(headed_door "$@")/up/beyond"
    upload=$started
    await 5 "20 MB to arrive" headed_uploading 20M
    far_mtu 1400
    wait "$upload" || fail "the upload ended: $(cat "$scratch/upload.log")"
    equal "the uploaded file's checksum" "$(digest_of "$www/up/beyond")" "$blob_digest"
    counted_more "$counter" "$before" "$balanced_file" || fail "no ICMP error was counted as $counter"
    went_by "$1"
}

# Whether an upload of that size is under way.
headed_uploading() {
    [[ -n $(find "$scratch/headed/body" -size "+$1") ]]
}

# target_beyond FAMILY
target_beyond() {
    if [[ $1 == v4 ]]; then echo 10.2.8.2; else echo fd02:8::2; fi
}

# consumer_of FAMILY
consumer_of() {
    if [[ $1 == v4 ]]; then echo 10.1.0.2; else echo fd01::2; fi
}

# headed FAMILY ADDRESS PORT [ATTRIBUTE]: a file for one target, which is told who its consumers are, on every path.
headed() {
    instance
    published headed "$(side_node_of "$1")" '101 headed' '102 headed terminate' '103 headed splice'
    group headed "$(at_address "$2" "$3")" "$(attributes 'proxy_protocol_v2.enabled = true' "${@:4}")"
    headed_endpoint "$1"
}

# headed_in_all_words FAMILY: the same for the recorder, with a group for the words of each cloud.
headed_in_all_words() {
    local words
    instance
    published headed "$(side_node_of "$1")" '101 aws' '102 aws terminate' '103 aws splice' \
        '111 gcp' '112 gcp terminate' '113 gcp splice' '121 azure' '122 azure terminate' '123 azure splice'
    for words in aws gcp azure; do
        group "$words" "$(at_address "$(target "$1")" 8304)" \
            "$(attributes 'proxy_protocol_v2.enabled = true' "proxy_protocol_v2.tlv = \"$words\"")"
    done
    headed_endpoint "$1"
}

# headed_endpoint FAMILY
headed_endpoint() {
    endpoint headed headed "$consumer_a" "$(side_door_of "$1" | tr -d '[]')"
    echo "ids        = { aws = \"$vpce\", gcp = $connection_id, azure = $link_id }"
}

# headed_door PATH FAMILY
headed_door() {
    local port=101
    case $1 in
        terminate) port=102 ;;
        splice) port=103 ;;
    esac
    echo "$(side_door_of "$2"):$port"
}

# start_headed PATH FAMILY: the side forwarder, and if need be, it knows the target.
start_headed() {
    start_balanced
    [[ $1 != splice ]] || acquaint "$2" 103
}

start_recorder() {
    start_at recorder "$provider" /usr/bin/python3 scripts/lib/header.py serve 8304
    await 5 "the recorder" bound "$provider" tcp 8304
}

# start_headed_nginx NAMESPACE
start_headed_nginx() {
    local home="$scratch/headed"
    mkdir -p "$home"
    headed_nginx_config "$home" >"$home/nginx.conf"
    start_at headed-nginx "$1" nginx -p "$home" -c "$home/nginx.conf" -e stderr
    await 5 "nginx with proxy_protocol" bound "$1" tcp 8302
}

# headed_nginx_config HOME
headed_nginx_config() {
    cat <<END
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root;
daemon off;
pid $1/pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    client_max_body_size 0;
    client_body_temp_path $1/body;
    server {
        listen 8301 proxy_protocol;
        listen [::]:8301 proxy_protocol;
        root $www;
        location = / { return 200 "\$proxy_protocol_addr \$proxy_protocol_port \$proxy_protocol_server_addr \$proxy_protocol_server_port"; }
        location /up/ { dav_methods PUT; }
    }
}
stream {
    server {
        listen 8302 proxy_protocol;
        listen [::]:8302 proxy_protocol;
        return "\$proxy_protocol_addr \$proxy_protocol_port\n";
    }
}
END
}

start_haproxy() {
    haproxy_config >"$scratch/haproxy.cfg"
    start_at haproxy "$provider" haproxy -db -f "$scratch/haproxy.cfg"
    await 5 "HAProxy" bound "$provider" tcp 8305
}

# Only from 2.9 on has HAProxy a word for the endpoint's id (fc_pp_tlv). An older one looks for it at its place in the bytes
# that come, before it hands all of them to itself.
haproxy_config() {
    cat <<'END'
global
    log stdout format raw local0
defaults
    timeout connect 5s
    timeout client  30s
    timeout server  30s

frontend as-it-comes
    mode tcp
    bind :::8303 v4v6
    log global
    log-format "%[var(sess.endpoint)]"
    tcp-request inspect-delay 5s
    tcp-request content reject unless { req.len ge 100 }
    tcp-request content set-var(sess.endpoint) req.payload(39,22) if { req.payload(13,1) -m bin 11 }
    tcp-request content set-var(sess.endpoint) req.payload(63,22) if { req.payload(13,1) -m bin 21 }
    default_backend understood

backend understood
    mode tcp
    server here 127.0.0.1:8305

frontend understands
    mode http
    bind :::8305 v4v6 accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"
END
}
