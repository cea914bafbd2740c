#!/usr/bin/env bash
# Follows docs/guides/debian.md on a bare Debian that systemd has started; needs root, debootstrap and Java. Not part
# of ctest, since it makes a Debian of its own (400 MB) and takes minutes.
#
#   debian_machine.sh DEB BIN [MIRROR]      DEB: of `./dev deb`; BIN: where the simulator is; MIRROR: debootstrap's own
#                                           if not given
#
# What it tries: apt installs the package; its units, with all that they give up, come up at the boot; a tenant is
# applied and kept in step; a newer package restarts what runs; a purge stops it, and leaves state and certificates.
set -euo pipefail
deb=$(realpath "$1")
bin=$(realpath "$2")
mirror=(${3:+"$3"})
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
root=$work/root
port=$((20000 + RANDOM % 10000))
reach=(--control 127.0.0.1:7460 --tls-dir /etc/tributary/tls/tributary)

say() { printf '==> %s\n' "$*" >&2; }
fail() { say "failed: $*"; exit 1; }
systemd() { pgrep -f "^/lib/systemd/systemd --unit=multi-user.target $work\$" | tail -n 1; }
# In that machine.
inside() {
  nsenter -t "$(systemd)" -m -p -u -i -C \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive sh -c 'cd /root && exec "$@"' sh "$@"
}
end() {
  if [[ -n $(systemd) ]]; then kill -KILL "$(systemd)"; fi
  if [[ -n ${simulator_pid:-} ]]; then kill "$simulator_pid" 2>/dev/null || true; fi
  bash tests/conformance/kafka_broker.sh down "$port"
  rm -rf "$work"
}
trap end EXIT

say 'making a Debian'
mkdir "$root"
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates bookworm "$root" "${mirror[@]}" \
  >"$work/debootstrap.log" || fail "$(tail -n 1 "$work/debootstrap.log")"
# How this machine reaches its mirrors.
cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d"
cp /etc/resolv.conf "$root/etc"
cp "$deb" "$root/root/tributary.deb"
chroot "$root" sh -c 'apt-get update -qq && apt-get install -qq -y --no-install-recommends /root/tributary.deb' \
  >"$work/apt.log" 2>&1 || fail "apt: $(tail -n 1 "$work/apt.log")"

say 'configuring it'
bash tests/conformance/kafka_broker.sh up "$port" >"$work/broker.log"
sed -i "s/127.0.0.1:9092/127.0.0.1:$port/; s/# partitions: 64/partitions: 4/" "$root/etc/tributary/tributary.yaml"
chroot "$root" tributary tls init /etc/tributary/tls >"$work/tls.log" 2>&1
chmod 700 "$root/etc/tributary/tls"
chroot "$root" systemctl -q enable tributary.target tributary@{control,extractor,transformer,loader}
"$bin/simulator" --listen 127.0.0.1:0 --tenant acme --seed 3 --customers 40 >"$work/simulator.json" 2>/dev/null &
simulator_pid=$!
until grep -q rest "$work/simulator.json"; do sleep 0.1; done
python3 - "$work/simulator.json" "$root" <<'PYTHON'
import json, pathlib, sys
access = json.load(open(sys.argv[1], encoding="utf-8"))
root = pathlib.Path(sys.argv[2])
(root / "root/keys").mkdir(mode=0o700)
(root / "root/keys/chargify").write_text(access["chargify"]["key"])
(root / "root/keys/highlevel").write_text(access["highlevel"]["token"])
for key in (root / "root/keys").iterdir():
    key.chmod(0o600)
text = (root / "usr/share/doc/tributary/examples/tenants.yaml").read_text()
for real, name in (("https://acme.chargify.com", "chargify"), ("https://services.leadconnectorhq.com", "highlevel")):
    text = text.replace(real, f"http://127.0.0.1:{access[name]['port']}\n        allow_insecure_loopback: true")
text = text.replace("ve9EPM428h8vShlRW1KT", access["highlevel"]["location"])
(root / "root/tenants.yaml").write_text(text)
PYTHON

say 'starting it'
# As a container manager does; without a root of its own a process may make no user namespace (PrivateUsers=).
unshare -m -p -f -u -i -C bash -s "$root" "$work" >"$work/boot.log" 2>&1 <<'BOOT' &
set -e
mount --bind "$1" "$1"
mount --make-private "$1"
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/tmp"
mount --rbind /dev "$1/dev"
mkdir -p "$1/oldroot"
cd "$1"
pivot_root . oldroot
umount -l /oldroot
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target "$2"
BOOT

all_ready() {
  local admin
  for admin in 9464 9465 9466 9467; do curl -sf "http://127.0.0.1:$admin/readyz" >/dev/null || return 1; done
}
in_step() {
  local site
  site=$(grep -o '"chargify":{"port":[0-9]*' "$work/simulator.json" | grep -o '[0-9]*$')
  [[ $(curl -sf "http://127.0.0.1:$site/_sim/judge?rest=0") == '{"mismatches":0,"duplicate_records":0,"regressions":0,'* ]]
}
# What, seconds, command…
wait_for() {
  local what=$1 until=$((SECONDS + $2))
  shift 2
  until "$@" 2>/dev/null; do
    ((SECONDS < until)) || fail "$what: not in time: $(inside journalctl -u 'tributary@*' -n 3 --no-pager 2>&1)"
    sleep 0.5
  done
  say "$what: yes"
}
wait_for 'all four are ready' 60 all_ready
inside tributary apply -f tenants.yaml "${reach[@]}" >"$work/apply.log" || fail "$(cat "$work/apply.log")"
wait_for 'the CRM has what the site has' 90 in_step
inside tributary verify "${reach[@]}" >&2
exposure=$(inside systemd-analyze security tributary@loader --no-pager | tail -n 1)
say "${exposure#→ }"

started() { inside systemctl show -p ActiveEnterTimestamp tributary@loader; }
before=$(started)
inside apt-get install -qq -y --reinstall /root/tributary.deb >"$work/reinstall.log" 2>&1
[[ $(started) != "$before" ]] || fail 'a newer package leaves the old program running'
wait_for 'all four are ready behind the upgrade' 60 all_ready
inside tributary verify "${reach[@]}" >&2

inside apt-get purge -qq -y tributary >"$work/purge.log" 2>&1
! all_ready || fail 'a purge leaves it running'
for kept in var/lib/private/tributary/control/control.db etc/tributary/tls/ca.key; do
  [[ -e $root/$kept ]] || fail "a purge takes $kept"
done
in_step || fail 'the CRM differs'
say 'good'
