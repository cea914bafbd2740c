#!/usr/bin/env bash
# Follows docs/guides/kubernetes.md: its own commands, one after another, on a real Kubernetes (kubernetes_node.sh). Needs
# root, what that needs, podman, buildah, debootstrap and Java. Not part of ctest, since it builds a Kubernetes once and
# takes half an hour then. It begins with the version before (previous_version.sh), and is upgraded to this one.
#
#   kubernetes_guide.sh BIN DEFINITIONS [ROOTFS]
#     BIN: programs built on Debian 12; DEFINITIONS: a directory with the CustomResourceDefinitions of a release of Strimzi
#     (kafkas, kafkanodepools, kafkatopics, kafkausers) and of KEDA (scaledobjects); ROOTFS: of a debootstrap
#   IMAGES in the environment names a file in which the images are kept for the next run (1 GB). With KEEP a run that
#   fails leaves its cluster (`kubernetes_node.sh run kubectl …` looks into it, `kubernetes_node.sh down` ends it).
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
# In the cluster's network and the tree's directory, with the programs of the version that is installed.
inside() { node run env -C "$tree" BIN="$installed" bash -euc 'PATH=$BIN:$PATH; '"$1"; }
kubectl() { node run kubectl "$@"; }

declare -A forwards
end() {
  local code=$? pod
  for pod in "${!forwards[@]}"; do leave "$pod"; done
  if [[ $code != 0 && -n ${KEEP:-} ]]; then say "left as it is: the cluster, and $work"; return; fi
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
site_url() { echo "https://$(kubectl -n outside get pod -l app=simulator -o jsonpath='{.items[0].status.podIP}'):8443/_sim/$1"; }
site() { node run curl -skf "$(site_url "$1")"; }
site_changes() { node run curl -skf -d '{"count":20}' "$(site_url mutate)" >/dev/null; }
in_step() { is_in_step "$(site 'judge?rest=0')"; }
good() { inside 'tributary verify --control 127.0.0.1:7460 --tls-dir tls/tributary' | grep -q '^good'; }
says() { inside 'tributary status --control 127.0.0.1:7460 --tls-dir tls/tributary' | grep -q "$1"; }
# reach NAMESPACE POD PORT: through the API server. A forward to a pod that is no more still holds its port.
reach() {
  leave "$2"
  bash tests/operations/kubernetes_node.sh run kubectl -n "$1" port-forward "$2" "$3" >"$work/forward.log" 2>&1 &
  forwards[$2]=$!
  wait_for "$2 is reached" 30 grep -q Forwarding "$work/forward.log"
}
leave() {
  [[ -n ${forwards[$1]:-} ]] || return 0
  kill "${forwards[$1]}" 2>/dev/null || true
  wait "${forwards[$1]}" 2>/dev/null || true
  unset "forwards[$1]"
}
evict() {
  printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s","namespace":"tributary"}}' "$1" >"$work/eviction.json"
  kubectl create --raw "/api/v1/namespaces/tributary/pods/$1/eviction" -f "$work/eviction.json" 2>&1
}
connects() { kubectl -n "$1" exec "$2" ${3:+-c "$3"} -- timeout 5 bash -c "</dev/tcp/$4/$5"; }

# ---- images, cluster and what stands in ----

images=${IMAGES:-$work/images.tar}
previous_programs "$bin"
installed=$work/previous
if [[ ! -e $images ]]; then
  podman_begin "$rootfs"
  product_images "$installed" registry.example/tributary 0.1.0 "${ours[@]}"
  product_images "$bin" registry.example/tributary 0.1.1 "${ours[@]}"
  product_images "$bin" docker.io/tributary 0.1.0 simulator
  stand_in kafka docker.io/apache/kafka:4.3.0
  stand_in front localhost/front:test
  names=(docker.io/tributary/simulator:0.1.0 docker.io/apache/kafka:4.3.0 localhost/front:test)
  for name in "${ours[@]}"; do names+=("registry.example/tributary/$name":0.1.{0,1}); done
  podman save -q -m -o "$images" "${names[@]}"
fi
mkdir "$tree"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp -a --parents -t "$tree"

say 'starting a cluster'
node up 2>"$work/node.log" || { tail -n 5 "$work/node.log"; fail 'no cluster'; }
node import "$images" 2>>"$work/node.log"
for name in operator prometheus-config-reloader; do node program "$name" 2>>"$work/node.log"; done
node program prometheus prom/prometheus:v3.1.0 2>>"$work/node.log"
node program alertmanager prom/alertmanager:v0.28.0 2>>"$work/node.log"
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
reach tributary tributary-broker-0 9094
node run python3 - <<'PYTHON' || fail 'the broker does not take the ACLs'
import sys
sys.path.insert(0, "tests/operations")
import acls_test
with acls_test.Client(acls_test.PRODUCER, bootstrap_servers="127.0.0.1:9094") as client:
    for user, acls in acls_test.users().items():
        client.create_acls(f"CN={user}", acls)
PYTHON
leave tributary-broker-0

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
reach tributary control-0 7460
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
installed=$bin
say 'an upgrade from the version before drains, and scaling adds a member'
evict loader-0 | grep -q Success || fail 'the first eviction is refused'
{ evict loader-1 || true; } | grep -q 'violate the pod' || fail 'both loaders are evicted at once'
ready loader
say 'an eviction is let through, the second waits'

# control was replaced.
reach tributary control-0 7460
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
# Its environment is another, so control was replaced.
reach tributary control-0 7460
wait_for 'verify is good in the form of production' 120 good
in_step || fail 'the CRM differs'

say 'monitoring'
block kubernetes '5. Monitoring' 1 | grep -q 'port-forward prometheus-main-0 9090' || fail 'the forward of the guide is another'
inside "$(block kubernetes '5. Monitoring' 1 | sed '/port-forward/d')" >"$work/block.log" 2>&1 || fail "$(cat "$work/block.log")"
kubectl apply -f tests/operations/stand_ins/prometheus-operator.yaml >>"$work/apply.log"
for name in prometheus alertmanager; do
  wait_for "the operator has made it: $name" 120 kubectl -n monitoring get statefulset "$name-main"
  kubectl -n monitoring rollout status statefulset "$name-main" --timeout=180s >&2 || fail "$name is not ready"
done
reach monitoring prometheus-main-0 9090
reach monitoring alertmanager-main-0 9093
asked() { node run curl -sf -G --data-urlencode "query=$1" http://127.0.0.1:9090/api/v1/query; }
scraped() { asked 'count(up{job="tributary"} == 1)' | grep -q '"4"\]'; }
ruled() { asked 'stage:tributary_unread:sum' | grep -q '"value"'; }
told() { node run curl -sf http://127.0.0.1:9093/api/v2/alerts | grep -q "\"alertname\":\"$1\""; }
untold() { ! told "$1"; }
wait_for 'Prometheus has found our pods, all four' 120 scraped
wait_for 'it has our rules' 120 ruled
# Rates are of what happens; and the tokens of this site and CRM end never.
site_changes
node run python3 - >&2 <<'PYTHON' || fail 'the boards'
import sys
sys.path.insert(0, "tests/operations")
import monitoring_test
run = monitoring_test.Run(None, None)
run.prometheus = "http://127.0.0.1:9090/api/v1"
monitoring_test.queries_are_finite(run, is_fast=False, seconds=600, without=["tenant: Credentials end in"])
PYTHON
untold TributaryUnreachable || fail 'a site that answers is said to be away'

say 'a site is away'
sed -i 's#allow-outside.yaml, ##' "$tree/my/kustomization.yaml"
kubectl -n tributary delete networkpolicy allow-outside >>"$work/apply.log"
# What is connected stays so; the front begins anew.
kubectl -n outside exec deploy/simulator -c front -- bash -c 'kill $(cat /proc/1/task/1/children)' >>"$work/apply.log" 2>&1 || true
wait_for 'nobody can connect, and Alertmanager says so' 900 told TributaryUnreachable
sed -i 's#^resources: \[#&allow-outside.yaml, #' "$tree/my/kustomization.yaml"
inside 'kubectl apply -k my' >>"$work/apply.log"
site_changes
# Who was away rests for up to ten minutes.
wait_for 'the CRM has what the site has' 900 in_step
wait_for 'and Alertmanager that it is over' 1200 untold TributaryUnreachable
wait_for 'verify is good' 300 good
say 'good'
