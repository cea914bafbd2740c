#!/usr/bin/env python3
"""Records that nobody can decode, on each topic. Such a record is set aside in sight, with topic,
partition, offset and bytes, by whoever reads it; everything else flows, and nothing is lost."""

import json
import sys

from dev_run import check, clients_at, equals_fold, run_test
from kafka_produce import produce
from run_end_to_end import fetch
from services_run import SERVICES, ServicesRun

GARBAGE = b"\xff\xfe no record of ours \x00\x01"
# Topic, key, and who must show it.
RECORDS = (
    ("tenants", "{nobody}", "control"),
    ("changes", "acme/billing/customers/{customer}", "transformer"),
    ("events", "acme", "transformer"),
    ("commands", "acme/clients/s/client/customers/{customer}", "loader"),
    ("records", "acme/clients/s/client/customers/{customer}", "loader"),
    ("cursors", "acme/billing/customers", "extractor"),
    ("notifications", "acme", "extractor"),
    ("outcomes", "acme", None),
)


class OnePartition(ServicesRun):
    partitions = 1


def shows(run, service, topic):
    """A line of the service's log that names the record of the topic and holds its bytes."""
    for line in run.log_of(service).split("\n"):
        if GARBAGE.hex() in line:
            said = json.loads(line)
            if said.get("topic") == topic and said.get("partition") == "0" and said.get("offset"):
                return True
    return False


def put(run, customer, nobody, headers=()):
    for topic, key, _ in RECORDS:
        produce(run.bootstrap_servers, run.prefix + topic, 0,
                key.format(customer=customer, nobody=nobody).encode(), GARBAGE, headers)


def body(run):
    run.require_kafka()
    run.configure()
    access, simulator = run.add_simulator("acme", 13, 15)
    for name in SERVICES:
        run.start_service(name)
    run.apply("tenants:\n" + run.tenant_yaml("acme", access))

    def clients():
        return clients_at(simulator)

    def change(customer, email):
        fetch(simulator + "/_sim/mutate", {"entity": "customers", "id": customer, "set": {"email": email}})
        run.wait(f"the change to {email}", lambda: clients()[customer]["email"] == email)
    run.wait("all customers at the CRM", lambda: len(clients()) == 15)
    run.wait("settled", lambda: (run.status() or {}).get("settled"), seconds=90)
    first, second = sorted(clients(), key=int)[:2]

    # By somebody who is no owner: void on a table, and repaired by its owner.
    put(run, first, "nobody")
    change(first, "behind@garbage.test")
    run.wait_until_verified()
    for topic, service in (("tenants", "control"), ("events", "transformer")):
        check(shows(run, service, topic), f"{service} does not show the record of {topic}")

    # Under a token that is newer than every owner's, so that each takes it for an entry.
    _, traced, _ = run.tributary("trace", f"acme/customers/{first}", "--json")
    generation = json.loads(traced)["versions"][0]["generation"]
    put(run, second, "somebody", [("tributary-token", f"{generation}.1000000000")])
    for topic, _, service in RECORDS:
        if service is not None:
            run.wait(f"{service} to show the record of {topic}", lambda: shows(run, service, topic))
    change(second, "behind@more.test")
    run.wait_until_verified()
    equals_fold(simulator)


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, OnePartition))
