#!/usr/bin/env bash
# A real Kafka broker for tests and demos: one process in KRaft mode on 127.0.0.1.
#
#   kafka_broker.sh up [PORT]      starts it unless it answers already; waits until it answers
#   kafka_broker.sh down [PORT]    stops what `up` started, and removes its data
#   kafka_broker.sh jars           only fetches the jars
#
# PORT (default 9092) is for clients; PORT+1 is the controller's. Jars are kept in
# ${XDG_CACHE_HOME:-$HOME/.cache}/tributary/kafka, data in a directory of its own under ${TMPDIR:-/tmp}.
set -euo pipefail

readonly KAFKA_VERSION=4.3.0
readonly LOG4J_VERSION=2.25.3
readonly CACHE="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tributary/kafka"
readonly JARS="${CACHE}/${KAFKA_VERSION}"
readonly START_SECONDS_MAX=60

say() { printf 'kafka: %s\n' "$*" >&2; }
fail() { say "$1"; shift; for line in "$@"; do printf '       %s\n' "${line}" >&2; done; exit 1; }

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }

need() {
  command -v "$1" >/dev/null || fail "$1 is not installed" "To fix: apt-get install $2"
}

fetch_jars() {
  [[ -e "${JARS}/.complete" ]] && return
  need mvn "maven openjdk-17-jre-headless"
  mkdir -p "${CACHE}"
  local work
  work="$(mktemp -d "${CACHE}/fetch.XXXXXX")"
  # shellcheck disable=SC2064  # Expanded now: `work` is local.
  trap "rm -rf '${work}'" EXIT
  cat >"${work}/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tributary</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>${KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>${LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
POM
  say "fetching the jars of Kafka ${KAFKA_VERSION} (about 43 MB) …"
  (cd "${work}" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib) ||
    fail "Maven could not fetch the jars" "To fix: see the messages above; a proxy or mirror is set in ~/.m2/settings.xml"
  touch "${work}/lib/.complete"
  # Whoever comes second keeps what is there.
  mv -T "${work}/lib" "${JARS}" 2>/dev/null || [[ -e "${JARS}/.complete" ]]
  rm -rf "${work}"
  trap - EXIT
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/${PORT}") 2>/dev/null; }

running_pid() {
  local pid
  pid="$(cat "${DATA}/pid" 2>/dev/null)" || return 1
  # A pid file may outlive its process, and the number may be somebody else's by now.
  tr '\0' ' ' <"/proc/${pid}/cmdline" 2>/dev/null | grep -q 'kafka\.Kafka' || return 1
  printf '%s\n' "${pid}"
}

write_settings() {
  cat >"${DATA}/server.properties" <<SETTINGS
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$((PORT + 1))
listeners=PLAINTEXT://127.0.0.1:${PORT},CONTROLLER://127.0.0.1:$((PORT + 1))
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=${DATA}/log
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# Tests wait for compaction, retention and a member's end.
log.cleaner.backoff.ms=200
log.retention.check.interval.ms=5000
group.min.session.timeout.ms=1000
# A segment's index is allocated ahead; there are thousands of small ones.
log.index.size.max.bytes=1048576
SETTINGS
}

up() {
  fetch_jars
  need java openjdk-17-jre-headless
  mkdir -p "${DATA}"
  exec 9>"${DATA}.lock"
  flock 9
  if running_pid >/dev/null; then
    wait_until_it_answers
    return
  fi
  if answers; then
    fail "port ${PORT} of 127.0.0.1 is taken by something that this script has not started" \
      "To fix: stop it, or give another port"
  fi
  rm -rf "${DATA}"
  mkdir -p "${DATA}"
  write_settings
  local id
  id="$(java -cp "${JARS}/*" kafka.tools.StorageTool random-uuid 2>/dev/null)"
  java -cp "${JARS}/*" kafka.tools.StorageTool format --standalone -t "${id}" \
    -c "${DATA}/server.properties" >"${DATA}/format.out" 2>&1 ||
    fail "the broker's storage cannot be made" "$(tail -3 "${DATA}/format.out")"
  # 9>&-: the broker must not hold the lock for as long as it lives.
  setsid nohup java -Xms256m -Xmx768m -XX:+UseSerialGC -cp "${JARS}/*" kafka.Kafka \
    "${DATA}/server.properties" >"${DATA}/broker.out" 2>&1 </dev/null 9>&- &
  printf '%s\n' "$!" >"${DATA}/pid"
  wait_until_it_answers
  say "answers on 127.0.0.1:${PORT} (pid $(cat "${DATA}/pid"), data in ${DATA})"
}

wait_until_it_answers() {
  local deadline=$((SECONDS + START_SECONDS_MAX))
  until answers; do
    # Not by its command line: right behind the fork that is still ours.
    kill -0 "$(cat "${DATA}/pid")" 2>/dev/null ||
      fail "the broker has stopped by itself" "Its last words, of ${DATA}/broker.out:" "$(tail -5 "${DATA}/broker.out")"
    ((SECONDS < deadline)) ||
      fail "no answer from 127.0.0.1:${PORT} after ${START_SECONDS_MAX} s" "See ${DATA}/broker.out"
    sleep 0.2
  done
}

down() {
  local pid
  if pid="$(running_pid)"; then
    kill "${pid}" 2>/dev/null || true
    local deadline=$((SECONDS + 20))
    while [[ -d "/proc/${pid}" ]] && ((SECONDS < deadline)); do sleep 0.2; done
    [[ -d "/proc/${pid}" ]] && kill -KILL "${pid}" 2>/dev/null || true
    say "stopped (pid ${pid})"
  fi
  rm -rf "${DATA}" "${DATA}.lock"
}

readonly COMMAND="${1:-}"
readonly PORT="${2:-9092}"
[[ "${PORT}" =~ ^[0-9]+$ ]] && ((PORT > 0 && PORT < 65535)) || usage
readonly DATA="${TMPDIR:-/tmp}/tributary-kafka-$(id -u)-${PORT}"

case "${COMMAND}" in
  up) up ;;
  down) down ;;
  jars) fetch_jars ;;
  *) usage ;;
esac
