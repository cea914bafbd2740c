#!/usr/bin/env python3
"""Memory while a target is down: more that waits must not take more of it.

    pressure.py --bin build/release/bin [--customers 40000 400000] [--json]

For each number of customers, services of their own on Kafka read a site whose CRM, the `rest` example,
cuts every connection. When every record waits, and has for a while, the peak of each service's anonymous
memory is what it was. Prints them, and the ratio of the last to the first. The broker is the one at
$TRIBUTARY_KAFKA. A number here is a measurement, never a verdict.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import whole_job  # noqa: E402

run_end_to_end = whole_job.run_end_to_end
SERVICES = whole_job.SERVICES
# Nothing more comes after so long: the tables stand, and what waits is looked for again and again.
QUIET_SECONDS = 30


class Job(whole_job.Job):
    def start_simulator(self):
        super().start_simulator()
        faults = json.dumps([{"target": "rest", "kind": "reset_before"}]).encode()
        request = urllib.request.Request(self.simulator + "/_sim/faults", faults, method="POST")
        urllib.request.urlopen(request, timeout=30).read()

    def pending(self):
        answer = self.call("tributary", "status", "--json", *self.reach, check=False)
        if answer.returncode != 0:
            return 0
        return sum(sync["pending"] for tenant in json.loads(answer.stdout)["tenants"]
                   for sync in tenant["syncs"])

    def fill(self):
        """Until all records wait. The peaks, and how long it took."""
        began, peak, full_since = time.monotonic(), {}, None
        while full_since is None or time.monotonic() - full_since < QUIET_SECONDS:
            self.assert_alive()
            if time.monotonic() - began > self.options.timeout:
                raise run_end_to_end.Failure(f"only {self.pending()} records wait")
            for _ in range(5):
                self.peaks(peak)
                time.sleep(0.2)
            if full_since is None and self.pending() >= self.options.customers:
                full_since = time.monotonic()
        return {"customers": self.options.customers,
                "seconds": round(full_since - began, 1),
                "anonymous_megabytes_peak": {name: round(peak[name], 1) for name in SERVICES}}


def measure(options, customers):
    options.customers = customers
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tributary-bench-"))
    job = Job(options, directory)
    try:
        job.start_services()
        report = job.fill()
    except run_end_to_end.Failure as failure:
        print(f"Logs: {directory}", file=sys.stderr)
        job.stop_all()
        raise failure
    job.stop_all()
    shutil.rmtree(directory)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--customers", type=int, nargs="+", default=[40000, 400000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=1800)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.bare, options.batch = True, False
    options.bin = os.path.abspath(options.bin)
    options.began = time.monotonic()
    counts = options.customers
    try:
        reports = [measure(options, customers) for customers in counts]
    except run_end_to_end.Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    first, last = (report["anonymous_megabytes_peak"] for report in (reports[0], reports[-1]))
    print(json.dumps({"runs": reports,
                      "ratio": {name: round(last[name] / first[name], 3) for name in SERVICES}},
                     indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
