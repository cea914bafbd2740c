#!/usr/bin/env python3
"""Kills a loader with 64 writes open, and counts what is written twice and how long the others wait.

    open_writes.py --bin build/release/bin [--times N] [--customers N] [--seed S]

One loader, one sync to the `rest` example, which answers each write after 600 ms. The loader is
killed by SIGKILL in the middle of a first load and started again at once. The last line is
{"kills":[{"open","repeated","others_seconds","doubted_seconds"}…],"lease_wait_seconds"}: writes that
were open, writes that were sent again with the same content, and seconds from the kill to the first
write of a record that was not open, and of one that was (null: none before the next kill). Exit 1 when
more is repeated than was open, when nothing was open, when the new loader sent before V + P had passed,
or when something is wrong at the end.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

import verdict
from installation import LEASE, PAUSE, SETTLE, Failure, Installation, fetch, metric

OPEN = 64


class OneTarget(Installation):
    def tenants_yaml(self):
        head, _, tail = super().tenants_yaml().partition("      - name: crm\n")
        rest = "      - name: clients\n" + tail.partition("      - name: clients\n")[2]
        rest = rest.replace("      - name: contacts\n        source: billing\n        target: crm\n", "")
        return head + rest.replace("concurrency: 16", f"concurrency: {OPEN}")


def wait_until_open(installation, loader):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if metric(loader.metrics(), "tributary_http_client_requests_in_flight") >= OPEN:
            # Sent by now, and not only given to the client.
            time.sleep(0.2)
            return
        time.sleep(0.01)
    raise Failure(f"there were never {OPEN} writes open")


def measure(installation, times):
    loader = installation.of("loader")[0]
    moments = []
    for _ in range(times):
        wait_until_open(installation, loader)
        moments.append(time.time())
        loader.kill()
        loader.start()
        installation.say(f"{loader.name} was killed and started")
        # Longer than all that is in doubt waits.
        time.sleep(LEASE + PAUSE + SETTLE + verdict.QUIET_SECONDS)
    syncs = verdict.wait_for_rest(installation, installation.options.timeout, syncs=1)
    installation.say(f"at rest: {syncs}")
    return moments


def findings(journal, moments):
    writes = [e for e in journal if e["target"] == "rest" and e["method"] == "PUT"]
    found = []
    for index, moment in enumerate(moments):
        until = moments[index + 1] if index + 1 < len(moments) else float("inf")
        # What had left the loader but not arrived comes within P; nobody else sends as early as that.
        arrived = moment + PAUSE
        doubted = {e["path"] for e in verdict.open_requests(writes, ("rest",), moment)}
        doubted |= {e["path"] for e in writes if moment < e["at"] <= arrived}
        sent = {(e["path"], e["body"]) for e in writes if e["at"] <= arrived}
        after = [e for e in writes if arrived < e["at"] < until]
        found.append({
            "open": len(doubted),
            "repeated": sum((e["path"], e["body"]) in sent for e in after),
            "others_seconds": min((round(e["at"] - moment, 2) for e in after
                                   if e["path"] not in doubted), default=None),
            "doubted_seconds": min((round(e["at"] - moment, 2) for e in after
                                    if e["path"] in doubted), default=None),
        })
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--customers", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=420)
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    options.began = time.monotonic()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tributary-chaos-open-"))
    installation = OneTarget(options, directory, instances=1)
    problems = []
    try:
        installation.set_up()
        installation.set_faults([{"target": "rest", "match": "PUT", "kind": "slow", "delay_ms": 600}])
        moments = measure(installation, options.times)
        kills = findings(verdict.read_journal(installation), moments)
        judged = fetch(installation.simulator + "/_sim/judge?highlevel=0&rest=1")
        for name in ("mismatches", "duplicate_records", "regressions"):
            if judged[name] != 0:
                problems.append(f"{name} is {judged[name]}: {judged['problems'][:5]}")
        for kill in kills:
            if not 0 < kill["open"] <= OPEN or kill["repeated"] > kill["open"]:
                problems.append(f"more was repeated than was open, or nothing was open: {kill}")
            if kill["others_seconds"] is None or kill["others_seconds"] < LEASE + PAUSE:
                problems.append(f"the lease was not waited out: {kill}")
        print(json.dumps({"kills": kills, "lease_wait_seconds": LEASE + PAUSE}))
    except (Failure, OSError, ValueError) as failure:
        problems.append(str(failure) or repr(failure))
    finally:
        problems += installation.stop_all()
    if problems:
        print(f"FAILED: {'; '.join(problems)}\nLogs: {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
