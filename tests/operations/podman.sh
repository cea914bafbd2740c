# Sourced by who needs containers: podman and buildah with a storage of their own in $work, and a Debian in it as the base
# of all images. Needs root; no registry is asked.

say() { printf '==> %s\n' "$*" >&2; }
fail() { say "failed: $*"; exit 1; }

# podman_begin [ROOTFS]: of a debootstrap, made if not given.
podman_begin() {
  local rootfs=${1:-}
  cat >"$work/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=10000:10000", "nproc=10000:10000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "$work/networks"
CONF
  cat >"$work/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$work/storage"
runroot = "$work/run"
CONF
  export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
  if [[ -z $rootfs ]]; then
    say 'making a Debian'
    rootfs=$work/rootfs
    debootstrap --variant=minbase bookworm "$rootfs" >"$work/debootstrap.log"
  fi
  tar -C "$rootfs" -c . | podman import -q -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - \
    docker.io/library/debian:bookworm-slim >/dev/null
}

# What is left of a container that could not be removed must not hold the disk, nor its network the next run's.
podman_end() {
  podman rm -f -a -t 5 >/dev/null 2>&1 || true
  podman network prune -f >/dev/null 2>&1 || true
  awk -v under="$work/" 'index($2, under) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l
}

# image FILE CONTEXT TARGET NAME ARGUMENT…
image() {
  local file=$1 context=$2 target=$3 name=$4
  shift 4
  say "building $name"
  nice buildah bud -q --layers --isolation chroot --pull-never -f "$file" --target "$target" "$@" -t "$name" "$context" \
    >>"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log"; fail "the image $name"; }
}

# previous_programs BIN: those of the version before, with BIN's simulator, in $work/previous.
previous_programs() {
  say 'the version before'
  mkdir "$work/previous"
  cp "$(bash tests/operations/previous_version.sh)"/* "$1/simulator" "$work/previous"
}

# product_images BIN PREFIX TAG PROGRAM…: of programs as they are; nothing is compiled, so no sources are needed.
product_images() {
  local bin=$1 prefix=$2 tag=$3 program
  shift 3
  mkdir -p "$work/context/programs"
  cp -r dev docker "$work/context"
  cp "$bin"/{control,extractor,transformer,loader,tributary,simulator} "$work/context/programs"
  for program in "$@"; do
    image docker/Dockerfile "$work/context" "$program" "$prefix/$program:$tag" --build-arg PROGRAMS=programs
  done
}

# stand_in TARGET NAME: of stand_ins/Dockerfile.
stand_in() {
  if [[ ! -d $work/stand_ins ]]; then
    bash tests/conformance/kafka_broker.sh jars
    cp -r tests/operations/stand_ins "$work"
    cp -r "${XDG_CACHE_HOME:-$HOME/.cache}/tributary/kafka/$(
      sed -n 's/^readonly KAFKA_VERSION=//p' tests/conformance/kafka_broker.sh)" "$work/stand_ins/libs"
  fi
  image "$work/stand_ins/Dockerfile" "$work/stand_ins" "$1" "$2"
}

# The simulator's answer to one who knows its port: the CRM has what the site has.
is_in_step() { [[ $1 == '{"mismatches":0,"duplicate_records":0,"regressions":0,'* ]]; }

# outside_certificate DIRECTORY NAME…: of a site and a CRM, and the authority that has signed it (itself).
outside_certificate() {
  local to=$1
  shift
  mkdir -p "$to"
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=outside -keyout "$to/key.pem" -out "$to/cert.pem" \
    -addext "subjectAltName=$(printf 'DNS:%s,' "$@" | sed 's/,$//')" 2>/dev/null
}

# outside_tenant DIRECTORY PORTS SITE CRM: the guide's tenant, with the simulator's keys and these addresses.
outside_tenant() {
  python3 - "$@" <<'PYTHON'
import json, pathlib, re, sys
to, ports, site, crm = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
text = pathlib.Path("docs/guides/first-connection.md").read_text(encoding="utf-8")
text = re.search(r"```yaml\n(tenants:.*?)```", text, re.S)[1]
for real, here in (("https://acme.chargify.com", site), ("https://services.leadconnectorhq.com", crm),
                   ("ve9EPM428h8vShlRW1KT", ports["highlevel"]["location"])):
    assert real in text, real
    text = text.replace(real, here)
(to / "keys").mkdir(mode=0o700, parents=True)
(to / "tenants.yaml").write_text(text, encoding="utf-8")
for name, key in (("chargify", ports["chargify"]["key"]), ("highlevel", ports["highlevel"]["token"])):
    (to / "keys" / name).touch(mode=0o600)
    (to / "keys" / name).write_text(key, encoding="utf-8")
PYTHON
}

# block GUIDE SECTION N: the N-th block of commands of a section, as the guide has it.
block() {
  local text
  text=$(awk -v section="## $2" -v wanted="$3" '
    /^## / {inside = $0 == section; next}
    !inside {next}
    /^    / {if (!within) {within = 1; n++} if (n == wanted) print substr($0, 5); next}
    /^$/ && within {blank = 1; if (n == wanted) print ""; next}
    {within = 0}' "docs/guides/$1.md")
  [[ -n $text ]] || fail "docs/guides/$1.md has no block $3 in \"$2\""
  printf '%s\n' "$text"
}
