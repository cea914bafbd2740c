#!/usr/bin/env python3
"""The topics and users of k8s/components/strimzi on a real broker that authorizes.

    acls_test.py --bin build/release/bin

With them, and each service as its own user, a site is kept in step and `tributary verify` is good: nothing is
missing. The topics that control has made are those that the resources describe. Then a service's credentials
are used for what it must not do, and the broker refuses.

Everything goes over TLS. Extractor and loader prove themselves by certificates (mutual TLS), transformer and
control by passwords (SASL), as docs/guides/kafka-security.md says; SCRAM is tried beside them. Strangers are
refused, a broker that is not ours is not spoken to, a service says what is wrong, and no password or key
stands in what anybody wrote.
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
import urllib.error
import urllib.request

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
SCRAM_MENDED = 0x020601ff
BY_CERTIFICATE = ("extractor", "loader")
COPY = 2
BEGINNING = -2
GOOD, TOPIC_REFUSED, GROUP_REFUSED = 0, 29, 30
LOCAL_SSL, LOCAL_TIMED_OUT, LOCAL_AUTHENTICATION = -181, -192, -169

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
        ports = {name: free_port() for name in ("direct", "certificates", "passwords", "controller")}
        self.call("tributary", "tls", "init", str(self.directory / "tls"), "--name", "kafka")
        self.call("tributary", "tls", "init", str(self.directory / "strangers"))
        self.passwords = {user: secrets.token_hex(16) for user in users()
                          if user.removeprefix("tributary-") not in BY_CERTIFICATE}
        self.broker = broker.Broker(self.directory / "broker", ports, {})
        own = self.directory / "tls" / "kafka"
        identity = self.write_secret("broker.pem", (own / "key.pem").read_text() + (own / "cert.pem").read_text())
        plain = " ".join(f'user_{user}="{password}"' for user, password in self.passwords.items())
        # Later lines win. Who is not asked to prove himself is the operator.
        with open(self.broker.directory / "server.properties", "a", encoding="ascii") as settings:
            settings.write(f"""
listener.security.protocol.map=CONTROLLER:PLAINTEXT,DIRECT:PLAINTEXT,CERTIFICATES:SSL,PASSWORDS:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={identity}
ssl.truststore.type=PEM
ssl.truststore.location={own}/ca.pem
listener.name.certificates.ssl.client.auth=required
listener.name.certificates.ssl.principal.mapping.rules=RULE:^CN=([a-z]+)$/tributary-$1/
listener.name.passwords.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.passwords.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required {plain};
listener.name.passwords.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
""")
        known = [f"SCRAM-SHA-512=[name={user},password={password}]" for user, password in self.passwords.items()]
        self.broker.format(*(word for user in known for word in ("--add-scram", user)))
        self.broker.start()
        self.broker.wait_until_it_answers()
        # Which of the listeners a service uses, its own settings say.
        os.environ["TRIBUTARY_KAFKA"] = f"127.0.0.1:{ports['certificates']}"
        with Client(PRODUCER, bootstrap_servers=f"127.0.0.1:{ports['direct']}") as operator:
            for user, acls in users().items():
                operator.create_acls(user, acls)
        self.say(f"a broker with the ACLs of {len(users())} users, who come over TLS")

    def write_secret(self, name, text):
        file = self.directory / name
        file.touch(mode=0o600)
        file.write_text(text)
        return file

    def security(self, service, tls="tls"):
        """The port, and the settings of `log.kafka`, by which that service proves itself."""
        directory = self.directory / tls / service
        if service in BY_CERTIFICATE:
            return self.broker.ports["certificates"], {
                "security.protocol": "ssl", "ssl.ca.location": f"{directory}/ca.pem",
                "ssl.certificate.location": f"{directory}/cert.pem", "ssl.key.location": f"{directory}/key.pem"}
        user = f"tributary-{service}"
        file = self.write_secret(f"{user}.password", self.passwords[user])
        return self.broker.ports["passwords"], {
            "security.protocol": "sasl_ssl", "ssl.ca.location": f"{directory}/ca.pem",
            "sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password.file": str(file)}

    def service_yaml(self, name, prefix, ports):
        port, settings = self.security("control" if name == "tributary" else name)
        # What librdkafka says of its security to whoever asks: no secret may be in it.
        settings["debug"] = "security,conf,broker"
        lines = "".join(f"    {key}: {value}\n" for key, value in settings.items())
        text = super().service_yaml(name, "tributary.", ports)
        text = text.replace("{format: json}", "{format: json, level: debug}")
        text = re.sub(r"^  bootstrap_servers:.*", f"  bootstrap_servers: 127.0.0.1:{port}", text, flags=re.M)
        return re.sub(r"^  partitions:", f"  kafka:\n{lines}  partitions:", text, flags=re.M)

    def client(self, kind, service, changes=None, **settings):
        port, security = self.security(service)
        if "sasl.password.file" in security:
            security["sasl.password"] = pathlib.Path(security.pop("sasl.password.file")).read_text()
        security.update({"bootstrap.servers": f"127.0.0.1:{port}", **(changes or {})})
        return Client(kind, **{name.replace(".", "_"): value for name, value in security.items()}, **settings)

    def strangers_are_refused(self):
        """Nobody is let in who does not prove himself, and a broker that is not ours is not believed."""
        other = f"{self.directory}/strangers/loader"
        own = f"{self.directory}/tls/loader"
        certificates = f"127.0.0.1:{self.broker.ports['certificates']}"
        tries = {
            "a certificate of another authority": ("loader", {"ssl.certificate.location": f"{other}/cert.pem",
                                                              "ssl.key.location": f"{other}/key.pem"}),
            "no TLS": ("loader", {"security.protocol": "plaintext"}),
            "a broker of another authority": ("loader", {"ssl.ca.location": f"{other}/ca.pem"}),
            "a wrong password": ("transformer", {"sasl.password": "no-" + secrets.token_hex(8)}),
            "another's password": ("transformer", {"sasl.username": "tributary-control"}),
            "a password where certificates are asked for": ("transformer", {"bootstrap.servers": certificates,
                                                                            "ssl.ca.location": f"{own}/ca.pem"}),
            "no password": ("transformer", {"security.protocol": "ssl"}),
        }
        for what, (service, changes) in tries.items():
            topic = "records" if service == "loader" else "commands"
            with self.client(PRODUCER, service, changes, message_timeout_ms="1500") as client:
                found = client.write(f"tributary.{topic}", b"!acl")
                if found not in (LOCAL_TIMED_OUT, LOCAL_SSL, LOCAL_AUTHENTICATION):
                    raise Failure(f"{what}: answer {found}")
        self.say(f"refused: {', '.join(tries)}")

    def start_stranger(self, label, service, changes, wanted):
        """One more of that service, with other settings; until its log says what is wanted."""
        _, settings = self.security(service)
        text = (self.directory / f"{service}.yaml").read_text()
        for name, value in changes.items():
            text = text.replace(f"{name}: {settings[name]}", f"{name}: {value}")
        text = text.replace(f"instance: {service}-1", f"instance: {label}").replace(f"data-{service}", f"data-{label}")
        self.write_secret(f"{label}.yaml", text)
        port = free_port()
        process = self.start(service, "--config", f"{label}.yaml", "--admin-listen", f"127.0.0.1:{port}", label=label)
        deadline = time.monotonic() + 60
        while wanted not in (self.directory / f"{label}.log").read_text():
            if time.monotonic() > deadline or process.poll() is not None:
                raise Failure(f"{label} does not say {wanted!r}")
            time.sleep(0.2)
        return port

    def a_service_says_that_it_is_refused(self):
        """With the wrong credential it runs, is not ready, and its log says why."""
        wrong = self.write_secret("wrong.password", secrets.token_hex(16))
        for service, changes, wanted in (
                ("transformer", {"sasl.password.file": wrong}, "SASL authentication error"),
                ("loader", {"ssl.ca.location": f"{self.directory}/strangers/loader/ca.pem"},
                 "certificate verify failed")):
            if self.readiness(self.start_stranger(f"refused-{service}", service, changes, wanted)) != 503:
                raise Failure(f"{service} is ready without a broker")
        self.say("a service with the wrong credential is not ready, and says why")

    def scram_works_or_is_said_not_to(self):
        """The nonce of librdkafka before 2.6.1 is not the one that today's brokers compare."""
        changes = {"sasl.mechanism": "SCRAM-SHA-512"}
        if LIBRARY.rd_kafka_version() < SCRAM_MENDED:
            port = self.start_stranger("scram", "transformer", changes, "SASL authentication error")
            said = (self.directory / "scram.log").read_text()
            if "log.kafka.sasl.mechanism: brokers from 3.7.2 on refuse" not in said:
                raise Failure("nothing says that this librdkafka's SCRAM is refused")
            if self.readiness(port) != 503:
                raise Failure("it is ready without a broker")
            self.say("SCRAM is refused by this broker, and the log says why and what to do")
        else:
            port = self.start_stranger("scram", "transformer", changes, "")
            deadline = time.monotonic() + 60
            while self.readiness(port) != 200:
                if time.monotonic() > deadline:
                    raise Failure("no service comes in by SCRAM")
                time.sleep(0.5)
            self.say("a service comes in by SCRAM")

    @staticmethod
    def readiness(port):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def no_secret_was_written(self):
        """Passwords and keys stand in the files in which a person put them, and nowhere else."""
        own = {file for file in self.directory.rglob("*") if file.name in ("key.pem", "ca.key", "broker.pem",
                                                                             "server.properties")
               or file.suffix == ".password"}
        wanted = [password.encode() for password in self.passwords.values()]
        wanted += [line for file in own if file.suffix in (".pem", ".key")
                   for line in file.read_bytes().splitlines()[1:2]]
        found, size = [], 0
        for file in self.directory.rglob("*"):
            if file.is_file() and file not in own:
                content = file.read_bytes()
                size += len(content)
                found += [str(file) for secret in wanted if secret in content]
        if found:
            raise Failure(f"a password or a key is in {sorted(set(found))}")
        if "sasl.password = [redacted]" not in (self.directory / "transformer.log").read_text():
            raise Failure("librdkafka said nothing of its passwords to the log, so nothing was looked through")
        self.say(f"none of {len(wanted)} passwords and keys is in the {size} bytes that were written")

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
        run.a_service_says_that_it_is_refused()
        run.scram_works_or_is_said_not_to()
        stopped = run.stop_all()
        if stopped:
            raise Failure("; ".join(stopped))
        run.topics_are_as_the_resources_say()
        run.what_is_not_theirs_is_refused()
        run.strangers_are_refused()
        run.no_secret_was_written()
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
