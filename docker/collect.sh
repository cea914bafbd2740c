#!/usr/bin/env bash
# collect.sh TO FROM: for each of our programs in FROM the file system of its image, in TO/<program>: the program
# without debugging information, the libraries that it loads, and the certificates of authorities.
set -euo pipefail
to=$1
from=$2

for program in extractor transformer loader control tributary simulator; do
  root=$to/$program
  mkdir -p "$root"/{usr/bin,etc/ssl/certs,etc/tributary/tls,var/lib/tributary,tmp}
  # As on Debian itself: the loader's path is /lib64, and libraries are found under /lib.
  mkdir -p "$root"/usr/lib "$root"/usr/lib64
  ln -sfn usr/lib "$root/lib"
  ln -sfn usr/lib64 "$root/lib64"
  strip -o "$root/usr/bin/$program" "$from/$program"
  # Copies, not links: what a link points to is what is loaded.
  ldd "$from/$program" | awk '{path = $2 == "=>" ? $3 : $1} path ~ "^/" {print path}' | while read -r library; do
    mkdir -p "$root/usr$(dirname "${library#/usr}")"
    cp -L "$library" "$root/usr${library#/usr}"
  done
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
  printf 'tributary:x:10001:10001::/var/lib/tributary:/\n' >"$root/etc/passwd"
  printf 'tributary:x:10001:\n' >"$root/etc/group"
  chmod 1777 "$root/tmp"
  # What a fresh volume mounted there inherits. Without root the image's builder does it.
  if ((EUID == 0)); then chown 10001:10001 "$root/etc/tributary/tls" "$root/var/lib/tributary"; fi
done
