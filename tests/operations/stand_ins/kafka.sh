#!/usr/bin/env bash
# What apache/kafka runs: the program of its image that makes a configuration of KAFKA_… and formats the storage, then
# the broker.
set -euo pipefail
export CLUSTER_ID=${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw} LOG_DIR=/tmp
cd /etc/kafka/docker
touch server.properties log4j2.yaml tools-log4j2.yaml
said=$(java -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
  --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) ||
  grep -i 'already formatted' <<<"$said" || { printf '%s\n' "$said" >&2; exit 1; }
exec java -Xms256m -Xmx768m -XX:+UseSerialGC -cp '/opt/kafka/libs/*' kafka.Kafka /opt/kafka/config/server.properties
