#!/usr/bin/env bash
# A real Kubernetes of one node for kubernetes_guide.sh: etcd, API server, controllers, scheduler, kubelet, proxy, DNS and
# a plugin that enforces network policies, in namespaces of their own (network, mounts, processes), so that nothing of
# it is left when they end. Needs root, Go 1.24 or newer (bookworm-backports), Debian's containerd, runc, etcd-server,
# containernetworking-plugins, iptables, ipset, catatonit, and cgroups of version 1.
#
#   kubernetes_node.sh programs        builds Kubernetes, CoreDNS, kube-router, the Prometheus Operator, Prometheus and
#                                      Alertmanager of their Go modules, once (half an hour)
#   kubernetes_node.sh up              starts it, and waits until the node is ready
#   kubernetes_node.sh run COMMAND…    in its network, with KUBECONFIG and its kubectl
#   kubernetes_node.sh import FILE     images, as `podman save` writes them
#   kubernetes_node.sh program NAME [IMAGE]    an image of that program, cluster/NAME:1 if not said
#   kubernetes_node.sh down            ends it, and removes what it kept
set -euo pipefail

readonly KUBERNETES=1.30.4 COREDNS=1.11.3 KUBE_ROUTER=2.1.0 PROMETHEUS_OPERATOR=0.80.1
# The module's number of Prometheus 3.1.0; both are those that this operator asks for.
readonly PROMETHEUS=0.301.0 ALERTMANAGER=0.28.0
readonly PROGRAMS=${XDG_CACHE_HOME:-$HOME/.cache}/tributary/cluster-$KUBERNETES
readonly HERE=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
readonly DATA=${TMPDIR:-/tmp}/tributary-cluster
readonly NODE_ADDRESS=10.77.0.1 SERVICES=10.96 PODS=10.244.0
readonly CGROUP=tributary-cluster

say() { printf 'cluster: %s\n' "$*" >&2; }
fail() { say "failed: $*"; exit 1; }

# build DIRECTORY MODULE VERSION PACKAGE…
build() {
  local at=$PROGRAMS/modules/$1 module=$2 version=$3
  shift 3
  mkdir -p "$at"
  (
    cd "$at"
    export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -mod=mod'
    printf 'module cluster\n\ngo 1.22.0\n\nrequire %s v%s\n' "$module" "$version" >go.mod
    if [[ $module == k8s.io/kubernetes ]]; then
      # Its libraries are modules of their own, of the same release.
      go mod download -json "$module@v$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p' | xargs \
        sed -n "s#^\t\(k8s.io/[a-z-]*\) => ./staging.*#replace \1 => \1 v0${version#1}#p" >>go.mod
    fi
    if [[ $module == */prometheus-operator ]]; then
      printf 'require %s v%s\n' "$module/pkg/apis/monitoring" "$version" "$module/pkg/client" "$version" >>go.mod
    fi
    nice go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$KUBERNETES" -o "$PROGRAMS/" "$@"
  )
}

programs() {
  mkdir -p "$PROGRAMS"
  local name missing=()
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    [[ -x $PROGRAMS/$name ]] || missing+=("k8s.io/kubernetes/cmd/$name")
  done
  ((${#missing[@]} == 0)) || build kubernetes k8s.io/kubernetes "$KUBERNETES" "${missing[@]}"
  [[ -x $PROGRAMS/coredns ]] || build coredns github.com/coredns/coredns "$COREDNS" github.com/coredns/coredns
  local router=github.com/cloudnativelabs/kube-router/v2
  if [[ ! -x $PROGRAMS/kube-router ]]; then
    mkdir -p "$PROGRAMS/modules/kube-router"
    # Not every mirror of Go's checksum database has it.
    printf '%s %s\n' "$router" "v$KUBE_ROUTER h1:xWsptKtmZ44L+NjwFKoFAFlVdxCz8fka9A/eYJe95Ok=" \
      "$router" "v$KUBE_ROUTER/go.mod h1:JU/k2Qqcph0myF1cRDLidz1SZdoSrPczuYcGxYRSP0A=" >"$PROGRAMS/modules/kube-router/go.sum"
    build kube-router "$router" "$KUBE_ROUTER" "$router/cmd/kube-router"
  fi
  local operator=github.com/prometheus-operator/prometheus-operator
  if [[ ! -x $PROGRAMS/operator ]]; then
    build prometheus-operator "$operator" "$PROMETHEUS_OPERATOR" "$operator/cmd/operator" "$operator/cmd/prometheus-config-reloader"
    cp -r --no-preserve=mode "$(cd "$PROGRAMS/modules/prometheus-operator" &&
      GOFLAGS=-mod=mod go list -m -f '{{.Dir}}' "$operator")/example/prometheus-operator-crd" "$PROGRAMS/prometheus-crds"
  fi
  if [[ ! -x $PROGRAMS/prometheus ]]; then
    local prometheus=github.com/prometheus/prometheus at=$PROGRAMS/modules/prometheus
    rm -rf "$at"
    mkdir -p "$at"
    cp -r --no-preserve=mode "$(go mod download -json "$prometheus@v$PROMETHEUS" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')/." "$at"
    # What it discovers in clouds is most of it.
    printf 'package plugins\n\nimport _ "%s/discovery/kubernetes"\n' "$prometheus" >"$at/plugins/plugins.go"
    (cd "$at" && CGO_ENABLED=0 nice go build -trimpath -buildvcs=false -mod=mod \
      -ldflags "-s -w" -o "$PROGRAMS/" ./cmd/prometheus)
  fi
  [[ -x $PROGRAMS/alertmanager ]] || build alertmanager github.com/prometheus/alertmanager "$ALERTMANAGER" \
    github.com/prometheus/alertmanager/cmd/alertmanager
}

certificates() {
  local pki=$DATA/pki
  mkdir -p "$pki"
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=cluster -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /O=system:masters/CN=admin -keyout "$pki/server.key" 2>/dev/null |
    openssl x509 -req -days 30 -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -out "$pki/server.crt" -extfile <(
      printf 'subjectAltName=IP:127.0.0.1,IP:%s,IP:%s.0.1,DNS:node,DNS:kubernetes.default.svc\n' "$NODE_ADDRESS" "$SERVICES") 2>/dev/null
  openssl genrsa -out "$pki/accounts.key" 2048 2>/dev/null
  cat >"$DATA/kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://$NODE_ADDRESS:6443', certificate-authority: $pki/ca.crt}}]
users: [{name: u, user: {client-certificate: $pki/server.crt, client-key: $pki/server.key}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
YAML
}

settings() {
  mkdir -p "$DATA"/{cni,containerd,logs,pod-logs,volumes,etcd}
  cat >"$DATA/containerd.toml" <<TOML
version = 2
root = "$DATA/containerd/root"
state = "$DATA/containerd/state"
[grpc]
  address = "$DATA/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "cluster/pause:1"
  # Who has not CAP_SYS_RESOURCE cannot lower it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$DATA/cni"
TOML
  cat >"$DATA/cni/10-bridge.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "kube-bridge", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": "$DATA/cni-addresses"}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  cat >"$DATA/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $DATA/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
address: $NODE_ADDRESS
clusterDNS: [$SERVICES.0.10]
clusterDomain: cluster.local
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
containerRuntimeEndpoint: unix://$DATA/containerd.sock
resolvConf: $DATA/resolv.conf
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi}
podLogsDir: $DATA/pod-logs
YAML
  printf 'nameserver %s\n' "$NODE_ADDRESS" >"$DATA/resolv.conf"
}

# In the namespaces; the first process there.
node() {
  # Its end is everybody's, and nobody's mounts get out.
  mount --make-rprivate / && mount --make-rshared /
  mkdir -p /var/lib/kubelet /run/xtables.lock.d
  mount -t tmpfs tmpfs /run
  ip link set lo up
  ip link add node0 type veth peer name node1
  ip address add "$NODE_ADDRESS/24" dev node0
  ip link set node0 up
  ip link set node1 up
  ip route add default dev node0
  sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
  cd "$DATA"
  local log=$DATA/logs pki=$DATA/pki
  containerd -c containerd.toml >"$log/containerd.log" 2>&1 &
  etcd --data-dir etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync >"$log/etcd.log" 2>&1 &
  "$PROGRAMS/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --service-cluster-ip-range "$SERVICES.0.0/16" \
    --bind-address "$NODE_ADDRESS" --advertise-address "$NODE_ADDRESS" --secure-port 6443 \
    --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" --client-ca-file "$pki/ca.crt" \
    --kubelet-client-certificate "$pki/server.crt" --kubelet-client-key "$pki/server.key" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --service-account-key-file "$pki/accounts.key" --service-account-signing-key-file "$pki/accounts.key" \
    --service-account-issuer https://kubernetes.default.svc --authorization-mode Node,RBAC --allow-privileged \
    >"$log/apiserver.log" 2>&1 &
  until curl -sf --cacert "$pki/ca.crt" --cert "$pki/server.crt" --key "$pki/server.key" \
    "https://$NODE_ADDRESS:6443/readyz" >/dev/null; do sleep 0.5; done
  "$PROGRAMS/kube-controller-manager" --kubeconfig kubeconfig --leader-elect=false --root-ca-file "$pki/ca.crt" \
    --service-account-private-key-file "$pki/accounts.key" --use-service-account-credentials \
    --node-monitor-grace-period 40s >"$log/controllers.log" 2>&1 &
  "$PROGRAMS/kube-scheduler" --kubeconfig kubeconfig --leader-elect=false >"$log/scheduler.log" 2>&1 &
  "$PROGRAMS/kubelet" --config kubelet.yaml --kubeconfig kubeconfig --hostname-override node --node-ip "$NODE_ADDRESS" \
    --root-dir "$DATA/kubelet" --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" \
    --node-labels topology.kubernetes.io/zone=here >"$log/kubelet.log" 2>&1 &
  "$PROGRAMS/kube-proxy" --kubeconfig kubeconfig --proxy-mode iptables --cluster-cidr "$PODS.0/24" \
    --hostname-override node --conntrack-max-per-core 0 --conntrack-min 0 --conntrack-tcp-timeout-established 0s \
    --conntrack-tcp-timeout-close-wait 0s --metrics-bind-address 127.0.0.1:10249 >"$log/proxy.log" 2>&1 &
  until "$PROGRAMS/kubectl" --kubeconfig kubeconfig get node node >/dev/null 2>&1; do sleep 0.5; done
  "$PROGRAMS/kube-router" --kubeconfig "$DATA/kubeconfig" --run-firewall --run-router=false --run-service-proxy=false \
    --hostname-override node --service-cluster-ip-range "$SERVICES.0.0/16" --health-port 0 >"$log/router.log" 2>&1 &
  wait
}

pid() { cat "$DATA/pid" 2>/dev/null; }
inside() { ${instead:-} nsenter -t "$(pid)" -n -- env KUBECONFIG="$DATA/kubeconfig" PROGRAMS="$PROGRAMS" PATH="$PROGRAMS:$PATH" "$@"; }

up() {
  programs
  [[ ! -d $DATA ]] || fail "$DATA is there already: $0 down"
  mkdir -p "$DATA"
  certificates
  settings
  sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes \
    >"$DATA/sysctl" 2>/dev/null || true
  local controller
  for controller in /sys/fs/cgroup/*/; do mkdir -p "$controller$CGROUP"; done
  # As much of a busy machine as four processes, not as one.
  echo 4096 >"/sys/fs/cgroup/cpu/$CGROUP/cpu.shares" 2>/dev/null || true
  cp /sys/fs/cgroup/cpuset/cpuset.cpus "/sys/fs/cgroup/cpuset/$CGROUP/cpuset.cpus" 2>/dev/null || true
  cp /sys/fs/cgroup/cpuset/cpuset.mems "/sys/fs/cgroup/cpuset/$CGROUP/cpuset.mems" 2>/dev/null || true
  setsid unshare -n -m -p -f --mount-proc --kill-child bash "$HERE/kubernetes_node.sh" _node >"$DATA/logs/node.log" 2>&1 &
  local outer=$! until=$((SECONDS + 120))
  until pgrep -P "$outer" >"$DATA/pid"; do
    [[ -d /proc/$outer ]] || fail "$(tail -n 1 "$DATA/logs/node.log")"
    sleep 0.1
  done
  until inside kubectl get node node >/dev/null 2>&1; do
    ((SECONDS < until)) || fail "no node; see $DATA/logs"
    sleep 1
  done
  addons
  inside kubectl wait --for=condition=Ready node/node --timeout 120s >&2
  inside kubectl -n kube-system rollout status deployment/coredns --timeout 120s >&2
}

# image NAME FILE [ARGUMENT]: of one static program, in /bin, where those who make pods of it look for it.
image() {
  local work
  work=$(mktemp -d)
  mkdir -p "$work/root/bin"
  cp "$2" "$work/root/bin"
  tar -C "$work/root" -c . >"$work/layer.tar"
  local layer config
  layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  mv "$work/layer.tar" "$work/$layer.tar"
  printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/%s"%s]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(basename "$2")" "${3:+,\"$3\"}" "$layer" >"$work/config.json"
  config=$(sha256sum "$work/config.json" | cut -d' ' -f1)
  mv "$work/config.json" "$work/$config.json"
  printf '[{"Config":"%s.json","RepoTags":["docker.io/%s"],"Layers":["%s.tar"]}]' "$config" "$1" "$layer" >"$work/manifest.json"
  tar -C "$work" -cf "$work/image.tar" manifest.json "$config.json" "$layer.tar"
  import "$work/image.tar"
  rm -rf "$work"
}
import() { inside ctr -a "$DATA/containerd.sock" -n k8s.io images import "$(realpath "$1")" >&2; }

addons() {
  image cluster/pause:1 "$(command -v catatonit)" -P
  image cluster/coredns:1 "$PROGRAMS/coredns"
  inside kubectl apply -f - >&2 <<YAML
apiVersion: v1
kind: ServiceAccount
metadata: {name: coredns, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: coredns}
rules:
  - {apiGroups: [''], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}
  - {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coredns}
subjects: [{kind: ServiceAccount, name: coredns, namespace: kube-system}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    .:53 {
      errors
      ready
      kubernetes cluster.local in-addr.arpa
      cache 5
    }
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      serviceAccountName: coredns
      dnsPolicy: Default
      containers:
        - name: coredns
          image: cluster/coredns:1
          args: [-conf, /etc/coredns/Corefile]
          # Without, it has next to no share of a busy machine, and names take seconds.
          resources: {requests: {cpu: 100m, memory: 70Mi}}
          readinessProbe: {httpGet: {path: /ready, port: 8181}, periodSeconds: 2}
          volumeMounts: [{name: config, mountPath: /etc/coredns}]
      volumes: [{name: config, configMap: {name: coredns}}]
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: $SERVICES.0.10
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
YAML
}

down() {
  if [[ -n $(pid) ]]; then kill -KILL "$(pid)" 2>/dev/null || true; fi
  local until=$((SECONDS + 20)) controller
  while [[ -n $(pid) && -d /proc/$(pid) ]] && ((SECONDS < until)); do sleep 0.2; done
  if [[ -s $DATA/sysctl ]]; then sysctl -q -p "$DATA/sysctl" || true; fi
  for controller in /sys/fs/cgroup/*/; do
    [[ ! -d $controller$CGROUP ]] || find "$controller$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
  rm -rf "$DATA"
}

case ${1:-} in
  programs) programs ;;
  up) up ;;
  # In the place of this shell, so that who ends it ends the command.
  run) shift; instead=exec; inside "$@" ;;
  import) import "$2" ;;
  program) image "${3:-cluster/$2:1}" "$PROGRAMS/$2" ;;
  down) down ;;
  _node) node ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
