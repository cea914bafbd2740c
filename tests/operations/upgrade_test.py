#!/usr/bin/env python3
"""The previous version and this one, mixed: rolled forward and back, on a broker and on an embedded log.

    upgrade_test.py --bin build/release/bin

On the broker at $TRIBUTARY_KAFKA the four services begin as the previous version, and are replaced two by
two, forward and back, so that either end of the flow is once the older one; a site changes in between. After
each step everybody is ready and at rest, `tributary verify` is good, and the CRM was written what had changed
and nothing else: by the simulator's own count, 0 where nothing changed. At last all begin without their local
copies, both ways. Then the same with one process on an embedded log. Configuration and connector file are
those of the previous version throughout.

previous_version.sh builds it. Where the clone has no history, only what an older one left is read:
previous_data.tar.gz, a data directory of its own, made by previous_data.py.
"""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "end_to_end")]

from dev_run import CONNECTOR_FILES, DevRun, check, equals_fold, run_test  # noqa: E402
from run_end_to_end import Failure, fetch  # noqa: E402
from services_run import SERVICES, ServicesRun  # noqa: E402

CUSTOMERS = 40
NO_HISTORY = 3


class UpgradeRun(ServicesRun):
    def __init__(self, options, directory):
        super().__init__(options, directory)
        # Program → where the version that is to be started is. Others are this one's.
        self.versions = {}
        self.previous = None
        self.running = {}

    def build_previous(self):
        """False: this clone has no history."""
        script = TOP / "tests" / "operations" / "previous_version.sh"
        began = time.monotonic()
        built = subprocess.run(["bash", str(script)], text=True, capture_output=True, check=False)
        if built.returncode == NO_HISTORY:
            self.say(built.stderr.strip())
            return False
        check(built.returncode == 0, built.stderr)
        self.previous = pathlib.Path(built.stdout.strip())
        self.say(f"the previous version is there, after {time.monotonic() - began:.0f} s")
        return True

    def status(self):
        return super().status() if self.running else DevRun.status(self)

    def program(self, name):
        return str(pathlib.Path(self.versions.get(name, self.options.bin)) / name)

    def tenant_yaml(self, name, access, **others):
        text = super().tenant_yaml(name, access, **others)
        return text.replace(str(CONNECTOR_FILES), str(self.previous.parent / "connector_files"))

    # The CRM, as the simulator saw it.

    def writes(self):
        with urllib.request.urlopen(self.simulator + "/_sim/requests", timeout=60) as answer:
            requests = [json.loads(line) for line in answer.read().decode().splitlines()]
        return sum(1 for r in requests if r["target"] == "rest" and r["method"] != "GET")

    def is_ready(self, name):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_ports[name]}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    # Steps.

    def replace(self, what, is_new, forget=False):
        """Those services are ended well and begin as the other version; nothing is written for it."""
        before = self.writes()
        for name in what:
            if name in self.running:
                code = self.end_service(name, signal.SIGTERM)
                check(code == 0, f"{name}: exit {code} on SIGTERM")
            if forget:
                shutil.rmtree(self.directory / f"data-{name}", ignore_errors=True)
            self.versions[name] = self.options.bin if is_new else self.previous
            self.start_service(name)
        label = f"{', '.join(what)}: {'this' if is_new else 'the previous'} version"
        self.wait(label, lambda: all(self.is_ready(name) for name in SERVICES), seconds=120)
        self.wait_until_verified()
        check(self.writes() == before, f"{label}: {self.writes() - before} writes though nothing had changed")

    def change(self, count=8):
        """The site changes, and what both versions make of it reaches the CRM."""
        before = self.writes()
        fetch(self.simulator + "/_sim/mutate", {"count": count})
        self.wait("the change is written", lambda: self.writes() > before and self.is_equal())
        self.wait_until_verified()
        equals_fold(self.simulator)

    def is_equal(self):
        return fetch(self.simulator + "/_sim/judge?highlevel=0")["mismatches"] == 0

    def verify_by_both(self):
        for version in (self.previous, self.options.bin):
            self.versions["tributary"] = version
            self.wait_until_verified()
        del self.versions["tributary"]


def rolled_on_a_broker(run):
    run.require_kafka()
    run.configure()
    access, run.simulator = run.add_simulator("acme", 31, CUSTOMERS)
    for name in SERVICES:
        run.versions[name] = run.previous
        run.start_service(name)
    run.apply("tenants:\n" + run.tenant_yaml("acme", access))
    run.wait("the previous version has written all", lambda: run.writes() >= CUSTOMERS and run.is_equal())
    run.verify_by_both()
    equals_fold(run.simulator)

    behind, before = ("loader", "transformer"), ("extractor", "control")
    run.replace(behind, is_new=True)
    run.change()
    run.replace(before, is_new=True)
    run.verify_by_both()
    run.replace(behind, is_new=False)
    run.change()
    run.replace(before, is_new=False)
    run.verify_by_both()
    run.replace(SERVICES, is_new=True, forget=True)
    run.change()
    run.replace(SERVICES, is_new=False, forget=True)
    run.change()
    for name in SERVICES:
        check(run.end_service(name, signal.SIGTERM) == 0, f"{name} did not end well")


def rolled_on_an_embedded_log(run):
    access, run.simulator = run.add_simulator("beta", 32, CUSTOMERS)
    config = run.configure_dev(run.tenant_yaml("beta", access))

    def settled():
        return (run.status() or {}).get("settled")

    written = None
    for is_new in (False, True, False, True):
        run.versions["tributary"] = run.options.bin if is_new else run.previous
        run.dev = run.start("tributary", "dev", "--no-simulator", "--config", str(config), "--data", "data",
                            label="dev")
        label = f"one process: {'this' if is_new else 'the previous'} version"
        run.wait(label, settled, seconds=90)
        time.sleep(3)  # Whoever would write without a reason does it by now.
        check(written in (None, run.writes()), f"{label}: {written} writes became {run.writes()} without a change")
        before = run.writes()
        fetch(run.simulator + "/_sim/mutate", {"count": 8})
        run.wait("the change is written", lambda: run.writes() > before and run.is_equal())  # noqa: B023
        run.wait("settled", settled)
        equals_fold(run.simulator)
        result = run.call("tributary", "verify", "--data", "data", check=False)
        check(result.returncode == 0, f"verify: {result.stdout}")
        check(run.end_dev(signal.SIGTERM) == 0, "it did not end well")
        written = run.writes()
    del run.versions["tributary"]


def what_it_left_is_read(run):
    """A data directory of an older version: the log and control's database, by this version alone."""
    left = run.directory / "left"
    left.mkdir()
    subprocess.run(["tar", "-xzf", str(TOP / "tests" / "operations" / "previous_data.tar.gz"), "-C", str(left)],
                   check=True)
    # Nobody listens there.
    config = left / "tributary.yaml"
    config.write_text(re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:1", config.read_text()))
    was = json.loads((left / "verified.json").read_text())
    result = run.call("tributary", "verify", "--json", "--data", str(left / "data"), check=False)
    check(result.returncode == 0, f"verify: exit {result.returncode}: {result.stdout}")
    now = json.loads(result.stdout)
    check(now["checked"] == was["checked"] > 0, f"it checked {now['checked']} of {was['checked']}")
    # Its accounts are away. What is known of its records is known from what it left.
    run.dev = run.start("tributary", "dev", "--no-simulator", "--config", str(config), "--data",
                        str(left / "data"), label="left")

    def ask(*question):
        return run.call("tributary", *question, "--json", "--data", str(left / "data"), check=False)

    def traced():
        result = ask("trace", f"acme/customers/{was['customer']}")
        return result.returncode == 0 and json.loads(result.stdout)["records"]
    deadline = time.monotonic() + 60
    while not traced():
        run.assert_alive()
        if time.monotonic() > deadline:
            raise Failure("nothing is known of a record that it left")
        time.sleep(0.3)
    record = traced()[0]
    check(record["id"] == was["record"]["id"] and record["resolved"] == was["record"]["resolved"] and
          record["status"] == was["record"]["status"], f"{record} instead of {was['record']}")
    check(run.end_dev(signal.SIGTERM) == 0, "it did not end well")
    run.say(f"the {was['checked']} entries that it left are read, and a record is as it was")


def body(run):
    what_it_left_is_read(run)
    if run.build_previous():
        rolled_on_an_embedded_log(run)
        rolled_on_a_broker(run)


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, UpgradeRun))
