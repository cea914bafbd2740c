"""An installation whose every part can be killed, starved and cut off: a broker, control, two each of
extractor, transformer and loader, and a simulator that nobody harms, with a proxy on every link."""

import concurrent.futures
import copy
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "end_to_end"))
import run_end_to_end  # noqa: E402
from broker import START_SECONDS_MAX, Broker  # noqa: E402
from proxy import Proxy  # noqa: E402
from run_end_to_end import Failure, fetch, free_port  # noqa: E402

SERVICES = ("extractor", "transformer", "loader", "control")
PREFIX = "chaos."
# The protocol's bounds here. Q is less than L.
LEASE, PAUSE, SESSION, SETTLE, REQUEST_TIMEOUT = 2.0, 1.0, 6.0, 2.0, 1.5
# The proxies deliver nothing to a CRM later than that after it was sent; the rest of L is for
# queues of the kernel.
LATE_MAX = 1.2
# Between two looks for what has ended by itself.
REVIVAL_SECONDS = 0.5
DISK_MEGABYTES = {"broker": 512, "other": 64}


def get_text(url, seconds):
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metric(text, name, **labels):
    """Sum over the series of a metric that have these labels."""
    total = 0.0
    for line in text.splitlines():
        if not line.startswith(name) or line[len(name)] not in "{ ":
            continue
        if all(f'{label}="{value}"' in line for label, value in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


class Disk:
    """A place for data that can be filled: a tmpfs of its own where we may mount one."""

    def __init__(self, path, megabytes):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700",
                                  "tributary-chaos", str(path)], check=False,
                                 stderr=subprocess.DEVNULL) if os.geteuid() == 0 else None
        self.is_mounted = mounted is not None and mounted.returncode == 0

    def fill(self):
        with open(self.path / "filler", "wb", buffering=0) as file:
            piece = bytes(1 << 20)
            try:
                while True:
                    if file.write(piece) < len(piece):
                        piece = piece[:max(1, len(piece) // 2)]
            except OSError:
                pass

    def free(self):
        (self.path / "filler").unlink(missing_ok=True)

    def wipe(self):
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def remove(self):
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.path)], check=False)


class Member:
    """One process of a service."""

    def __init__(self, installation, service, number):
        self.installation = installation
        self.service = service
        self.name = f"{service}-{number}"
        self.admin = f"127.0.0.1:{free_port()}"
        self.process = None
        self.is_stopped = False
        self.last_busyness = float("inf")
        # Somebody killed it, and somebody will start it again.
        self.is_meant_to_be_down = False
        self.disk = Disk(installation.directory / f"data-{self.name}", DISK_MEGABYTES["other"])
        self.failing_sync = installation.directory / f"{self.name}.failing-sync"

    def start(self):
        if self.is_running():
            return
        environment = dict(os.environ)
        if self.installation.shim is not None:
            environment["LD_PRELOAD"] = str(self.installation.shim)
            environment["CHAOS_FAILING_SYNC"] = str(self.failing_sync)
        with open(self.installation.directory / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                [self.installation.program(self.service), "--config", f"{self.name}.yaml",
                 "--admin-listen", self.admin],
                cwd=self.installation.directory, stdout=log, stderr=log, env=environment)
        self.is_stopped = False
        self.is_meant_to_be_down = False

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.is_meant_to_be_down = True
        self.process.kill()
        self.process.wait()
        self.installation.ready.note_down(self.name)

    def freeze(self):
        self.is_stopped = True
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.is_stopped = False
        if self.is_running():
            self.process.send_signal(signal.SIGCONT)

    def metrics(self):
        """Empty: it does not answer."""
        try:
            return get_text(f"http://{self.admin}/metrics", 1)[1]
        except OSError:
            return ""

    def is_ready(self):
        try:
            return get_text(f"http://{self.admin}/readyz", 0.5)[0] == 200
        except OSError:
            return False

    def full_disks_seen(self):
        """How often it has said so."""
        return (self.installation.directory / f"{self.name}.log").read_text().count("No space left")

    def syncs_failed(self):
        hits = pathlib.Path(f"{self.failing_sync}.hits")
        return hits.stat().st_size if hits.exists() else 0


class Installation(run_end_to_end.Run):
    """`options`: bin, seed, customers, timeout, began. `instances`: of each service but control."""

    def __init__(self, options, directory, instances=2, concurrency=32):
        super().__init__(options, directory)
        self.concurrency = concurrency
        # None: it was not built, and no sync will fail.
        shim = pathlib.Path(options.bin) / "failing_sync.so"
        self.shim = shim if shim.exists() else None
        self.proxy = Proxy(seed=options.seed)
        self.control_port = free_port()
        self.links = {}
        self.disks = {"broker": Disk(directory / "broker", DISK_MEGABYTES["broker"])}
        self.members = {}
        for service in SERVICES:
            for number in range(1, 2 if service == "control" else instances + 1):
                member = Member(self, service, number)
                self.members[member.name] = member
                self.disks[member.name] = member.disk
        self.ready = ReadyWatch(self.members)
        self.mutator = None
        self.applied = 0
        self.next_revival = 0.0
        # A fault waits till then for something to be open.
        self.patient_until = 0.0
        self.ended_by_themselves = []
        self.broker = None

    def say(self, text):
        print(f"{time.monotonic() - self.options.began:7.1f} s  {text}", file=sys.stderr, flush=True)

    # Setting up.

    def set_up(self):
        self.start_simulator()
        real = self.access
        shown = copy.deepcopy(real)
        for name in ("chargify", "highlevel", "rest"):
            shown[name]["port"] = self.listen(name, real[name]["port"], late_max=LATE_MAX)
        self.access = shown
        ports = {name: free_port() for name in (*SERVICES, "direct", "controller")}
        told = {service: self.listen(f"{service}-broker", ports[service]) for service in SERVICES}
        self.bootstrap = told
        self.control_shown = self.listen("control", self.control_port)
        self.broker = Broker(self.disks["broker"].path, ports, told)
        self.broker.format()
        self.broker.start()
        self.broker.wait_until_it_answers()
        self.call("tributary", "tls", "init", str(self.directory / "tls"))
        # Two versions that differ in what changes no record, so that applying has something to do.
        tenants = self.tenants_yaml()
        (self.directory / "tenants.yaml").write_text(tenants)
        (self.directory / "other.yaml").write_text(
            tenants.replace('requests_per_second: "1500"', 'requests_per_second: "1400"'))
        for member in self.members.values():
            (self.directory / f"{member.name}.yaml").write_text(self.member_yaml(member))
            member.start()
        self.ready.start()
        deadline = time.monotonic() + START_SECONDS_MAX
        while self.apply(check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise Failure("control did not take the tenants")
            time.sleep(0.5)
        self.say("tenants applied")

    def listen(self, name, port, **bounds):
        self.links[name] = self.proxy.listen(name, port, **bounds)
        return self.links[name]

    def start_simulator(self):
        options = self.options
        process = self.start(
            "simulator", "--listen", "127.0.0.1:0", "--tenant", run_end_to_end.TENANT,
            "--seed", str(options.seed), "--customers", str(options.customers),
            "--mutations", "0", "--clock-offset", "-7")
        line = process.stdout.readline()
        if not line:
            raise Failure("the simulator did not start")
        self.access = run_end_to_end.json.loads(line)
        self.simulator = f"http://127.0.0.1:{self.access['chargify']['port']}"

    def tenants_yaml(self):
        return super().tenants_yaml().replace("concurrency: 32", f"concurrency: {self.concurrency}")

    def member_yaml(self, member):
        tls = self.directory / "tls" / member.service
        return f"""log:
  kind: kafka
  bootstrap_servers: 127.0.0.1:{self.bootstrap[member.service]}
  topic_prefix: {PREFIX}
  partitions: 4
  session_timeout: {SESSION:.0f}s
  instance: {member.name}
  data_directory: {member.disk.path}
control:
  listen: 127.0.0.1:{self.control_port}
  address: 127.0.0.1:{self.control_shown}
  tls_directory: {tls}
  database: {member.disk.path}/control.db
  master_key_file: {self.directory}/master.key
extractor:
  visibility_lag: 2s
  request_timeout: 3s
  lease: {LEASE:.0f}s
  pause_bound: {PAUSE:.0f}s
loader:
  request_timeout: {REQUEST_TIMEOUT * 1000:.0f}ms
  lease: {LEASE:.0f}s
  pause_bound: {PAUSE:.0f}s
  retry_delay_max: 5s
  sweep_share_percent: 100
logging: {{format: json}}
"""

    # Asking.

    def reach(self):
        return ("--control", f"127.0.0.1:{self.control_port}", "--tls-dir", "tls/tributary")

    def apply(self, check=True):
        return self.call("tributary", "apply", "-f", "tenants.yaml", *self.reach(), check=check)

    def start_apply(self):
        """A change, without waiting for its end."""
        self.applied += 1
        file = "tenants.yaml" if self.applied % 2 == 0 else "other.yaml"
        with open(self.directory / "tributary.err.log", "ab") as log:
            return subprocess.Popen(
                [self.program("tributary"), "apply", "-f", file, *self.reach()],
                cwd=self.directory, stdout=subprocess.DEVNULL, stderr=log)

    def set_faults(self, faults):
        fetch(self.simulator + "/_sim/faults", faults)

    def proxy_healed(self):
        """All links are good again."""
        for name in self.links:
            self.proxy.set(name)

    def of(self, service):
        return [m for m in self.members.values() if m.service == service]

    def revive(self):
        """Starts again what ended without being told to, as an orchestrator does."""
        if time.monotonic() < self.next_revival:
            return
        self.next_revival = time.monotonic() + REVIVAL_SECONDS
        for member in self.members.values():
            if not member.is_running() and not member.is_meant_to_be_down:
                self.ended_by_themselves.append((member.name, member.process.returncode))
                member.start()
        if not self.broker.is_running() and not self.broker.is_meant_to_be_down:
            self.ended_by_themselves.append(("broker", self.broker.process.returncode))
            self.broker.start()

    # Changing the site.

    def mutate(self, per_second):
        """Until stop_mutating(): so many changes a second."""
        self.mutator = Mutator(self.simulator, per_second, self.options.seed)
        self.mutator.start()

    def stop_mutating(self):
        if self.mutator is not None:
            self.mutator.stop()
            self.mutator = None

    def stop_all(self):
        self.stop_mutating()
        self.ready.stop()
        for member in self.members.values():
            if member.is_running():
                member.thaw()
                member.process.send_signal(signal.SIGTERM)
        failed = []
        for member in self.members.values():
            if member.process is None:
                continue
            try:
                if member.process.wait(30) != 0:
                    failed.append(f"{member.name} ended with {member.process.returncode}")
            except subprocess.TimeoutExpired:
                member.kill()
                failed.append(f"{member.name} did not end on SIGTERM")
        failed += super().stop_all()
        if self.broker is not None:
            self.broker.stop()
        self.proxy.stop()
        for disk in self.disks.values():
            disk.remove()
        return failed


class Mutator(threading.Thread):
    STEP = 0.1

    def __init__(self, simulator, per_second, seed):
        super().__init__(daemon=True)
        self.simulator = simulator
        self.per_second = per_second
        self.chance = random.Random(seed)
        self.over = threading.Event()
        self.problem = None

    def run(self):
        while not self.over.wait(self.STEP):
            exact = self.per_second * self.STEP
            count = int(exact) + (self.chance.random() < exact - int(exact))
            if count == 0:
                continue
            try:
                fetch(self.simulator + "/_sim/mutate", {"count": count})
            except (OSError, ValueError) as error:
                self.problem = str(error)
                return

    def stop(self):
        self.over.set()
        self.join()
        if self.problem is not None:
            raise Failure(f"the simulator could not mutate: {self.problem}")


class ReadyWatch(threading.Thread):
    """Remembers when who was ready."""
    INTERVAL = 0.2

    def __init__(self, members):
        super().__init__(daemon=True)
        self.members = members
        self.over = threading.Event()
        self.lock = threading.Lock()
        # name → [(time, is ready)], changes only, and when it was last looked at.
        self.changes = {name: [] for name in members}
        self.pool = concurrent.futures.ThreadPoolExecutor(len(members))

    def run(self):
        while not self.over.wait(self.INTERVAL):
            looks = {name: self.pool.submit(member.is_ready) for name, member in self.members.items()}
            for name, look in looks.items():
                is_ready = look.result()
                with self.lock:
                    changes = self.changes[name]
                    if not changes or changes[-1][1] != is_ready:
                        changes.append((time.monotonic(), is_ready))

    def note_down(self, name):
        """It has just been killed; nobody need look."""
        with self.lock:
            self.changes[name].append((time.monotonic(), False))

    def ready_from(self, name, since):
        """When it was ready for the first time after `since`. None: never."""
        with self.lock:
            was_ready = False
            for at, is_ready in self.changes[name]:
                if at > since:
                    if was_ready:
                        return since
                    if is_ready:
                        return at
                was_ready = is_ready
            return since if was_ready else None

    def all_ready(self):
        with self.lock:
            return all(changes and changes[-1][1] for changes in self.changes.values())

    def stop(self):
        self.over.set()
        if self.is_alive():
            self.join()
        self.pool.shutdown()
