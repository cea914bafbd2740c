#!/usr/bin/env python3
"""Each service is killed with SIGKILL and ended with SIGTERM while the site changes, and control is
away for a while: the others go on, nothing is lost and nothing is doubled."""

import signal
import sys
import time

from dev_run import check, clients_at, equals_fold, run_test
from run_end_to_end import fetch
from services_run import SERVICES, ServicesRun


def body(run):
    run.require_kafka()
    run.configure()
    access, simulator = run.add_simulator("acme", 11, 60)
    for name in SERVICES:
        run.start_service(name)
    run.apply("tenants:\n" + run.tenant_yaml("acme", access))

    def clients():
        return clients_at(simulator)

    run.wait("all customers at the CRM", lambda: len(clients()) == 60)

    for name in ("extractor", "transformer", "loader"):
        # Changes before, between and after, so that the process is at work when it ends.
        fetch(simulator + "/_sim/mutate", {"count": 40})
        time.sleep(1.2)
        check(run.end_service(name, signal.SIGKILL) == -signal.SIGKILL, f"{name} had ended before")
        fetch(simulator + "/_sim/mutate", {"count": 20})
        run.start_service(name)
        time.sleep(1)
        fetch(simulator + "/_sim/mutate", {"count": 20})
        code = run.end_service(name, signal.SIGTERM)
        check(code == 0, f"{name}: exit {code} on SIGTERM")
        run.start_service(name)
        run.say(f"{name} was killed and ended")

    # Control is away: what runs and has its credentials goes on, and whoever asks is told what to do.
    run.wait("settled", lambda: (run.status() or {}).get("settled"), seconds=90)
    check(run.end_service("control", signal.SIGKILL) == -signal.SIGKILL, "control had ended before")
    code, _, said = run.tributary("status")
    check(code == 75 and "control" in said and "fix:" in said, f"exit {code}: {said}")
    some = sorted(clients(), key=int)[0]
    fetch(simulator + "/_sim/mutate",
          {"entity": "customers", "id": some, "set": {"email": "while@away.test"}})
    run.wait("a change without control", lambda: clients()[some]["email"] == "while@away.test")
    run.start_service("control")
    run.wait("control to answer", lambda: run.status() is not None)
    code = run.end_service("control", signal.SIGTERM)
    check(code == 0, f"control: exit {code} on SIGTERM")
    run.start_service("control")

    run.wait_until_verified()
    equals_fold(simulator)


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, ServicesRun))
