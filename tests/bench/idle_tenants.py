#!/usr/bin/env python3
"""What tenants cost that have nothing to say.

    idle_tenants.py --bin build/release/bin [--tenants 1000] [--seconds 60] [--json]

All tenants look at one site with one customer, each with a connection to it, one to the `rest`
example and a sync, at the default poll interval. When every sync is settled, CPU-seconds are counted
for --seconds: what polling, status and metrics cost. Against it stands the same with a tenth of the
tenants in the same run, so that what does not grow with them shows. The broker is the one at
$TRIBUTARY_KAFKA. A timing here is a measurement, never a verdict.
"""

import argparse
import json
import sys
import time

import whole_job
from whole_job import SERVICES, run_end_to_end

PARTITIONS = 8


def tenant_yaml(name, access):
    return f"""  - name: {name}
    connections:
      - name: billing
        integration: chargify
        url: http://127.0.0.1:{access['chargify']['port']}
        allow_insecure_loopback: true
        credentials: {{api_key: {{key_file: keys/chargify}}}}
      - name: clients
        integration: rest
        url: http://127.0.0.1:{access['rest']['port']}
        allow_insecure_loopback: true
        credentials: {{api_key: {{key_file: keys/rest}}}}
        connector_file: {run_end_to_end.CONNECTOR_FILES}/rest.yaml
        settings: {{settle: 2s, index_lag: 1s}}
    syncs:
      - {{name: clients, source: billing, target: clients}}
"""


class Job(whole_job.Job):
    def tenants_yaml(self, count=1):
        super().tenants_yaml()  # Writes the keys.
        return "tenants:\n" + "".join(tenant_yaml(f"t{i:05}", self.access) for i in range(count))

    def service_yaml(self, name, prefix, ports):
        return super().service_yaml(name, prefix, ports).replace(
            "partitions: 4", f"partitions: {PARTITIONS}")

    def settled_with(self, count):
        result = self.call("tributary", "status", "--json", *self.reach, check=False)
        if result.returncode != 0:
            return False
        status = json.loads(result.stdout)
        return len(status["tenants"]) == count and status["settled"]

    def idle(self, count):
        """Applies so many tenants, waits until all have come to rest, and measures."""
        began = time.monotonic()
        (self.directory / "tenants.yaml").write_text(self.tenants_yaml(count))
        self.apply()
        while not self.settled_with(count):
            self.assert_alive()
            if time.monotonic() - began > self.options.timeout:
                raise run_end_to_end.Failure(f"{count} tenants did not come to rest")
            time.sleep(2)
        settled_after = time.monotonic() - began
        time.sleep(5)
        pids = {label: process.pid for label, process in self.processes}
        before = {name: whole_job.cpu_seconds(pids[name]) for name in SERVICES}
        asked = run_end_to_end.fetch(self.simulator + "/_sim/state")["chargify_requests"]
        peak, began = {}, time.monotonic()
        while time.monotonic() - began < self.options.seconds:
            time.sleep(1)
            self.peaks(peak)
        seconds = time.monotonic() - began
        asked = run_end_to_end.fetch(self.simulator + "/_sim/state")["chargify_requests"] - asked
        used = {name: whole_job.cpu_seconds(pids[name]) - before[name] for name in SERVICES}
        return {
            "tenants": count, "settled_after_seconds": round(settled_after, 1),
            "polls_per_second": round(asked / seconds, 1),
            "cpu_milliseconds_per_second": {n: round(1000 * used[n] / seconds, 1) for n in SERVICES},
            "anonymous_megabytes": {n: round(peak[n], 1) for n in SERVICES},
        }


def measure(job):
    job.start_services()
    few = max(1, job.options.tenants // 10)
    return {"idle": [job.idle(few), job.idle(job.options.tenants)], "verify": job.verify()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    options = whole_job.options_of(parser)
    options.customers, options.bare = 1, True
    return whole_job.run(options, measure, Job)


if __name__ == "__main__":
    sys.exit(main())
