"""A real broker with one listener for each service, so that a link of one of them can be made bad alone.

The jars are those of tests/conformance/kafka_broker.sh. Its data survives kill().
"""

import base64
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import uuid

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "conformance" / "kafka_broker.sh"
START_SECONDS_MAX = 240


def jars():
    """Where they are; fetched if they are not yet there."""
    subprocess.run(["bash", str(SCRIPT), "jars"], check=True)
    text = SCRIPT.read_text()
    version = text.split("KAFKA_VERSION=", 1)[1].split("\n", 1)[0]
    shown = subprocess.run(["bash", "-c", 'echo "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}"'], check=True,
                           text=True, stdout=subprocess.PIPE).stdout.strip()
    return f"{shown}/tributary/kafka/{version}/*"


class Broker:
    def __init__(self, directory, ports, shown):
        """`ports`: listener → the port on which it listens; `shown`: the one that clients are told.
        There are also `direct`, for clients beside the services, and `controller`."""
        self.directory = directory
        self.ports = ports
        self.classpath = jars()
        self.process = None
        self.is_stopped = False
        # Somebody killed it, and somebody will start it again.
        self.is_meant_to_be_down = False
        directory.mkdir(parents=True, exist_ok=True)
        names = {name: name.upper() for name in ports if name != "controller"}
        listeners = [f"{upper}://127.0.0.1:{ports[name]}" for name, upper in names.items()]
        advertised = [f"{upper}://127.0.0.1:{shown.get(name, ports[name])}"
                      for name, upper in names.items()]
        (directory / "server.properties").write_text(f"""process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{ports['controller']}
listeners={','.join(listeners)},CONTROLLER://127.0.0.1:{ports['controller']}
advertised.listeners={','.join(advertised)}
inter.broker.listener.name=DIRECT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{','.join(f'{n}:PLAINTEXT' for n in names.values())}
log.dirs={directory}/log
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.backoff.ms=200
log.index.size.max.bytes=65536
""")

    def format(self, *more):
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "x")
        subprocess.run(["java", "-cp", self.classpath, "kafka.tools.StorageTool", "format", "--standalone",
                        "-t", cluster, "-c", str(self.directory / "server.properties"), *more],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        if self.is_running():
            return
        self.is_meant_to_be_down = False
        self.is_stopped = False
        with open(self.directory.parent / "broker.log", "ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xms256m", "-Xmx768m", "-XX:+UseSerialGC", "-cp", self.classpath,
                 "kafka.Kafka", str(self.directory / "server.properties")],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.ports["direct"]), 1).close()
            return True
        except OSError:
            return False

    def wait_until_it_answers(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.answers():
            if self.process.poll() is not None:
                raise OSError(f"the broker ended with {self.process.returncode}")
            if time.monotonic() > deadline:
                raise OSError("the broker does not answer")
            time.sleep(0.1)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.is_stopped = True
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.is_stopped = False
        if self.is_running():
            self.process.send_signal(signal.SIGCONT)

    def stop(self, seconds=20):
        if not self.is_running():
            return
        self.thaw()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def remove(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
