#!/usr/bin/env python3
"""The topics and users of k8s/components/strimzi on a real broker that authorizes.

    acls_test.py --bin build/release/bin

With them, and each service as its own user, a site is kept in step and `tributary verify` is good: nothing is
missing. The topics that control has made are those that the resources describe. Then a service's credentials
are used for what it must not do, and the broker refuses. Users prove themselves by SASL PLAIN here rather than
by certificates; ACLs do not care.
"""

import argparse
import ctypes
import functools
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "end_to_end"), str(TOP / "tests" / "fault")]

import broker  # noqa: E402
from run_end_to_end import Failure, Run, free_port, run_kafka  # noqa: E402

# Of librdkafka's rdkafka.h.
RESOURCES = {"topic": 2, "group": 3}
PATTERNS = {"literal": 3, "prefix": 4}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
ALLOW = 3
PRODUCER, CONSUMER = 0, 1
COPY = 2
BEGINNING = -2
GOOD, TOPIC_REFUSED, GROUP_REFUSED = 0, 29, 30

TABLES = {"changes": "extractor", "cursors": "extractor", "commands": "transformer", "records": "loader",
          "tenants": "control"}
READERS = {"changes": ("extractor", "transformer"), "cursors": ("extractor",), "commands": ("transformer", "loader"),
           "records": ("loader",), "tenants": ("extractor", "transformer", "loader")}
# (service, topic) that may be written though another service owns it; services/README.md says why.
SHARED = {("loader", "commands")} | {("control", topic) for topic in TABLES}


@functools.cache
def resources(kind):
    """Name → spec, as the overlay for one broker has them."""
    tools = subprocess.run(["bash", str(pathlib.Path(__file__).with_name("kubernetes_tools.sh"))], text=True,
                           stdout=subprocess.PIPE, check=True).stdout.split("\n")
    text = subprocess.run([tools[0], "build", str(TOP / "k8s" / "overlays" / "small")], text=True,
                          stdout=subprocess.PIPE, check=True).stdout
    return {thing["metadata"]["name"]: thing["spec"] for thing in yaml.safe_load_all(text)
            if thing["kind"] == kind}


def users():
    return {name: spec["authorization"]["acls"] for name, spec in resources("KafkaUser").items()}


class Message(ctypes.Structure):
    _fields_ = [("error", ctypes.c_int)]


DELIVERED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Message), ctypes.c_void_p)
LIBRARY = ctypes.CDLL("librdkafka.so.1")
for name in ("conf_new", "new", "queue_new", "AclBinding_new", "queue_poll", "event_CreateAcls_result",
             "CreateAcls_result_acls", "ConfigResource_new", "event_DescribeConfigs_result",
             "DescribeConfigs_result_resources", "ConfigResource_configs", "acl_result_error", "topic_new",
             "topic_partition_list_new"):
    getattr(LIBRARY, "rd_kafka_" + name).restype = ctypes.c_void_p
for name in ("ConfigEntry_name", "ConfigEntry_value"):
    getattr(LIBRARY, "rd_kafka_" + name).restype = ctypes.c_char_p
LIBRARY.rd_kafka_consumer_poll.restype = ctypes.POINTER(Message)
POINTER = ctypes.c_void_p


class Client:
    """A librdkafka client; what it may do is the broker's to say."""

    def __init__(self, kind, **settings):
        configuration = LIBRARY.rd_kafka_conf_new()
        error = ctypes.create_string_buffer(512)
        # Refusals are what is wanted; nothing need be said about them.
        LIBRARY.rd_kafka_conf_set(POINTER(configuration), b"log_level", b"0", error, ctypes.c_size_t(len(error)))
        for name, value in settings.items():
            if LIBRARY.rd_kafka_conf_set(POINTER(configuration), name.replace("_", ".").encode(),
                                         value.encode(), error, ctypes.c_size_t(len(error))) != 0:
                raise Failure(error.value.decode())
        self.outcome = None
        self.on_delivery = DELIVERED(self._delivered)
        if kind == PRODUCER:
            LIBRARY.rd_kafka_conf_set_dr_msg_cb(POINTER(configuration), self.on_delivery)
        self.handle = POINTER(LIBRARY.rd_kafka_new(kind, POINTER(configuration), error, ctypes.c_size_t(len(error))))
        if not self.handle.value:
            raise Failure(error.value.decode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        LIBRARY.rd_kafka_destroy(self.handle)

    def _delivered(self, _client, message, _opaque):
        self.outcome = message.contents.error

    def create_acls(self, principal, acls):
        error = ctypes.create_string_buffer(512)
        bindings = []
        for acl in acls:
            resource = acl["resource"]
            for operation in acl["operations"]:
                binding = LIBRARY.rd_kafka_AclBinding_new(
                    RESOURCES[resource["type"]], resource["name"].encode(),
                    PATTERNS[resource.get("patternType", "literal")], f"User:{principal}".encode(), b"*",
                    OPERATIONS[operation], ALLOW, error, ctypes.c_size_t(len(error)))
                if not binding:
                    raise Failure(error.value.decode())
                bindings.append(binding)
        queue = POINTER(LIBRARY.rd_kafka_queue_new(self.handle))
        LIBRARY.rd_kafka_CreateAcls(self.handle, (POINTER * len(bindings))(*bindings),
                                    ctypes.c_size_t(len(bindings)), None, queue)
        event = POINTER(LIBRARY.rd_kafka_queue_poll(queue, 30_000))
        if not event.value or LIBRARY.rd_kafka_event_error(event) != 0:
            raise Failure("the broker did not take the ACLs")
        count = ctypes.c_size_t()
        results = LIBRARY.rd_kafka_CreateAcls_result_acls(
            POINTER(LIBRARY.rd_kafka_event_CreateAcls_result(event)), ctypes.byref(count))
        refused = [i for i in range(count.value)
                   if LIBRARY.rd_kafka_acl_result_error(POINTER((POINTER * count.value).from_address(results)[i]))]
        LIBRARY.rd_kafka_event_destroy(event)
        LIBRARY.rd_kafka_queue_destroy(queue)
        if count.value != len(bindings) or refused:
            raise Failure(f"ACLs of {principal} were refused: {refused}")

    def settings_of(self, topic):
        wanted = (POINTER * 1)(LIBRARY.rd_kafka_ConfigResource_new(RESOURCES["topic"], topic.encode()))
        queue = POINTER(LIBRARY.rd_kafka_queue_new(self.handle))
        LIBRARY.rd_kafka_DescribeConfigs(self.handle, wanted, ctypes.c_size_t(1), None, queue)
        event = POINTER(LIBRARY.rd_kafka_queue_poll(queue, 30_000))
        if not event.value or LIBRARY.rd_kafka_event_error(event) != 0:
            raise Failure(f"{topic}: the broker does not tell its settings")
        count = ctypes.c_size_t()
        found = LIBRARY.rd_kafka_DescribeConfigs_result_resources(
            POINTER(LIBRARY.rd_kafka_event_DescribeConfigs_result(event)), ctypes.byref(count))
        resource = POINTER.from_address(found)
        entries = LIBRARY.rd_kafka_ConfigResource_configs(resource, ctypes.byref(count))
        settings = {}
        for entry in (POINTER * count.value).from_address(entries):
            name = LIBRARY.rd_kafka_ConfigEntry_name(POINTER(entry)).decode()
            settings[name] = (LIBRARY.rd_kafka_ConfigEntry_value(POINTER(entry)) or b"").decode()
        LIBRARY.rd_kafka_event_destroy(event)
        LIBRARY.rd_kafka_queue_destroy(queue)
        return settings

    def write(self, topic, key):
        """What the broker says to one record, which nobody will miss."""
        self.outcome = None
        handle = POINTER(LIBRARY.rd_kafka_topic_new(self.handle, topic.encode(), None))
        if LIBRARY.rd_kafka_produce(handle, 0, COPY, b"", ctypes.c_size_t(0), key, ctypes.c_size_t(len(key)),
                                    None) != 0:
            raise Failure(f"{topic}: nothing can be produced")
        deadline = time.monotonic() + 30
        while self.outcome is None and time.monotonic() < deadline:
            LIBRARY.rd_kafka_poll(self.handle, 100)
        LIBRARY.rd_kafka_topic_destroy(handle)
        return self.outcome

    def _first(self, topic, partition, begin):
        """What the broker says first to who takes the topic by `begin`."""
        topics = POINTER(LIBRARY.rd_kafka_topic_partition_list_new(1))
        LIBRARY.rd_kafka_topic_partition_list_add(topics, topic.encode(), partition)
        LIBRARY.rd_kafka_topic_partition_list_set_offset(topics, topic.encode(), partition, ctypes.c_int64(BEGINNING))
        begin(self.handle, topics)
        LIBRARY.rd_kafka_topic_partition_list_destroy(topics)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            message = LIBRARY.rd_kafka_consumer_poll(self.handle, 500)
            if message:
                error = message.contents.error
                LIBRARY.rd_kafka_message_destroy(message)
                return error
        return None

    def join(self, topic):
        return self._first(topic, -1, LIBRARY.rd_kafka_subscribe)

    def read(self, topic):
        return self._first(topic, 0, LIBRARY.rd_kafka_assign)


class AclRun(Run):
    def start_broker(self):
        ports = {"direct": free_port(), "clients": free_port(), "controller": free_port()}
        self.passwords = {user: secrets.token_hex(16) for user in users()}
        self.broker = broker.Broker(self.directory / "broker", ports, {})
        known = " ".join(f'user_{user}="{password}"' for user, password in self.passwords.items())
        # Later lines win. Who is not asked to prove himself is the operator.
        with open(self.broker.directory / "server.properties", "a", encoding="ascii") as settings:
            settings.write(f"""
listener.security.protocol.map=CONTROLLER:PLAINTEXT,DIRECT:PLAINTEXT,CLIENTS:SASL_PLAINTEXT
listener.name.clients.sasl.enabled.mechanisms=PLAIN
listener.name.clients.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required {known};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
""")
        self.broker.format()
        self.broker.start()
        self.broker.wait_until_it_answers()
        os.environ["TRIBUTARY_KAFKA"] = f"127.0.0.1:{ports['clients']}"
        with Client(PRODUCER, bootstrap_servers=f"127.0.0.1:{ports['direct']}") as operator:
            for user, acls in users().items():
                operator.create_acls(user, acls)
        self.say(f"a broker with the ACLs of {len(users())} users")

    def service_yaml(self, name, prefix, ports):
        user = f"tributary-{'control' if name == 'tributary' else name}"
        file = self.directory / f"{user}.password"
        file.write_text(self.passwords[user])
        text = super().service_yaml(name, "tributary.", ports)
        return re.sub(r"^  partitions:", f"""  kafka:
    security.protocol: sasl_plaintext
    sasl.mechanism: PLAIN
    sasl.username: {user}
    sasl.password.file: {file}
  partitions:""", text, flags=re.M)

    def client(self, kind, service, **settings):
        user = f"tributary-{service}"
        return Client(kind, bootstrap_servers=os.environ["TRIBUTARY_KAFKA"], security_protocol="sasl_plaintext",
                      sasl_mechanism="PLAIN", sasl_username=user, sasl_password=self.passwords[user],
                      **settings)

    def topics_are_as_the_resources_say(self):
        """Made by control; Strimzi would change what differs."""
        with Client(PRODUCER, bootstrap_servers=f"127.0.0.1:{self.broker.ports['direct']}") as operator:
            for topic, spec in resources("KafkaTopic").items():
                made = operator.settings_of(topic)
                wrong = {name: made.get(name) for name, value in spec["config"].items()
                         if made.get(name) != str(value).lower() and made.get(name) != str(value)}
                if wrong:
                    raise Failure(f"{topic}: control made it with {wrong}")
        self.say("control makes the topics that the resources describe")

    def what_is_not_theirs_is_refused(self):
        for service in ("extractor", "transformer", "loader", "control"):
            with self.client(PRODUCER, service) as client:
                for topic, owner in TABLES.items():
                    allowed = service == owner or (service, topic) in SHARED
                    found = client.write(f"tributary.{topic}", b"!acl")
                    if found != (GOOD if allowed else TOPIC_REFUSED):
                        raise Failure(f"{service} writes {topic}: answer {found}")
            for topic, readers in READERS.items():
                with self.client(CONSUMER, service, group_id=f"tributary.{service}") as client:
                    allowed = service in readers or service == "control"
                    found = client.read(f"tributary.{topic}")
                    if found != (GOOD if allowed else TOPIC_REFUSED):
                        raise Failure(f"{service} reads {topic}: answer {found}")
        self.say("each service writes its own tables only, and reads what it needs")
        for service, group in (("loader", "transformer"), ("transformer", "loader"), ("extractor", "control")):
            with self.client(CONSUMER, service, group_id=f"tributary.{group}") as client:
                found = client.join("tributary.tenants")
                if found != GROUP_REFUSED:
                    raise Failure(f"{service} joins the group of {group}: answer {found}")
        self.say("no service joins another's group")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin", required=True, type=os.path.abspath)
    options = parser.parse_args()
    options.began = time.monotonic()
    vars(options).update(customers=100, seed=1, mutations=100, mutation_rate=20, timeout=120)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tributary-acls-"))
    run = AclRun(options, directory)
    problem = None
    try:
        run.start_broker()
        run_kafka(run)
        stopped = run.stop_all()
        if stopped:
            raise Failure("; ".join(stopped))
        run.topics_are_as_the_resources_say()
        run.what_is_not_theirs_is_refused()
    except (Failure, OSError, ValueError, subprocess.SubprocessError) as failure:
        problem = str(failure)
    finally:
        run.stop_all()
        if hasattr(run, "broker"):
            run.broker.stop()
    if problem:
        print(f"FAILED: {problem}\nLogs: {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    run.say("good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
