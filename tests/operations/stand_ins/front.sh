#!/usr/bin/env bash
# TLS before the simulator's three ports: Chargify on 8443, HighLevel on 8444, the REST CRM on 8445.
set -euo pipefail
for i in 0 1 2; do
  socat "OPENSSL-LISTEN:$((8443 + i)),fork,reuseaddr,cert=/tls/cert.pem,key=/tls/key.pem,verify=0" \
    "TCP:127.0.0.1:$((8700 + i))" &
done
wait -n
