#!/usr/bin/env bash
# What kubernetes_test.py needs and Debian has not: kustomize, built by Debian's Go, and the published API
# of Kubernetes, of the Prometheus Operator and of KEDA. Kept in ${XDG_CACHE_HOME:-$HOME/.cache}/tributary/kubernetes; prints
# the four paths.
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

if [[ ! -f swagger.json || ! -d definitions ]]; then
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
  mv definitions.new definitions
  # Sources are hundreds of megabytes.
  go clean -modcache
fi
printf '%s\n' "${CACHE}/bin/kustomize" "${CACHE}/fields.yaml" "${CACHE}/swagger.json" "${CACHE}/definitions"
