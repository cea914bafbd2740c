#!/usr/bin/env python3
"""Orderly stops of each service, one after the other, while the site changes: each ends by itself and soon, no
record is sent what it has, and nothing is lost. And control is killed while it applies: what a person has
changed is in its database if, and only if, a line of its audit trail says so."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

from dev_run import check, clients_at, equals_fold, run_test
from run_end_to_end import fetch
from services_run import SERVICES, ServicesRun

ROUNDS = 3
STOP_SECONDS_MAX = 25
KILLS = 10


def repeated_writes(simulator):
    """Writes that say what the last one to that record said."""
    with urllib.request.urlopen(simulator + "/_sim/requests", timeout=60) as answer:
        requests = [json.loads(line) for line in answer.read().splitlines() if line]
    last, repeated = {}, []
    for request in requests:
        if request["target"] != "rest" or request["method"] != "PUT" or not request["applied"]:
            continue
        if last.get(request["path"]) == request["body"]:
            repeated.append(request)
        last[request["path"]] = request["body"]
    return repeated


def rolls(run, simulator):
    ended = threading.Event()

    def change():
        while not ended.wait(0.25):
            fetch(simulator + "/_sim/mutate", {"count": 2})

    changes = threading.Thread(target=change)
    changes.start()
    try:
        for _ in range(ROUNDS):
            for name in SERVICES:
                time.sleep(1)
                began = time.monotonic()
                code = run.end_service(name, signal.SIGTERM)
                check(code == 0, f"{name}: exit {code} on SIGTERM")
                check(time.monotonic() - began < STOP_SECONDS_MAX, f"{name} took long to end")
                run.start_service(name)
            run.say("each was ended and started")
    finally:
        ended.set()
        changes.join()
    run.wait_until_verified()
    repeated = repeated_writes(simulator)
    check(not repeated, f"{len(repeated)} writes were repeated, the first: {repeated[:1]}")
    equals_fold(simulator)


def in_database(run):
    """The rate of the CRM's connection as control has stored it, and how often that was changed."""
    with sqlite3.connect(f"file:{run.directory}/control.db?mode=ro", uri=True) as database:
        definition = database.execute("SELECT definition FROM connections WHERE name = 'crm'").fetchone()[0]
        changes = database.execute("SELECT count(*) FROM audit WHERE what LIKE '%CHANGED connection acme/crm%'")
        return definition, changes.fetchone()[0]


def kills(run, tenants):
    chance = random.Random(7)
    # While control lives, nobody else reads its database.
    changes = 0
    for number in range(KILLS):
        # Found in the definition by its digits, which nothing else has.
        rate = f"{500 + number}.618034"
        run.write("tenants.yaml", tenants.replace("  syncs:", f"    requests_per_second: \"{rate}\"\n  syncs:"))
        order = subprocess.Popen([run.program("tributary"), "apply", "-f", "tenants.yaml", *run.reach],
                                 cwd=run.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.02, 0.4))
        check(run.end_service("control", signal.SIGKILL) == -signal.SIGKILL, "control had ended before")
        code = order.wait(60)
        definition, counted = in_database(run)
        is_in = rate.encode() in definition
        check(is_in or code != 0, "what was confirmed is not there")
        check(counted - changes == int(is_in), f"{counted - changes} lines for a change that is "
              f"{'' if is_in else 'not '}there")
        changes = counted
        run.start_service("control")
        run.wait("control to answer", lambda: run.status() is not None)


def body(run):
    run.require_kafka()
    run.configure()
    access, simulator = run.add_simulator("acme", 31, 60)
    for name in SERVICES:
        run.start_service(name)
    tenants = "tenants:\n" + run.tenant_yaml("acme", access)
    run.apply(tenants)
    run.wait("all customers at the CRM", lambda: len(clients_at(simulator)) == 60)
    run.wait_until_verified()
    rolls(run, simulator)
    kills(run, tenants)
    run.apply(tenants)
    run.wait_until_verified()


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, ServicesRun))
