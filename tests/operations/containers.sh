#!/usr/bin/env bash
# Builds the images and runs the services in containers, where buildah and podman are; needs root. The test
# `containers_test` there; it makes a Debian of its own (250 MB).
#
#   containers.sh BIN [ROOTFS]      BIN: programs built on Debian 12; ROOTFS: of a debootstrap, made if not given
#
# What it tries: each target of the Dockerfile builds; the four services, read-only, without capabilities, as
# user 10001, with docker/tributary.yaml, work with a real broker and a simulator; SIGTERM ends them with 0.
set -euo pipefail
bin=$(realpath "$1")
rootfs=${2:+$(realpath "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
services=(control extractor transformer loader)

source tests/operations/podman.sh

end() {
  for service in "${services[@]}"; do podman rm -f -t 5 "tributary-$service" >/dev/null 2>&1 || true; done
  if [[ -n ${simulator_pid:-} ]]; then kill "$simulator_pid" 2>/dev/null || true; fi
  if [[ -n ${port:-} ]]; then bash tests/conformance/kafka_broker.sh down "$port"; fi
  podman_end
  rm -rf "$work"
}
trap end EXIT

podman_begin "$rootfs"
product_images "$bin" localhost/tributary test "${services[@]}" tributary simulator
podman images --format '{{.Repository}} {{.Size}}' | grep tributary/ >&2

# Behind the builds, which take minutes: other tests choose ports too.
are_free() { for p in "$@"; do ! (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || return 1; done; }
until
  port=$((20000 + RANDOM % 10000))
  simulator=$((port + 10))
  admin=$((port + 20))
  are_free $(seq "$port" $((port + 30)))
do :; done
bash tests/conformance/kafka_broker.sh up "$port"
"$bin/simulator" --listen "127.0.0.1:$simulator" --customers 50 --tenant acme >"$work/simulator.json" &
simulator_pid=$!

# confined NAME ARGUMENT…: as compose.yaml says, but for the network, which is the machine's here.
confined() {
  local name=$1
  shift
  podman run --network host --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp \
    -v "$work/tls:/etc/tributary/tls" -v "$work/data-$name:/var/lib/tributary" "$@"
}
for name in tls data-tributary "${services[@]/#/data-}"; do install -d -o 10001 -g 10001 "$work/$name"; done
confined tributary --rm localhost/tributary/tributary:test tls init /etc/tributary/tls

for i in "${!services[@]}"; do
  service=${services[$i]}
  confined "$service" -d --name "tributary-$service" -v "$PWD/docker/tributary.yaml:/etc/tributary/tributary.yaml:ro" \
    -e TRIBUTARY_LOG_BOOTSTRAP_SERVERS="127.0.0.1:$port" -e TRIBUTARY_LOG_PARTITIONS=4 \
    -e TRIBUTARY_LOG_INSTANCE="$service-1" -e TRIBUTARY_ADMIN_LISTEN="127.0.0.1:$((admin + i))" \
    -e TRIBUTARY_CONTROL_LISTEN="127.0.0.1:$((admin + 9))" -e TRIBUTARY_CONTROL_ADDRESS="127.0.0.1:$((admin + 9))" \
    -e TRIBUTARY_CONTROL_TLS_DIRECTORY="/etc/tributary/tls/$service" \
    "localhost/tributary/$service:test" --config /etc/tributary/tributary.yaml >/dev/null
done

# within SECONDS WHAT COMMAND…
within() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > until)); then
      for service in "${services[@]}"; do podman logs "tributary-$service" 2>&1 | tail -5; done
      fail "waited for: $what"
    fi
    sleep 0.5
  done
  say "$what"
}
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$((admin + $1))"; printf 'GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' "$2" >&3; head -1 <&3 | grep -q ' 200 '); }
for i in "${!services[@]}"; do within 90 "${services[$i]} is ready" answers "$i" /readyz; done

key() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]][sys.argv[3]])' "$work/simulator.json" "$@"; }
key chargify key >"$work/chargify"
key rest key >"$work/rest"
chmod 600 "$work/chargify" "$work/rest"
cat >"$work/tenants.yaml" <<YAML
tenants:
  - name: acme
    connections:
      - {name: billing, integration: chargify, url: 'http://127.0.0.1:$simulator', allow_insecure_loopback: true,
         credentials: {api_key: {key_file: chargify}}, settings: {visibility_lag: 2s, poll_interval: 1s}}
      - {name: clients, integration: rest, url: 'http://127.0.0.1:$(key rest port)', allow_insecure_loopback: true,
         credentials: {api_key: {key_file: rest}}, connector_file: $PWD/libs/connector/files/rest.yaml,
         settings: {settle: 40s, index_lag: 1s}}
    syncs: [{name: clients, source: billing, target: clients}]
YAML
ours() { "$bin/tributary" --control "127.0.0.1:$((admin + 9))" --tls-dir "$work/tls/tributary" "$@"; }
ours apply -f "$work/tenants.yaml"
ours status
applied() { answers_text 3 | grep -q 'tributary_outcomes_total{integration="rest",outcome="applied"} [1-9]'; }
answers_text() { exec 3<>"/dev/tcp/127.0.0.1/$((admin + $1))"; printf 'GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' >&3; cat <&3; exec 3>&-; }
within 90 'the loader has written to the CRM' applied

for service in "${services[@]}"; do
  podman stop -t 60 "tributary-$service" >/dev/null
  code=$(podman inspect -f '{{.State.ExitCode}}' "tributary-$service")
  [[ $code == 0 ]] || fail "$service ended with $code"
done
say 'all of them ended with 0 on SIGTERM'
