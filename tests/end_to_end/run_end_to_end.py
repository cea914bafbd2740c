#!/usr/bin/env python3
"""Runs the built programs as processes against a simulator and compares what came of it.

    run_end_to_end.py --bin build/release/bin --mode dev|embedded|kafka [--customers N] [--seed S]

dev       `tributary dev --once`: everything in one process, judged by itself
embedded  `tributary dev --no-simulator --once` against a simulator of its own process, judged by
          fold.py from the history of mutations
kafka     simulator, control, extractor, transformer and loader as processes of their own on the
          broker at $TRIBUTARY_KAFKA; judged by fold.py and `tributary verify`

The site changes while it is being read, shows changes late and mixes ties. Exit 0: each CRM equals the
fold, nothing is doubled, no version went back, no 429 was provoked. Logs stay in the work directory
when something fails.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import fold

TENANT = "acme"
CONNECTOR_FILES = pathlib.Path(__file__).resolve().parents[2] / "libs" / "connector" / "files"


class Failure(Exception):
    pass


GIVEN_PORTS = set()


def free_port():
    """Never the same twice, and below those that the kernel gives to whoever connects somewhere:
    one of these may be taken again before its service listens."""
    while True:
        port = random.randrange(10240, 32768)
        if port in GIVEN_PORTS:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        GIVEN_PORTS.add(port)
        return port


def fetch(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=300) as answer:
        return json.loads(answer.read())


class Run:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.processes = []

    def say(self, text):
        print(f"{time.monotonic() - self.options.began:7.1f} s  {text}", flush=True)

    def program(self, name):
        return str(pathlib.Path(self.options.bin) / name)

    def start(self, name, *arguments, label=None):
        label = label or name
        log = open(self.directory / f"{label}.log", "ab")
        process = subprocess.Popen([self.program(name), *arguments], cwd=self.directory,
                                   stdout=subprocess.PIPE if name == "simulator" else log, stderr=log)
        log.close()
        self.processes.append((label, process))
        return process

    def call(self, name, *arguments, check=True):
        with open(self.directory / f"{name}.err.log", "ab") as log:
            result = subprocess.run([self.program(name), *arguments], cwd=self.directory, text=True,
                                    stdout=subprocess.PIPE, stderr=log,
                                    timeout=self.options.timeout + 60, check=False)
        if check and result.returncode != 0:
            raise Failure(f"{name} {' '.join(arguments)}: exit {result.returncode}\n{result.stdout[-2000:]}")
        return result

    def assert_alive(self):
        for label, process in self.processes:
            if process.poll() is not None:
                raise Failure(f"{label} ended with {process.returncode}")

    def stop_all(self):
        for _, process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        failed = []
        for label, process in self.processes:
            try:
                if process.wait(30) != 0:
                    failed.append(f"{label} ended with {process.returncode}")
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                failed.append(f"{label} did not end on SIGTERM")
            if process.stdout:
                process.stdout.close()
        self.processes = []
        return failed

    # The simulator.

    def start_simulator(self):
        options = self.options
        process = self.start(
            "simulator", "--listen", "127.0.0.1:0", "--tenant", TENANT,
            "--seed", str(options.seed), "--customers", str(options.customers),
            "--mutations", str(options.mutations), "--mutations-per-page", "4",
            "--mutation-rate", str(options.mutation_rate), "--clock-offset", "-7")
        line = process.stdout.readline()
        if not line:
            raise Failure("the simulator did not start")
        self.access = json.loads(line)
        self.simulator = f"http://127.0.0.1:{self.access['chargify']['port']}"

    def finish_mutating(self):
        deadline = time.monotonic() + self.options.timeout
        while time.monotonic() < deadline:
            state = fetch(self.simulator + "/_sim/state")
            if state["finished_mutating"]:
                self.say(f"{state['mutations']} mutations done")
                return
            self.assert_alive()
            time.sleep(0.5)
        raise Failure("the mutations did not come to their end: too few pages were read")

    def compare(self):
        result = fold.compare_simulator(self.simulator)
        judged = fetch(self.simulator + "/_sim/judge")
        for text in (result["mismatches"] + result["duplicate_records"] + judged["problems"])[:30]:
            print("   ", text)
        report = {
            "customers": result["customers"], "gone": result["gone"],
            "mismatches": len(result["mismatches"]),
            "duplicate_records": len(result["duplicate_records"]),
            "regressions": judged["regressions"], "provoked_429": judged["provoked_429"],
            "judge_mismatches": judged["mismatches"],
        }
        self.say(json.dumps(report))
        wrong = [name for name in ("mismatches", "duplicate_records", "regressions", "provoked_429")
                 if report[name] != 0]
        if wrong:
            raise Failure("not equal to the fold: " + ", ".join(wrong))
        if report["judge_mismatches"] != 0:
            raise Failure("the simulator's judge and the fold disagree")

    # Configuration.

    def tenants_yaml(self):
        access = self.access
        keys = self.directory / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        for name, secret in (("chargify", access["chargify"]["key"]),
                             ("highlevel", access["highlevel"]["token"]),
                             ("rest", access["rest"]["key"])):
            file = keys / name
            file.touch(mode=0o600)
            file.write_text(secret)
        return f"""tenants:
  - name: {TENANT}
    connections:
      - name: billing
        integration: chargify
        url: http://127.0.0.1:{access['chargify']['port']}
        allow_insecure_loopback: true
        credentials:
          api_key: {{key_file: keys/chargify}}
        settings: {{visibility_lag: 2s, poll_interval: 500ms}}
      - name: crm
        integration: highlevel
        url: http://127.0.0.1:{access['highlevel']['port']}
        allow_insecure_loopback: true
        credentials:
          token: {{key_file: keys/highlevel}}
        settings: {{location: {access['highlevel']['location']}, settle: 2s, index_lag: 1s}}
        concurrency: 32
        requests_per_second: "1500"
      - name: clients
        integration: rest
        url: http://127.0.0.1:{access['rest']['port']}
        allow_insecure_loopback: true
        credentials:
          api_key: {{key_file: keys/rest}}
        connector_file: {CONNECTOR_FILES}/rest.yaml
        settings: {{settle: 2s, index_lag: 1s}}
        concurrency: 16
        requests_per_second: "1500"
    syncs:
      - name: contacts
        source: billing
        target: crm
      - name: clients
        source: billing
        target: clients
"""

    def service_yaml(self, name, prefix, ports):
        return f"""log:
  kind: kafka
  bootstrap_servers: {os.environ['TRIBUTARY_KAFKA']}
  topic_prefix: {prefix}
  partitions: 4
  instance: {name}-1
  data_directory: {self.directory}/data-{name}
control:
  listen: 127.0.0.1:{ports['control']}
  address: 127.0.0.1:{ports['control']}
  tls_directory: {self.directory}/tls/{name}
  database: {self.directory}/control.db
  master_key_file: {self.directory}/master.key
extractor:
  visibility_lag: 2s
loader:
  request_timeout: 1500ms
logging: {{format: json}}
"""


def run_dev(run):
    options = run.options
    result = run.call("tributary", "dev", "--once", "--json", "--customers", str(options.customers),
                      "--seed", str(options.seed), "--data", str(run.directory / "data"),
                      "--timeout", f"{options.timeout}s", check=False)
    lines = result.stdout.strip().split("\n")
    run.say(lines[-1])
    if result.returncode != 0:
        raise Failure(f"tributary dev --once: exit {result.returncode}")
    report = json.loads(lines[-1])
    for name in ("dropped", "duplicate_records", "regressions", "mismatches", "provoked_429"):
        if report[name] != 0:
            raise Failure(f"{name} is {report[name]}")
    if report["settled"] is not True or report["customers"] != options.customers:
        raise Failure("not settled, or not for all customers")
    if report["applied"] < options.customers:
        raise Failure("fewer records were applied than there are customers")


def run_embedded(run):
    run.start_simulator()
    config = run.directory / "tributary.yaml"
    config.write_text(run.tenants_yaml() + "extractor: {visibility_lag: 2s}\n"
                      "loader: {request_timeout: 1500ms}\n")
    result = run.call("tributary", "dev", "--no-simulator", "--once", "--json", "--config", str(config),
                      "--data", str(run.directory / "data"), "--timeout", f"{run.options.timeout}s",
                      check=False)
    run.say(result.stdout.strip().split("\n")[-1])
    if result.returncode != 0:
        raise Failure(f"tributary dev --no-simulator --once: exit {result.returncode}")
    if not fetch(run.simulator + "/_sim/state")["finished_mutating"]:
        raise Failure("settled before the site had stopped changing")
    run.compare()


def run_kafka(run):
    if "TRIBUTARY_KAFKA" not in os.environ:
        raise Failure("TRIBUTARY_KAFKA=HOST:PORT of a broker is needed; `./dev kafka up` brings one")
    run.start_simulator()
    prefix = f"e2e-{os.getpid()}-{int(time.time())}."
    ports = {"control": free_port()}
    run.call("tributary", "tls", "init", str(run.directory / "tls"))
    (run.directory / "tenants.yaml").write_text(run.tenants_yaml())
    for name in ("control", "extractor", "transformer", "loader", "tributary"):
        (run.directory / f"{name}.yaml").write_text(run.service_yaml(name, prefix, ports))
    for name in ("control", "extractor", "transformer", "loader"):
        run.start(name, "--config", f"{name}.yaml")
    reach = ("--control", f"127.0.0.1:{ports['control']}", "--tls-dir", "tls/tributary")

    deadline = time.monotonic() + 60
    while run.call("tributary", "apply", "-f", "tenants.yaml", *reach, check=False).returncode != 0:
        run.assert_alive()
        if time.monotonic() > deadline:
            raise Failure("control did not take the tenants")
        time.sleep(1)
    run.say("tenants applied")
    run.finish_mutating()

    # At rest: for some seconds nothing waits and nobody is asked to store anything.
    deadline = time.monotonic() + run.options.timeout
    quiet, writes = 0, None
    while quiet < 6:
        run.assert_alive()
        if time.monotonic() > deadline:
            raise Failure("did not come to rest")
        time.sleep(1)
        result = run.call("tributary", "status", "--json", *reach, check=False)
        state = fetch(run.simulator + "/_sim/state")
        now = (state["highlevel_requests"], state["rest_requests"])
        is_still = result.returncode == 0 and now == writes
        if result.returncode == 0:
            syncs = [s for t in json.loads(result.stdout)["tenants"] for s in t["syncs"]]
            is_still = is_still and len(syncs) == 2 and all(
                s["pending"] == 0 and s["retrying"] == 0 for s in syncs)
        quiet = quiet + 1 if is_still else 0
        writes = now
    run.say(run.call("tributary", "status", "--json", *reach).stdout.strip())
    verified = run.call("tributary", "verify", "--json", *reach, check=False)
    run.say("verify: " + verified.stdout.strip())
    run.compare()
    if verified.returncode != 0:
        raise Failure(f"tributary verify: exit {verified.returncode}")


def run_in_directory(options, kind, body, last_word):
    """Calls `body` with a run in a directory of its own, which stays when something is wrong. The
    exit code."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tributary-e2e-"))
    run = kind(options, directory)
    problem = None
    try:
        body(run)
    except (Failure, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as failure:
        problem = f"{type(failure).__name__}: {failure}"
    finally:
        stopped = run.stop_all()
    if problem is None and stopped:
        problem = "; ".join(stopped)
    if problem is not None:
        print(f"FAILED: {problem}\nLogs: {directory}", file=sys.stderr)
        return 1
    if not options.keep:
        shutil.rmtree(directory)
    run.say(last_word)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin", required=True, help="where the programs are")
    parser.add_argument("--mode", required=True, choices=("dev", "embedded", "kafka"))
    parser.add_argument("--customers", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutations", type=int, default=3000)
    parser.add_argument("--mutation-rate", type=float, default=20)
    parser.add_argument("--timeout", type=int, default=600, help="seconds")
    parser.add_argument("--keep", action="store_true", help="keep the work directory")
    options = parser.parse_args()
    options.began = time.monotonic()
    options.bin = os.path.abspath(options.bin)
    body = {"dev": run_dev, "embedded": run_embedded, "kafka": run_kafka}[options.mode]
    return run_in_directory(options, Run, body, "equal")


if __name__ == "__main__":
    sys.exit(main())
