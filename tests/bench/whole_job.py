#!/usr/bin/env python3
"""From the first read of a site to the last write at a CRM, in processes of their own on Kafka.

    whole_job.py --bin build/release/bin [--customers 100000] [--bare] [--batch] [--by-hand] [--json]

Prints for each service CPU-seconds per 1,000 customers and the peak of its anonymous memory. The
broker is the one at $TRIBUTARY_KAFKA (`./dev kafka up`). One sync, to the `rest` example; --batch
sends 100 records a request. A customer brings about eight rows besides its own (subscriptions,
components, invoices, events); with --bare it brings none: one row read, one record written.
--by-hand measures by_hand.py right before on the same work, for a ratio that the machine's mood does
not change. A timing here is a measurement, never a verdict.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "end_to_end"))
import run_end_to_end  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
SERVICES = ("control", "extractor", "transformer", "loader")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def anonymous_megabytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Job(run_end_to_end.Run):
    def start_simulator(self):
        options = self.options
        process = self.start("simulator", "--listen", "127.0.0.1:0", "--tenant", run_end_to_end.TENANT,
                             "--seed", str(options.seed), "--customers", str(options.customers),
                             "--mutations", "0", "--mutation-rate", "0",
                             *(["--bare-customers"] if options.bare else []))
        line = process.stdout.readline()
        if not line:
            raise run_end_to_end.Failure("the simulator did not start")
        self.access = json.loads(line)
        self.simulator = f"http://127.0.0.1:{self.access['chargify']['port']}"

    def tenants_yaml(self):
        head, _, tail = super().tenants_yaml().partition("      - name: crm\n")
        rest = "      - name: clients\n" + tail.partition("      - name: clients\n")[2]
        rest = rest.replace("      - name: contacts\n        source: billing\n        target: crm\n", "")
        if self.options.batch:
            rest = rest.replace("index_lag: 1s}", 'index_lag: 1s, batch: "true"}')
        return head + rest.replace('requests_per_second: "1500"', 'requests_per_second: "100000"')

    def peaks(self, peak):
        for label, process in self.processes:
            peak[label] = max(peak.get(label, 0.0), anonymous_megabytes(process.pid))


    def service_yaml(self, name, prefix, ports):
        port = ports.setdefault("admin " + name, run_end_to_end.free_port())
        return super().service_yaml(name, prefix, ports) + f"admin: {{listen: 127.0.0.1:{port}}}\n"

    def start_services(self):
        """Simulator, control and services; the tenants are applied. Returns how to reach control."""
        self.start_simulator()
        prefix = f"bench-{os.getpid()}-{int(time.time())}."
        self.ports = {"control": run_end_to_end.free_port()}
        self.call("tributary", "tls", "init", str(self.directory / "tls"))
        (self.directory / "tenants.yaml").write_text(self.tenants_yaml())
        for name in (*SERVICES, "tributary"):
            (self.directory / f"{name}.yaml").write_text(self.service_yaml(name, prefix, self.ports))
        for name in SERVICES:
            self.start(name, "--config", f"{name}.yaml")
        self.reach = ("--control", f"127.0.0.1:{self.ports['control']}", "--tls-dir", "tls/tributary")
        self.apply()
        return self.reach

    def apply(self):
        """Until control has taken it: it may just be starting, or be too busy to answer in time."""
        deadline = time.monotonic() + 120
        while self.call("tributary", "apply", "-f", "tenants.yaml", *self.reach,
                        check=False).returncode != 0:
            self.assert_alive()
            if time.monotonic() > deadline:
                raise run_end_to_end.Failure("control did not take the tenants")
            time.sleep(0.5)

    def load(self):
        """Until nothing waits and the CRM was given nothing for ten seconds. What it cost and took."""
        pids = {label: process.pid for label, process in self.processes}
        begin, began = {label: cpu_seconds(pid) for label, pid in pids.items()}, time.monotonic()
        peak, quiet, last, finished = {}, 0, None, began
        while quiet < 10:
            self.assert_alive()
            if time.monotonic() - began > self.options.timeout:
                raise run_end_to_end.Failure("did not come to rest")
            time.sleep(1)
            self.peaks(peak)
            # What the sweep reads later is no part of the job.
            state = run_end_to_end.fetch(self.simulator + "/_sim/state")
            now = state["rest_applied"]
            if now != last:
                quiet, last, finished = 0, now, time.monotonic()
                requests = state["rest_requests"]
                used = {label: cpu_seconds(pid) for label, pid in pids.items()}
            elif now > 0:
                quiet += 1
                if quiet == 10 and self.pending():
                    quiet = 0  # The machine is busy, or something is in the way: not the end.
        thousands = self.options.customers / 1000
        report = {
            "customers": self.options.customers, "bare": self.options.bare,
            "batch": 100 if self.options.batch else 1,
            "seconds": round(finished - began, 1), "requests": requests,
            "cpu_seconds_per_1000": {n: round((used[n] - begin[n]) / thousands, 4) for n in SERVICES},
            "anonymous_megabytes_peak": {n: round(peak[n], 1) for n in SERVICES},
        }
        report["cpu_seconds_per_1000"]["sum"] = round(sum(report["cpu_seconds_per_1000"].values()), 4)
        return report

    def pending(self):
        status = json.loads(self.call("tributary", "status", "--json", *self.reach).stdout)
        return sum(sync["pending"] for tenant in status["tenants"] for sync in tenant["syncs"])

    def by_hand(self):
        """The same work by a program without any promise, at a simulator of its own."""
        self.start_simulator()
        self.tenants_yaml()
        simulator = self.processes.pop()[1]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, pathlib.Path(__file__).with_name("by_hand.py"),
             "--chargify", self.simulator, "--chargify-key", self.directory / "keys/chargify",
             "--rest", f"http://127.0.0.1:{self.access['rest']['port']}",
             "--rest-key", self.directory / "keys/rest",
             *(["--batch"] if self.options.batch else [])],
            capture_output=True, text=True, check=False)
        simulator.kill()
        simulator.wait()
        if done.returncode != 0 or json.loads(done.stdout)["customers"] != self.options.customers:
            raise run_end_to_end.Failure("by hand: " + done.stdout + done.stderr)
        used = json.loads(done.stdout)
        return {"seconds": round(time.monotonic() - began, 1), "requests": used["requests"],
                "cpu_seconds_per_1000":
                    round(used["cpu_seconds"] / self.options.customers * 1000, 4)}

    def verify(self):
        return self.call("tributary", "verify", "--json", *self.reach, check=False).returncode


def options_of(parser, customers=100000):
    parser.add_argument("--bin", required=True)
    parser.add_argument("--customers", type=int, default=customers)
    parser.add_argument("--bare", action="store_true", help="customers without any other rows")
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=1800)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    options.began = time.monotonic()
    return options


def run(options, measure, kind=Job):
    """`measure(job)` gives the report. The work directory stays if something fails."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tributary-bench-"))
    job = kind(options, directory)
    try:
        report = measure(job)
    except run_end_to_end.Failure as failure:
        print(f"FAILED: {failure}\nLogs: {directory}", file=sys.stderr)
        job.stop_all()
        return 1
    print(json.dumps(report, indent=None if options.json else 2))
    job.stop_all()
    shutil.rmtree(directory)
    return 0


def whole_job(job):
    by_hand = job.by_hand() if job.options.by_hand else None
    job.start_services()
    report = job.load()
    report["verify"] = job.verify()
    if by_hand:
        report["by_hand"] = by_hand
        report["times_by_hand"] = round(
            report["cpu_seconds_per_1000"]["sum"] / by_hand["cpu_seconds_per_1000"], 2)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--by-hand", action="store_true", help="with by_hand.py before it")
    return run(options_of(parser), whole_job)


if __name__ == "__main__":
    sys.exit(main())
