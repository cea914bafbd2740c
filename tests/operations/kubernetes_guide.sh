#!/usr/bin/env bash
# Follows docs/guides/kubernetes.md: its own commands, one after another, on a real Kubernetes (kubernetes_node.sh). Needs
# root, what that needs, podman, buildah, debootstrap and Java. Not part of ctest, since it builds a Kubernetes once and
# takes a quarter of an hour then.
#
#   kubernetes_guide.sh BIN DEFINITIONS [ROOTFS]
#     BIN: programs built on Debian 12; DEFINITIONS: a directory with the CustomResourceDefinitions of a release of Strimzi
#     (kafkas, kafkanodepools, kafkatopics, kafkausers) and of KEDA (scaledobjects); ROOTFS: of a debootstrap
#   IMAGES in the environment names a file in which the images are kept for the next run (1.5 GB).
#
# What stands in: a broker under Strimzi's names, and the simulator behind TLS for site and CRM. Not run of the guide: the
# wait for Strimzi's operator, and `docker build` and `docker push` (the images are built by buildah of the same Dockerfile).
set -euo pipefail
bin=$(realpath "$1")
definitions=$(realpath "$2")
rootfs=${3:+$(realpath "$3")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
tree=$work/tree
ours=(control extractor transformer loader)
source tests/operations/podman.sh
node() { bash tests/operations/kubernetes_node.sh "$@"; }
# In the cluster's network and the tree's directory.
inside() { node run env -C "$tree" BIN="$bin" bash -euc 'PATH=$BIN:$PATH; '"$1"; }
kubectl() { node run kubectl "$@"; }

end() {
  node down
  podman_end
  rm -rf "$work"
}
trap end EXIT

follow() {
  say "kubernetes.md, $1, block $2"
  local commands
  commands=$(block kubernetes "$1" "$2")
  inside "$commands" >"$work/block.log" 2>&1 || { tail -n 30 "$work/block.log"; fail "$1, block $2"; }
}
# wait_for WHAT SECONDS COMMAND…
wait_for() {
  local what=$1 until=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || { kubectl get pods -A >&2; fail "not in time: $what"; }
    sleep 1
  done
  say "$what: yes"
}
ready() { kubectl -n tributary rollout status statefulset "$1" --timeout=240s >&2 || fail "$1 is not ready"; }
all_ready() { for name in "${ours[@]}"; do ready "$name"; done; }
site() { inside "curl -skf https://$(kubectl -n outside get pod -l app=simulator -o jsonpath='{.items[0].status.podIP}'):8443/_sim/$1"; }
in_step() { is_in_step "$(site 'judge?rest=0')"; }
good() { inside 'tributary verify --control 127.0.0.1:7460 --tls-dir tls/tributary' | grep -q '^good'; }
says() { inside 'tributary status --control 127.0.0.1:7460 --tls-dir tls/tributary' | grep -q "$1"; }
# A forward to a pod that is no more still holds its port.
reach_control() {
  if [[ -n ${to_control:-} ]]; then kill "$to_control" 2>/dev/null || true; wait "$to_control" 2>/dev/null || true; fi
  kubectl -n tributary port-forward control-0 7460 >"$work/forward.log" 2>&1 &
  to_control=$!
  wait_for 'control is reached' 30 grep -q Forwarding "$work/forward.log"
}
evict() {
  printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s","namespace":"tributary"}}' "$1" >"$work/eviction.json"
  kubectl create --raw "/api/v1/namespaces/tributary/pods/$1/eviction" -f "$work/eviction.json" 2>&1
}
connects() { kubectl -n "$1" exec "$2" ${3:+-c "$3"} -- timeout 5 bash -c "</dev/tcp/$4/$5"; }

# ---- images, cluster and what stands in ----

images=${IMAGES:-$work/images.tar}
if [[ ! -e $images ]]; then
  podman_begin "$rootfs"
  product_images "$bin" registry.example/tributary 0.1.0 "${ours[@]}"
  product_images "$bin" docker.io/tributary 0.1.0 simulator
  stand_in kafka docker.io/apache/kafka:4.3.0
  stand_in prometheus docker.io/prom/prometheus:v2.42.0
  stand_in alertmanager docker.io/prom/alertmanager:v0.25.0
  stand_in front localhost/front:test
  names=(docker.io/tributary/simulator:0.1.0 docker.io/apache/kafka:4.3.0 docker.io/prom/prometheus:v2.42.0
    docker.io/prom/alertmanager:v0.25.0 localhost/front:test)
  for name in "${ours[@]}"; do
    podman tag "registry.example/tributary/$name:0.1.0" "registry.example/tributary/$name:0.1.1"
    names+=("registry.example/tributary/$name:0.1.0" "registry.example/tributary/$name:0.1.1")
  done
  podman save -q -m -o "$images" "${names[@]}"
fi
mkdir "$tree"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp -a --parents -t "$tree"

say 'starting a cluster'
node up 2>"$work/node.log" || { tail -n 5 "$work/node.log"; fail 'no cluster'; }
node import "$images" 2>>"$work/node.log"
for name in operator prometheus-config-reloader; do node program "$name" 2>>"$work/node.log"; done
rm -f "$work/images.tar"
kubectl apply --server-side -f "$definitions" -f "$(node run sh -c 'echo "$PROGRAMS"')/prometheus-crds" >"$work/apply.log"
for i in $(seq 12); do
  mkdir -p "$work/volumes/$i"
  chmod 711 "$work" "$work/volumes"
  printf '%s\n' --- 'apiVersion: v1' 'kind: PersistentVolume' "metadata: {name: volume-$i}" 'spec:' \
    '  {capacity: {storage: 20Gi}, accessModes: [ReadWriteOnce], persistentVolumeReclaimPolicy: Retain,' \
    "   local: {path: $work/volumes/$i}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions:" \
    '     [{key: kubernetes.io/hostname, operator: In, values: [node]}]}]}}}'
done | kubectl apply -f - >>"$work/apply.log"

# ---- the guide ----

commands=$(block kubernetes '1. Kafka' 1)
say 'kubernetes.md, 1. Kafka, block 1'
inside "$commands" >"$work/block.log" 2>&1 || fail "$(cat "$work/block.log")"
kubectl apply --dry-run=server --validate=strict -f "$tree/k8s/kafka/three-brokers.yaml" >>"$work/apply.log"
! kubectl -n tributary run stranger --image=cluster/pause:1 >"$work/refused.log" 2>&1 || fail 'a pod without restrictions is taken'
grep -q 'violates PodSecurity' "$work/refused.log" || fail "$(cat "$work/refused.log")"

say 'a broker in the place of Strimzi'
mkdir "$work/pki"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=authority -keyout "$work/pki/ca.key" -out "$work/pki/ca.crt" 2>/dev/null
for name in broker "${ours[@]/#/tributary-}"; do
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$work/pki/$name.key" 2>/dev/null |
    openssl x509 -req -days 30 -CA "$work/pki/ca.crt" -CAkey "$work/pki/ca.key" -CAcreateserial -out "$work/pki/$name.crt" \
      -extfile <(echo 'subjectAltName=DNS:tributary-kafka-bootstrap,DNS:*.tributary-kafka-brokers.tributary.svc') 2>/dev/null
done
cat "$work/pki"/broker.{key,crt} >"$work/pki/broker.pem"
secret() { kubectl -n "$1" create secret generic "${@:2}" >>"$work/apply.log"; }
secret tributary tributary-cluster-ca-cert --from-file="$work/pki/ca.crt"
secret tributary tributary-kafka-brokers --from-file="$work/pki/broker.pem" --from-file=clients-ca.pem="$work/pki/ca.crt"
for name in "${ours[@]/#/tributary-}"; do
  secret tributary "$name" --from-file=user.crt="$work/pki/$name.crt" --from-file=user.key="$work/pki/$name.key"
done
kubectl apply -f tests/operations/stand_ins/kafka.yaml >>"$work/apply.log"
ready tributary-broker
kubectl -n tributary port-forward tributary-broker-0 9094 >"$work/forward.log" 2>&1 &
forward=$!
wait_for 'the broker is reached' 30 grep -q Forwarding "$work/forward.log"
node run python3 - <<'PYTHON' || fail 'the broker does not take the ACLs'
import sys
sys.path.insert(0, "tests/operations")
import acls_test
with acls_test.Client(acls_test.PRODUCER, bootstrap_servers="127.0.0.1:9094") as client:
    for user, acls in acls_test.users().items():
        client.create_acls(f"CN={user}", acls)
PYTHON
kill "$forward"

follow '2. Secrets' 1

say 'kubernetes.md, 3. Install, the overlay'
mkdir "$tree/my"
sed -n '/^```yaml$/,/^```$/p' docs/guides/kubernetes.md | sed '/^```/d' >"$tree/my/kustomization.yaml"
follow '3. Install' 2
all_ready

say 'a site and a CRM inside the network'
outside_certificate "$work/outside" chargify.outside.svc crm.outside.svc
kubectl apply -f tests/operations/stand_ins/outside.yaml >>"$work/apply.log"
secret outside front --from-file="$work/outside/cert.pem" --from-file="$work/outside/key.pem"
kubectl -n outside rollout status deployment simulator --timeout=120s >&2
wait_for 'the site answers' 60 site ports
outside_tenant "$work/tenant" "$(site ports)" https://chargify.outside.svc https://crm.outside.svc
cp -r "$work/tenant/." "$tree"
cp "$work/outside/cert.pem" "$tree/my/ca-certificates.crt"
cp tests/operations/stand_ins/allow-outside.yaml "$tree/my"
cat >>"$tree/my/kustomization.yaml" <<'YAML'
configMapGenerator:
  - {name: authorities, namespace: tributary, files: [ca-certificates.crt]}
patches:
  - target: {kind: StatefulSet, name: (extractor|loader)}
    patch: |
      - op: add
        path: /spec/template/spec/volumes/-
        value: {name: authorities, configMap: {name: authorities}}
      - op: add
        path: /spec/template/spec/containers/0/volumeMounts/-
        value: {name: authorities, mountPath: /etc/ssl/certs/ca-certificates.crt, subPath: ca-certificates.crt, readOnly: true}
YAML
inside 'kubectl apply -k my' >>"$work/apply.log"
all_ready

# Its block is the forward itself.
block kubernetes '4. Tenants' 1 | grep -q 'port-forward control-0 7460' || fail 'the forward of the guide is another'
reach_control
follow '4. Tenants' 2
wait_for 'a site inside the network is not let through, and status says so' 60 says 'Failed to connect'
sed -i 's#^resources: \[#&allow-outside.yaml, #' "$tree/my/kustomization.yaml"
inside 'kubectl apply -k my' >>"$work/apply.log"
wait_for 'with a policy of its own the CRM has what the site has' 240 in_step
wait_for 'verify is good' 60 good

say 'who may speak with whom'
! connects outside deploy/simulator front control.tributary.svc.cluster.local 7460 2>/dev/null || fail 'a stranger reaches control'
! connects outside deploy/simulator front loader.tributary.svc.cluster.local 9464 2>/dev/null || fail 'a stranger reads metrics'
connects tributary tributary-broker-0 '' 10.96.0.1 443 || fail 'what is in the namespace and not ours is bound by our policies'

# ---- operating ----

identity() { kubectl -n tributary get pod "$1" -o jsonpath='{.metadata.uid}'; }
volume() { kubectl -n tributary get pvc "data-$1" -o jsonpath='{.spec.volumeName}'; }
before=$(identity loader-0) kept=$(volume loader-0)
kubectl -n tributary delete pod loader-0 >>"$work/apply.log"
ready loader
[[ $(identity loader-0) != "$before" && $(volume loader-0) == "$kept" ]] || fail 'loader-0 is not what it was'
! kubectl -n tributary logs loader-0 | grep -q '"unclean":"true"' || fail 'deleted, it has handed nothing over'
say 'a pod that is deleted comes back under its name with its volume, and has handed its partitions over'

printf 'replicas:\n  - {name: loader, count: 2}\n' >>"$tree/my/kustomization.yaml"
sed -i 's/newTag: 0.1.0/newTag: 0.1.1/' "$tree/my/kustomization.yaml"
inside 'kubectl apply -k my' >>"$work/apply.log"
all_ready
for name in "${ours[@]}"; do
  kubectl -n tributary get pod "$name-0" -o jsonpath='{.spec.containers[0].image}' | grep -q ':0.1.1$' || fail "$name is the old one"
  ! kubectl -n tributary logs "$name-0" | grep -q '"unclean":"true"' || fail "$name has not drained"
done
say 'an upgrade drains, and scaling adds a member'
evict loader-0 | grep -q Success || fail 'the first eviction is refused'
{ evict loader-1 || true; } | grep -q 'violate the pod' || fail 'both loaders are evicted at once'
ready loader
say 'an eviction is let through, the second waits'

# control was replaced.
reach_control
wait_for 'verify is good' 120 good
in_step || fail 'the CRM differs'

kubectl apply --dry-run=server -k k8s/overlays/autoscaled >"$work/refused.log" 2>&1 || true
grep -q 'updates to statefulset spec' "$work/refused.log" || fail 'volumes can be changed in place; the guide need not say how'
sed -i 's#overlays/small#overlays/production#; /^components:/d' "$tree/my/kustomization.yaml"
# One broker, and one node, are here.
sed -i '/^replicas:/,$d' "$tree/my/kustomization.yaml"
printf 'replicas:\n' >>"$tree/my/kustomization.yaml"
printf '  - {name: %s, count: 1}\n' extractor transformer loader >>"$tree/my/kustomization.yaml"
for n in 1 2; do follow '6. Operate' "$n"; done
all_ready
wait_for 'verify is good in the form of production' 120 good
in_step || fail 'the CRM differs'

say 'monitoring'
inside "$(block kubernetes '5. Monitoring' 1 | sed '/port-forward/d')" >"$work/block.log" 2>&1 || fail "$(cat "$work/block.log")"
# The operator is told which of the releases it finds here.
kubectl -n monitoring patch prometheus main --type merge -p '{"spec":{"version":"v2.42.0"}}' >>"$work/apply.log"
kubectl -n monitoring patch alertmanager main --type merge -p '{"spec":{"version":"v0.25.0"}}' >>"$work/apply.log"
kubectl apply -f tests/operations/stand_ins/prometheus-operator.yaml >>"$work/apply.log"
# Debian's Prometheus has no discovery in Kubernetes, so what the operator has made for it is looked at, not run.
scraped() {
  kubectl -n monitoring get secret prometheus-main -o jsonpath='{.data.prometheus\.yaml\.gz}' | base64 -d | gunzip |
    grep -c 'podMonitor/tributary/tributary/0' >/dev/null
}
ruled() { kubectl -n monitoring get configmap prometheus-main-rulefiles-0 -o yaml | grep -c TributaryUnreachable >/dev/null; }
wait_for 'the operator has made a Prometheus' 120 kubectl -n monitoring get statefulset prometheus-main
wait_for 'it is to scrape our pods' 60 scraped
wait_for 'it has our rules' 60 ruled
kubectl -n monitoring rollout status statefulset alertmanager-main --timeout=180s >&2
connects monitoring alertmanager-main-0 alertmanager loader.tributary.svc.cluster.local 9464 || fail 'monitoring cannot read metrics'
say 'good'
