#!/usr/bin/env python3
"""A second and a third of each service join while a load runs.

    replicas.py --bin build/release/bin [--customers 60000] [--tenants 6] [--json]

Six sites of --customers in all are moved to their `rest` examples. After a third of the writes a
second extractor, transformer and loader start, after two thirds a third of each. Reported are, per
phase, writes a second, CPU-seconds per 1,000 writes of all replicas of a service (extractor and
transformer run ahead of the writes, so theirs belong to the first phase), and the longest time in
which no CRM was asked anything; and at the end the requests beyond one for each record: look-ups and
repeats. On a machine with few cores the rate says nothing; that a write costs the loaders the same,
and how long a join stands still, does. The broker is the one at $TRIBUTARY_KAFKA. A timing here is a
measurement, never a verdict.
"""

import argparse
import json
import sys
import time

import idle_tenants
import whole_job
from whole_job import run_end_to_end

JOINING = ("extractor", "transformer", "loader")
REPLICAS = 3


class Job(idle_tenants.Job):
    def start_simulator(self):
        """One for each tenant; the first of them is the one that the frame knows."""
        self.sites = []
        for i in range(self.options.tenants):
            process = self.start("simulator", "--listen", "127.0.0.1:0", "--tenant", f"t{i:05}",
                                 "--seed", str(self.options.seed), "--customers",
                                 str(self.options.customers // self.options.tenants),
                                 "--mutations", "0", "--mutation-rate", "0", "--bare-customers",
                                 label=f"simulator-{i}")
            line = process.stdout.readline()
            if not line:
                raise run_end_to_end.Failure("a simulator did not start")
            self.sites.append(json.loads(line))
        self.access = self.sites[0]
        self.simulator = f"http://127.0.0.1:{self.access['chargify']['port']}"

    def tenants_yaml(self, count=1):
        super().tenants_yaml()
        for i, access in enumerate(self.sites):
            for side in ("chargify", "rest"):
                file = self.directory / "keys" / f"{side}{i}"
                file.touch(mode=0o600)
                file.write_text(access[side]["key"])
        return "tenants:\n" + "".join(
            idle_tenants.tenant_yaml(f"t{i:05}", access)
            .replace("keys/chargify", f"keys/chargify{i}").replace("keys/rest", f"keys/rest{i}")
            .replace("index_lag: 1s}\n", 'index_lag: 1s}\n        requests_per_second: "100000"\n'
                     "        concurrency: 16\n")
            for i, access in enumerate(self.sites))

    def start_replica(self, number):
        for name in JOINING:
            text = (self.directory / f"{name}.yaml").read_text()
            port = run_end_to_end.free_port()
            text = text.replace(f"{name}-1\n", f"{name}-{number}\n").replace(
                f"data-{name}\n", f"data-{name}-{number}\n").replace(
                f"127.0.0.1:{self.ports['admin ' + name]}}}", f"127.0.0.1:{port}}}")
            (self.directory / f"{name}-{number}.yaml").write_text(text)
            self.start(name, "--config", f"{name}-{number}.yaml", label=f"{name}-{number}")

    def writes(self):
        return sum(run_end_to_end.fetch(f"http://127.0.0.1:{site['chargify']['port']}/_sim/state")
                   ["rest_requests"] for site in self.sites)

    def cpu(self):
        """Of all replicas, by service."""
        return {name: sum(whole_job.cpu_seconds(process.pid) for label, process in self.processes
                          if label.startswith(name)) for name in JOINING}


def measure(job):
    job.start_services()
    total = job.options.customers // job.options.tenants * job.options.tenants
    phases, replicas = [], 1
    began = last_change = time.monotonic()
    phase = {"at": began, "writes": 0, "cpu": job.cpu()}
    last, longest = 0, 0.0
    while True:
        job.assert_alive()
        if time.monotonic() - began > job.options.timeout:
            raise run_end_to_end.Failure("did not come to rest")
        now, writes = time.monotonic(), job.writes()
        if writes != last:
            if last > 0:
                longest = max(longest, now - last_change)
            last, last_change = writes, now
        is_last = replicas == REPLICAS
        ended = now - last_change > 10 if is_last else writes >= total * replicas / REPLICAS
        if ended:
            end = last_change if is_last else now
            made, cpu = writes - phase["writes"], job.cpu()
            phases.append({
                "replicas": replicas, "writes": made,
                "writes_per_second": round(made / max(0.001, end - phase["at"])),
                "cpu_seconds_per_1000": {n: round(1000 * (cpu[n] - phase["cpu"][n]) / max(1, made), 4)
                                         for n in JOINING},
                "longest_silence_seconds": round(longest, 2)})
            if is_last:
                break
            replicas += 1
            job.start_replica(replicas)
            phase, longest = {"at": now, "writes": writes, "cpu": job.cpu()}, 0.0
        time.sleep(0.05)
    return {"customers": total, "tenants": job.options.tenants, "phases": phases,
            "requests_beyond_one_each": last - total, "verify": job.verify()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--tenants", type=int, default=6)
    options = whole_job.options_of(parser, customers=60000)
    return whole_job.run(options, measure, Job)


if __name__ == "__main__":
    sys.exit(main())
