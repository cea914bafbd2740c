#!/usr/bin/env bash
# What kubernetes_test.py needs and Debian has not: kustomize, built by Debian's Go, and the published API
# of Kubernetes, of the Prometheus Operator, of KEDA and of Strimzi. Kept in ${XDG_CACHE_HOME:-$HOME/.cache}/tributary/kubernetes;
# prints the four paths.
set -euo pipefail

# The newest one that Debian's Go 1.19 builds.
readonly KUSTOMIZE=sigs.k8s.io/kustomize/kustomize/v4@v4.5.7
# Says of each type of Kubernetes 1.30 which fields it has, and of which types.
readonly FIELDS=k8s.io/client-go@v0.30.0
# Carries an OpenAPI document (of about 1.20), which says what is required.
readonly REQUIRED=k8s.io/kubectl@v0.30.0
# Their custom resources; the first is the release that kubernetes_node.sh runs.
readonly OPERATOR=github.com/prometheus-operator/prometheus-operator@v0.80.1
readonly KEDA=github.com/kedacore/keda/v2@v2.14.0
# Strimzi publishes its model, and apart from it the program that makes definitions of the model: the last one of them that
# Java 17 runs. It knows nothing of rules in CEL, and one required key fewer, than the definitions of that release.
readonly STRIMZI=0.51.0
readonly STRIMZI_GENERATOR=0.45.0
readonly CACHE="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tributary/kubernetes"

command -v go >/dev/null || {
  echo 'go is not installed; to fix: apt-get install golang-go, or ./dev packages test' >&2
  exit 1
}
mkdir -p "${CACHE}"
exec 9>"${CACHE}/lock"
flock 9
cd "${CACHE}"
export GOPATH="${CACHE}/go" GOBIN="${CACHE}/bin" GOFLAGS=-modcacherw GO111MODULE=on GOTOOLCHAIN=local
if [[ ! -x bin/kustomize ]]; then
  echo 'building kustomize (once) …' >&2
  go install "${KUSTOMIZE}"
fi
# module MODULE: fetches it, and prints where its files are.
module() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }

dependency() { echo "<dependency><groupId>io.strimzi</groupId><artifactId>$1</artifactId><version>$2</version></dependency>"; }
# strimzi DIRECTORY: writes its definitions there.
strimzi() {
  local work model=io.strimzi.api.kafka.model
  work=$(mktemp -d -p .)
  # The model first: its libraries are the newer ones.
  cat >"${work}/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>tests</groupId><artifactId>definitions</artifactId><version>1</version>
  <dependencies>$(dependency api "${STRIMZI}")$(dependency crd-generator "${STRIMZI_GENERATOR}")</dependencies>
</project>
POM
  mvn -q -B -f "${work}/pom.xml" dependency:copy-dependencies -DoutputDirectory=jars >&2
  java -cp "${work}/jars/*" io.strimzi.crdgenerator.CrdGenerator --yaml \
    "${model}.kafka.Kafka=$1/kafkas.yaml" "${model}.nodepool.KafkaNodePool=$1/kafkanodepools.yaml" \
    "${model}.topic.KafkaTopic=$1/kafkatopics.yaml" "${model}.user.KafkaUser=$1/kafkausers.yaml" >&2
  rm -rf "${work}"
}

if [[ ! -f swagger.json || ! -f definitions/kafkas.yaml ]]; then
  fields=$(module "${FIELDS}")
  required=$(module "${REQUIRED}")
  sed -n '/typed.YAMLObject(`/,/^`)/{s/.*YAMLObject(`//; /^`)/d; p}' \
    "${fields}/applyconfigurations/internal/internal.go" >fields.yaml
  cp "${required}/testdata/openapi/swagger.json" swagger.json.new
  mv swagger.json.new swagger.json
  rm -rf definitions.new
  mkdir definitions.new
  cp --no-preserve=mode "$(module "${OPERATOR}")"/example/prometheus-operator-crd/*_{alertmanagers,podmonitors,prometheuses,prometheusrules}.yaml \
    "$(module "${KEDA}")/config/crd/bases/keda.sh_scaledobjects.yaml" definitions.new
  strimzi definitions.new
  rm -rf definitions
  mv definitions.new definitions
  # Sources are hundreds of megabytes.
  go clean -modcache
fi
printf '%s\n' "${CACHE}/bin/kustomize" "${CACHE}/fields.yaml" "${CACHE}/swagger.json" "${CACHE}/definitions"
