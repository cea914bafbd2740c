#!/usr/bin/env python3
"""How long a change at the source takes to reach the CRM, in processes of their own on Kafka.

    latency.py --bin build/release/bin [--rate 200] [--seconds 30] [--json]

Customers of a made-up site are changed one after the other at an even rate, each once; what counts is
the time between the change at the site and the request that carries it to the `rest` example, both by
the simulator's clock. The site shows a change at once: what a real one adds (its visibility lag) is
not ours. The broker is the one at $TRIBUTARY_KAFKA. A timing here is a measurement, never a verdict.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import whole_job  # noqa: E402

run_end_to_end = whole_job.run_end_to_end


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def lines_of(url):
    with urllib.request.urlopen(url, timeout=120) as answer:
        return [json.loads(line) for line in answer.read().splitlines() if line]


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    urllib.request.urlopen(request, timeout=30).read()


class Job(whole_job.Job):
    def start_simulator(self):
        options = self.options
        process = self.start("simulator", "--listen", "127.0.0.1:0", "--tenant", run_end_to_end.TENANT,
                             "--seed", str(options.seed), "--customers", str(options.customers),
                             "--mutations", "0", "--mutation-rate", "0", "--bare-customers",
                             "--visibility-lag-ms", "0")
        line = process.stdout.readline()
        if not line:
            raise run_end_to_end.Failure("the simulator did not start")
        self.access = json.loads(line)
        self.simulator = f"http://127.0.0.1:{self.access['chargify']['port']}"

    def tenants_yaml(self):
        return super().tenants_yaml().replace(
            "poll_interval: 500ms", f"poll_interval: {self.options.poll_interval_ms}ms")

    def await_rest(self, quiet_seconds):
        quiet, last, deadline = 0, None, time.monotonic() + self.options.timeout
        while quiet < quiet_seconds:
            self.assert_alive()
            if time.monotonic() > deadline:
                raise run_end_to_end.Failure("did not come to rest")
            time.sleep(1)
            now = run_end_to_end.fetch(self.simulator + "/_sim/state")["rest_requests"]
            quiet = quiet + 1 if now == last and now > 2 else 0
            last = now

    def change_all(self, ids):
        """Each of `ids` once, at the rate, from four threads."""
        began = time.monotonic()
        def some(first):
            for i in range(first, len(ids), 4):
                time.sleep(max(0.0, began + i / self.options.rate - time.monotonic()))
                post(self.simulator + "/_sim/mutate",
                     {"entity": "customers", "id": ids[i], "set": {"organization": f"changed {i}"}})
        threads = [threading.Thread(target=some, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - began

    def latencies(self, ids):
        wanted = set(ids)
        changed, arrived = {}, {}
        for line in lines_of(self.simulator + "/_sim/truth"):
            if line["kind"] == "customers" and str(line["id"]) in wanted and line["op"] == "put":
                changed[str(line["id"])] = seconds_of(line["time"])
        for line in lines_of(self.simulator + "/_sim/requests"):
            if line["target"] != "rest" or line["method"] != "PUT" or not line["applied"]:
                continue
            customer = line["path"].rsplit("/", 1)[1]
            at = seconds_of(line["time"])
            if at >= changed.get(customer, math.inf) and customer not in arrived:
                arrived[customer] = at
        missing = wanted - set(arrived)
        if missing:
            raise run_end_to_end.Failure(f"{len(missing)} changes never arrived")
        return sorted(arrived[customer] - changed[customer] for customer in wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--poll-interval-ms", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=600)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.customers = int(options.rate * options.seconds)
    options.bare, options.batch = True, False
    options.bin = os.path.abspath(options.bin)
    options.began = time.monotonic()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tributary-bench-"))
    job = Job(options, directory)
    try:
        job.start_services()
        job.await_rest(8)
        ids = [str(line["id"]) for line in lines_of(job.simulator + "/_sim/truth")
               if line["kind"] == "customers"][:options.customers]
        took = job.change_all(ids)
        job.await_rest(6)
        found = job.latencies(ids)
        at = lambda part: round(found[min(len(found) - 1, int(part * len(found)))], 3)
        print(json.dumps({
            "changes": len(found), "changes_per_second": round(len(found) / took, 1),
            "poll_interval_seconds": options.poll_interval_ms / 1000,
            "latency_seconds": {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
                                "max": round(found[-1], 3)},
        }, indent=None if options.json else 2))
    except run_end_to_end.Failure as failure:
        print(f"FAILED: {failure}\nLogs: {directory}", file=sys.stderr)
        job.stop_all()
        return 1
    job.stop_all()
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
