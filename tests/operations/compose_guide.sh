#!/usr/bin/env bash
# Follows docs/guides/compose.md: its own commands, one after another, with the real `docker compose` on podman's socket.
# Needs root, podman, buildah, runc, debootstrap, Java, Go 1.24 and the docker command line. Not part of ctest, since it makes a
# Debian of its own, fetches much and takes half an hour.
#
#   compose_guide.sh BIN [ROOTFS]      BIN: programs built on Debian 12; ROOTFS: of a debootstrap, made if not given
#
# What it tries: the images build and everything starts, as the version before (previous_version.sh); a tenant is applied and
# its CRM gets what the site has; Prometheus sees every service; all stop with 0, start again, and are upgraded to this
# version; a site that nobody can connect to becomes an alert at Alertmanager. Kafka, Prometheus and Alertmanager are the real programs in images of our own (stand_ins); Grafana is a name.
set -euo pipefail
bin=$(realpath "$1")
rootfs=${2:+$(realpath "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
tree=$work/tree
site_port=$((20000 + RANDOM % 10000))
ours=(control extractor transformer loader)
source tests/operations/podman.sh

end() {
  # They hold the network, which the next run would find taken.
  podman rm -f -t 1 outside-front >/dev/null 2>&1 || true
  podman rm -f -t 1 outside-simulator >/dev/null 2>&1 || true
  if [[ -d $tree/docker ]]; then (cd "$tree/docker" && docker compose down -v -t 5 >"$work/down.log" 2>&1) || true; fi
  # It starts again what ends.
  if [[ -n ${service:-} ]]; then kill "$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; fi
  podman_end
  rm -rf "$work"
}
trap end EXIT

# Compose is a module of Go; where it is installed, that one is taken.
readonly COMPOSE=2.40.3
compose_plugin() {
  ! docker compose version >/dev/null 2>&1 || return 0
  local kept=${XDG_CACHE_HOME:-$HOME/.cache}/tributary/compose-$COMPOSE
  if [[ ! -x $kept/docker-compose ]]; then
    say 'building docker compose'
    mkdir -p "$kept"
    printf 'module compose\n\ngo 1.24.7\n\nrequire github.com/docker/compose/v2 v%s\n' "$COMPOSE" >"$kept/go.mod"
    (cd "$kept" && CGO_ENABLED=0 GOFLAGS=-mod=mod nice go build -o docker-compose \
      -ldflags "-X github.com/docker/compose/v2/internal.Version=v$COMPOSE" github.com/docker/compose/v2/cmd)
  fi
  export DOCKER_CONFIG=$work/docker
  mkdir -p "$DOCKER_CONFIG/cli-plugins"
  cp "$kept/docker-compose" "$DOCKER_CONFIG/cli-plugins"
  # podman wants it where the variable points.
  printf '{}\n' >"$DOCKER_CONFIG/config.json"
}

# In the directory docker/ of the tree, as somebody who follows the guide.
follow() {
  say "compose.md, $1, block $2"
  local commands
  commands=$(block compose "$1" "$2")
  (cd "$tree/${3:-docker}" && bash -euc "$commands") >"$work/block.log" 2>&1 || { tail -n 30 "$work/block.log"; fail "$1, block $2"; }
}
# wait_for WHAT SECONDS COMMAND…
wait_for() {
  local what=$1 until=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > until)); then
      (cd "$tree/docker" && docker compose ps -a && docker compose logs --tail 4) >&2 || true
      status verify >&2 || true
      fail "not in time: $what"
    fi
    sleep 1
  done
  say "$what: yes"
}
in_step() { is_in_step "$(curl -skf "https://127.0.0.1:$site_port/_sim/judge?rest=0")"; }
# Prometheus has scraped all four, and itself speaks with Alertmanager.
watched() {
  curl -sf 'http://127.0.0.1:9090/api/v1/query?query=sum(up%7Bjob="tributary"%7D)' | grep -q '"4"\]' &&
    curl -sf http://127.0.0.1:9090/api/v1/alertmanagers | grep -q 'alertmanager:9093'
}
alert() { curl -sf http://127.0.0.1:9093/api/v2/alerts | grep -q "\"alertname\":\"$1\""; }
# Asked often, so not by a container for each question: podman's names get lost where containers come and go by the second.
status() {
  "$tree/programs/tributary" --control 127.0.0.1:7460 \
    --tls-dir "$(podman volume inspect -f '{{.Mountpoint}}' tributary_tls)/tributary" "$@"
}
program() { podman inspect -f '{{.Image}}' "tributary-$1-1"; }
is_good() { [[ $(status verify 2>/dev/null) == good* ]]; }

podman_begin "$rootfs"
mkdir "$tree"
git ls-files -z | xargs -0 cp -a --parents -t "$tree"
previous_programs "$bin"
cp -r "$work/previous" "$tree/programs"
stand_in kafka docker.io/apache/kafka:4.3.0
stand_in prometheus docker.io/prom/prometheus:v2.53.0
stand_in alertmanager docker.io/prom/alertmanager:v0.27.0
stand_in grafana docker.io/grafana/grafana:11.2.0
stand_in front localhost/front:test
image docker/Dockerfile "$tree" simulator localhost/simulator:test --build-arg PROGRAMS=programs
outside_certificate "$work/tls" chargify.test crm.test

podman system service -t 0 "unix://$work/podman.sock" >"$work/service.log" 2>&1 &
service=$!
# podman builds as docker did before BuildKit.
export DOCKER_HOST=unix://$work/podman.sock DOCKER_BUILDKIT=0
compose_plugin
# The programs are not compiled once more in each image, and ours believe the site's authority.
{
  printf 'services:\n'
  for name in certificates "${ours[@]}"; do
    printf '  %s:\n    build: {args: {PROGRAMS: programs}}\n' "$name"
    [[ $name != extractor && $name != loader ]] ||
      printf "    volumes: ['%s/tls/cert.pem:/etc/ssl/certs/ca-certificates.crt:ro']\n" "$work"
  done
} >"$work/ours.yaml"
export COMPOSE_FILE=compose.yaml:$work/ours.yaml

follow '1. Build and start' 1 .
podman run -d --name outside-simulator --network tributary_default --network-alias chargify.test --network-alias crm.test \
  -p "127.0.0.1:$site_port:8443" localhost/simulator:test --listen 127.0.0.1:8700 --tenant acme --customers 50 --seed 3 >/dev/null
podman run -d --name outside-front --network container:outside-simulator -v "$work/tls:/tls:ro" localhost/front:test >/dev/null
wait_for 'the site is up' 30 curl -skf -o "$work/ports.json" "https://127.0.0.1:$site_port/_sim/ports"
outside_tenant "$tree/docker/my" "$(cat "$work/ports.json")" https://chargify.test:8443 https://crm.test:8444

wait_for 'control serves' 120 status status
follow '2. A tenant' 1
wait_for 'the CRM has what the site has' 180 in_step
wait_for 'verify is good' 120 is_good
wait_for 'Prometheus has all four, and Alertmanager' 120 watched
for address in 9090/-/ready 9093/-/ready; do curl -sf "http://127.0.0.1:$address" >/dev/null || fail "$address"; done
! alert TributaryFreshnessBudgetBurn || fail 'a new installation burns its budget'

follow '4. Stop, start, upgrade' 1
for name in "${ours[@]}"; do
  code=$(podman inspect -f '{{.State.ExitCode}}' "tributary-$name-1")
  [[ $code == 0 ]] || fail "$name ended with $code"
done
say 'all four ended with 0'
follow '4. Stop, start, upgrade' 2
wait_for 'verify is good behind the start' 300 is_good
cp "$bin"/{control,extractor,transformer,loader,tributary} "$tree/programs"
declare -A before
for name in "${ours[@]}"; do before[$name]=$(program "$name"); done
follow '4. Stop, start, upgrade' 3
for name in "${ours[@]}"; do [[ $(program "$name") != "${before[$name]}" ]] || fail "$name is the old one"; done
wait_for 'verify is good behind the upgrade' 300 is_good
in_step || fail 'the CRM differs'

podman stop -t 1 outside-front >/dev/null
wait_for 'nobody can connect, and Alertmanager says so' 900 alert TributaryUnreachable
say 'good'
