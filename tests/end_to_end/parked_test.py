#!/usr/bin/env python3
"""What is parked is listed, shown, tried again and dropped, for records and for actions, through a
running process: what is tried again is done once, what is dropped is not done."""

import json
import sys
import urllib.request

from dev_run import check, run_test
from run_end_to_end import fetch

REFUSAL = {"kind": "status", "status": 422, "target": "rest",
           "body": '{"error":"quota of the plan is used up"}'}


def body(run):
    access, simulator = run.add_simulator("acme", 7, 12)
    run.start_dev(run.configure_dev(run.tenant_yaml("acme", access)))

    def records():
        return fetch(simulator + "/_sim/records")["rest"]

    def emails():
        return {client["client_id"]: client["email"] for client in records()["clients"]}

    def parked():
        return {item["key"]: item for item in
                json.loads(run.call("tributary", "parked", "list", "--json", "--data", "data").stdout)["items"]}

    def decide(what, key, code=0):
        result = run.call("tributary", "parked", what, key, "--data", "data", check=False)
        check(result.returncode == code, f"parked {what} {key}: exit {result.returncode}")
        return result.stdout

    run.wait("all customers at the CRM", lambda: len(emails()) == 12 and run.status()["settled"])

    # Records.
    again, dropped = sorted(emails(), key=int)[:2]
    before = emails()
    fetch(simulator + "/_sim/faults",
          [REFUSAL | {"match": f"PUT /clients/{customer}"} for customer in (again, dropped)])
    for customer in (again, dropped):
        fetch(simulator + "/_sim/mutate", {"entity": "customers", "id": customer,
                                           "set": {"email": f"new{customer}@acme.test"}})
    run.wait("two parked records", lambda: len(parked()) == 2)
    keys = {customer: f"acme/clients/s/client/customers/{customer}" for customer in (again, dropped)}
    check(set(parked()) == set(keys.values()), f"{parked()}")
    item = parked()[keys[again]]
    check(item["reason"] == "refused" and item["version"]["offset"] > 0 and item["since"] and item["fix"],
          f"{item}")
    shown = run.call("tributary", "parked", "show", keys[again], "--data", "data").stdout
    check("quota of the plan" in shown and "422" in shown, f"the CRM's words are not in: {shown}")
    listed = run.call("tributary", "parked", "list", "--data", "data").stdout
    check(keys[again] in listed and "quota of the plan" in listed, listed)
    trace = run.call("tributary", "trace", f"acme/customers/{again}", "--json", "--data", "data").stdout
    check([r["status"] for r in json.loads(trace)["records"]] == ["parked"], trace)

    # Tried again while the reason stands, it is parked again.
    decide("replay", keys[again])
    run.wait("parked again", lambda: (parked().get(keys[again]) or item)["since"] != item["since"])
    fetch(simulator + "/_sim/faults", [])
    check("will be tried again" in decide("replay", keys[again]), "replay says nothing")
    run.wait("the record that was tried again", lambda: emails()[again] == f"new{again}@acme.test")
    check("dropped" in decide("drop", keys[dropped]), "drop says nothing")
    run.wait("nothing parked", lambda: not parked())
    decide("replay", keys[again], code=1)
    decide("drop", keys[dropped], code=1)
    decide("drop", "acme/clients/s/client", code=2)
    decide("drop", "nobody/clients/s/client/customers/1", code=1)
    run.settle_dev()
    check(emails()[dropped] == before[dropped], "what was dropped was sent")
    check(run.sync("acme")["dropped"] == 1, f"{run.sync('acme')}")
    # What comes later is not dropped with it.
    fetch(simulator + "/_sim/mutate", {"entity": "customers", "id": dropped,
                                       "set": {"email": f"later{dropped}@acme.test"}})
    run.wait("a later change of what was dropped",
             lambda: emails()[dropped] == f"later{dropped}@acme.test")

    # Actions.
    notes = len(records()["notes"])
    fetch(simulator + "/_sim/faults", [REFUSAL | {"match": "POST /clients/"}])

    def actions():
        return [key for key in parked() if "/clients/a/" in key]

    def enough():
        if len(actions()) < 2:
            fetch(simulator + "/_sim/mutate", {"count": 10})
        return len(actions()) >= 2
    run.wait("two parked actions", enough)

    def reads_of_events():
        with urllib.request.urlopen(simulator + "/_sim/requests", timeout=60) as answer:
            return sum(b"/events.json" in line for line in answer)

    # One that began behind the last mutation; what that brings is no action that comes later.
    reads = reads_of_events()
    run.wait("what occurred last to be read", lambda: reads_of_events() >= reads + 2)
    run.wait("settled", lambda: run.status()["settled"])
    count = len(actions())
    check(len(records()["notes"]) == notes, "a refused note is there")
    fetch(simulator + "/_sim/faults", [])
    first, second = actions()[:2]
    decide("replay", first)
    run.wait("the note that was tried again", lambda: len(records()["notes"]) == notes + 1)
    decide("drop", second)
    run.wait("both gone from the list", lambda: len(actions()) == count - 2)
    check(not {first, second} & set(parked()), f"{parked()}")
    for key in actions():
        decide("replay", key)
    run.wait("nothing parked", lambda: not parked())
    run.settle_dev()
    check(len(records()["notes"]) == notes + count - 1,
          f"{len(records()['notes']) - notes} notes of {count} actions, one of them dropped")


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body))
