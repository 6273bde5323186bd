# shellcheck shell=bash
# The programs behind the service, and the files they serve.
#
#   8080 nginx: /whoami, files to fetch, /up/ to put files      7007 socat: echoes (TCP, UDP)
#   5201 iperf3                                                 7009 socat: the SHA-256 of what it was sent
#   8444 nginx: the same over TLS, HTTP/2 or 1.1                7011 byte streams, judged by digest
#   5353 dnsmasq (UDP)                                          7012 a WebSocket echo
#   9    nothing: refuses
#
# Behind the second hop there is nginx, behind the third nginx and the echo over UDP.

readonly www="$scratch/www"

start_targets() {
    make_files
    make_certificate
    start_nginx "$provider"
    start_nginx "$behind"
    start_nginx "$beyond"
    start_at iperf3 "$provider" iperf3 --server
    start_at dnsmasq "$provider" dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file= \
        --port=5353 --listen-address=10.2.0.2,fd02::2 --bind-interfaces --no-resolv --no-hosts \
        --address=/orders.test/192.0.2.7 --address=/orders.test/2001:db8::7
    start_at echo-tcp "$provider" socat TCP6-LISTEN:7007,ipv6only=0,reuseaddr,nodelay,fork EXEC:cat
    start_at digest "$provider" socat TCP6-LISTEN:7009,ipv6only=0,reuseaddr,fork EXEC:sha256sum
    start_at streams "$provider" /usr/bin/python3 scripts/lib/streams_serve.py 7011
    start_at websocket "$provider" /usr/bin/python3 scripts/lib/websocket.py serve 7012
    # socat forks for each datagram, and loses some when two come at once.
    start_at echo-udp "$provider" /usr/bin/python3 scripts/lib/echo.py 7007 10.2.0.2 fd02::2
    start_at echo-beyond "$beyond" /usr/bin/python3 scripts/lib/echo.py 7007 10.2.8.2 fd02:8::2
    await_targets
}

await_targets() {
    local port
    await 10 "nginx behind the second hop" bound "$behind" tcp 8080
    await 10 "nginx behind the third hop" bound "$beyond" tcp 8080
    await 10 "the echo behind the third hop" bound "$beyond" udp 7007
    for port in 8080 8444 5201 7007 7009 7011 7012; do
        await 10 "a listener on TCP port $port" bound "$provider" tcp "$port"
    done
    for port in 5353 7007; do
        await 10 "a listener on UDP port $port" bound "$provider" udp "$port"
    done
}

make_files() {
    mkdir -p "$www/up"
    head -c 100M /dev/urandom >"$www/blob"
    head -c 40M /dev/urandom >"$www/for-a"
    head -c 40M /dev/urandom >"$www/for-b"
    blob_digest=$(digest_of "$www/blob")
}

# For orders.test, signed by itself.
make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=orders.test \
        -addext subjectAltName=DNS:orders.test -keyout "$scratch/key" -out "$scratch/certificate" ||
        refuse 2 "openssl could not make a certificate for the targets"
}

digest_of() {
    sha256sum "$1" | cut -d' ' -f1
}

start_nginx() {
    local home="$scratch/nginx-$1"
    mkdir "$home"
    nginx_config "$home" >"$home/nginx.conf"
    start_at "nginx-$1" "$1" nginx -p "$home" -c "$home/nginx.conf" -e stderr
}

# nginx_config HOME
nginx_config() {
    cat <<END
user root;
daemon off;
worker_processes 2;
pid $1/pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_max_body_size 0;
    client_body_temp_path $1/body;
    proxy_temp_path $1/proxy;
    fastcgi_temp_path $1/fastcgi;
    uwsgi_temp_path $1/uwsgi;
    scgi_temp_path $1/scgi;
    server {
        listen 8080;
        listen [::]:8080;
        listen 8444 ssl http2;
        listen [::]:8444 ssl http2;
        ssl_certificate $scratch/certificate;
        ssl_certificate_key $scratch/key;
        root $www;
        location /whoami { return 200 "\$remote_addr \$remote_port \$server_addr\n"; }
        location /up/ { dav_methods PUT; }
    }
}
END
}
