#!/usr/bin/env python3
"""A key that no customer ever had reaches the CRM through a path of a mapping file: the programs as
they are, nothing built again, nothing started again."""

import sys

from dev_run import CONNECTOR_FILES, check, clients_at, run_test
from run_end_to_end import fetch

QUIRK = {"a": [1, "2", None]}


def body(run):
    access, simulator = run.add_simulator("acme", 5, 12)
    shipped = (CONNECTOR_FILES / "rest.mapping.yaml").read_text()
    run.write("clients.mapping.yaml",
              shipped.rstrip("\n") + "\n  custom.quirk: customer.quirk\n"
              "  custom.second: customer.quirk.a[1]\n")
    run.start_dev(run.configure_dev(run.tenant_yaml("acme", access, mapping="clients.mapping.yaml")))

    def clients():
        return clients_at(simulator)

    run.wait("all customers at the CRM", lambda: len(clients()) == 12 and run.status()["settled"])
    check(not any((client.get("custom") or {}).get("quirk") for client in clients().values()),
          "somebody has the key already")

    ids = sorted(clients(), key=int)
    fetch(simulator + "/_sim/mutate", {"entity": "customers", "id": ids[3], "set": {"quirk": QUIRK}})
    run.wait("the new key at the CRM", lambda: (clients()[ids[3]].get("custom") or {}).get("quirk"))
    custom = clients()[ids[3]]["custom"]
    check(custom["quirk"] == QUIRK, f"it is {custom}")
    check(custom["second"] == "2", f"it is {custom}")
    # Types stand: a text stays a text, a whole number a whole number.
    check([type(item) for item in custom["quirk"]["a"]] == [int, str, type(None)], f"it is {custom}")

    fetch(simulator + "/_sim/mutate",
          {"entity": "customers", "id": ids[3], "set": {"quirk": {"a": [2.50, {"b": False}], "c": ""}}})
    run.wait("another value of another shape",
             lambda: clients()[ids[3]]["custom"]["quirk"] != QUIRK)
    check(clients()[ids[3]]["custom"]["quirk"] == {"a": [2.5, {"b": False}], "c": ""},
          f"it is {clients()[ids[3]]['custom']}")
    others = [i for i in ids if i != ids[3] and (clients()[i].get("custom") or {}).get("quirk")]
    check(not others, f"others have it too: {others}")
    run.wait("settled", lambda: run.status()["settled"])
    judged = fetch(simulator + "/_sim/judge?highlevel=0")
    check(judged["mismatches"] == 0 and judged["duplicate_records"] == 0, f"{judged}")


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body))
