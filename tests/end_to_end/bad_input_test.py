#!/usr/bin/env python3
"""Bad input: a wrong configuration and a wrong mapping are refused with all that is wrong; a wrong key,
answers that are no JSON and a mapping that fails on one record hurt only what they concern."""

import re
import subprocess
import sys
import time

import fold
from dev_run import CONNECTOR_FILES, check, run_test
from run_end_to_end import fetch

WRONG_CONFIGURATION = """extractor:
  pol_interval: 1s
  page_size: 5000
loader: {request_timeout: soon}
tenants:
- name: acme
  connections:
  - name: billing
    integraton: chargify
    url: https://acme.chargify.com
    credentials: {api_key: {env: KEY, expires: 31.01.2027}}
"""

WRONG_MAPPING = """object: client
match: [client_id]
fields:
  client_id: string(customer.id)
  name: customer.first_name +
  email: customer.email.trm()
"""

# Fails where `quirk` is no list: only when it runs.
FAILING_MAPPING_LINE = "  custom.length: 'has(customer.quirk) ? size(customer.quirk) : 0'\n"


def refused(run, *arguments):
    """What a program says that ends with 78."""
    result = subprocess.run([run.program("tributary"), *arguments], cwd=run.directory, text=True,
                            capture_output=True, timeout=60, check=False)
    said = result.stdout + result.stderr
    check(result.returncode == 78, f"{arguments}: exit {result.returncode}: {said}")
    return said


def wrong_configuration(run):
    run.write("wrong.yaml", WRONG_CONFIGURATION)
    for arguments in (("config", "validate", "wrong.yaml"),
                      ("dev", "--no-simulator", "--config", "wrong.yaml", "--data", "wrong-data")):
        said = refused(run, *arguments)
        # Every problem at once, each where it is, and what may have been meant.
        for position, words in (("2:3", "poll_interval"), ("3:14", "page_size"),
                                ("4:27", "request_timeout"), ("9:5", "integration"),
                                ("11:48", "expires: expected a date")):
            lines = [line for line in said.split("\n") if f"wrong.yaml:{position}" in line]
            check(lines and words in lines[0], f"{position} {words} is not in: {said}")
        check(not (run.directory / "wrong-data" / "control.db").exists(), "it has begun all the same")


def wrong_mapping(run):
    run.write("wrong.mapping.yaml", WRONG_MAPPING)
    run.write("key", "x")
    run.write("mapped.yaml", f"""tenants:
- name: acme
  connections:
  - {{name: billing, integration: chargify, url: "http://127.0.0.1:1", allow_insecure_loopback: true,
     credentials: {{api_key: {{key_file: key}}}}}}
  - {{name: crm, integration: rest, connector_file: {CONNECTOR_FILES}/rest.yaml,
     url: "http://127.0.0.1:1", allow_insecure_loopback: true,
     credentials: {{api_key: {{key_file: key}}}}}}
  syncs:
  - {{name: clients, source: billing, target: crm, mapping: wrong.mapping.yaml}}
""")
    for arguments in (("config", "validate", "mapped.yaml"),
                      ("dev", "--no-simulator", "--config", "mapped.yaml", "--data", "mapped-data")):
        said = refused(run, *arguments)
        check(re.search(r"wrong\.mapping\.yaml:5:\d+", said), f"no place of the mapping in: {said}")
        check(re.search(r"^[\s|]*\^", said, re.MULTILINE), f"no caret in: {said}")
        check("trim" in said, f"the second error and its nearest name are not in: {said}")


def running(run):
    sites = {name: run.add_simulator(name, seed, 25)
             for seed, name in enumerate(("good", "odd", "locked"), start=3)}
    shipped = (CONNECTOR_FILES / "rest.mapping.yaml").read_text()
    run.write("odd.mapping.yaml", shipped.rstrip("\n") + "\n" + FAILING_MAPPING_LINE)
    config = run.configure_dev(
        run.tenant_yaml("good", sites["good"][0]),
        run.tenant_yaml("odd", sites["odd"][0], mapping="odd.mapping.yaml"),
        run.tenant_yaml("locked", sites["locked"][0], chargify_key="a key that was withdrawn"))
    good, odd = sites["good"][1], sites["odd"][1]
    # Two hundreds that are no JSON, from the source and from the CRM, from the beginning.
    fetch(good + "/_sim/faults", [
        {"target": "chargify", "match": ".json", "kind": kind, "probability": 0.2}
        for kind in ("malformed", "html", "empty", "truncate")] + [
        {"target": "rest", "match": "PUT /clients", "kind": kind, "probability": 0.15}
        for kind in ("malformed", "html", "empty", "truncate")])
    run.start_dev(config)
    began = time.monotonic()

    def records(url):
        return {client["client_id"]: client for client in fetch(url + "/_sim/records")["rest"]["clients"]}

    run.wait("the other tenant at its CRM", lambda: len(records(odd)) == 25)
    unreadable = set()

    def seen_unreadable():
        unreadable.update(name for name, stream in run.streams(tenant="good").items()
                          if "could not be read" in (stream["problem"] or ""))
        return unreadable

    run.wait("an unreadable answer in status", seen_unreadable)
    fetch(good + "/_sim/mutate", {"count": 60})
    # Three answers of five cannot be read, and who has failed in a row asks ever later.
    run.wait("records in spite of it", lambda: records(good), seconds=240)
    fetch(good + "/_sim/mutate", {"count": 60})
    time.sleep(5)
    fetch(good + "/_sim/faults", [])

    # One record of `odd` fails when its mapping runs; it is parked in sight and the others flow.
    first, second = sorted(records(odd), key=int)[:2]
    fetch(odd + "/_sim/mutate", {"entity": "customers", "id": first,
                                 "set": {"quirk": 5, "email": "new@odd.test"}})
    run.wait("a parked record", lambda: run.sync("odd")["parked"] == 1)
    listed = run.call("tributary", "parked", "list", "--json", "--data", "data", check=False).stdout
    run.say(listed.strip())
    check(f'"{first}"' in listed or f"/{first}\"" in listed, f"{first} is not in {listed}")
    check("size" in listed, f"the reason is not in {listed}")
    fetch(odd + "/_sim/mutate", {"entity": "customers", "id": second,
                                 "set": {"quirk": [1, 2, 3], "email": "three@odd.test"}})
    run.wait("another record of that tenant", lambda: records(odd)[second]["email"] == "three@odd.test")
    check(records(odd)[second]["custom"]["length"] == 3, f"{records(odd)[second]}")
    check(records(odd)[first]["email"] != "new@odd.test", "the failed mapping was sent")
    # Repaired at its source, it flows again by itself.
    fetch(odd + "/_sim/mutate", {"entity": "customers", "id": first, "set": {"quirk": []}})
    run.wait("the repaired record", lambda: records(odd)[first]["email"] == "new@odd.test")
    run.wait("nothing parked", lambda: run.sync("odd")["parked"] == 0)

    # Nothing was lost, and nothing that could not be read was taken as success.
    def is_equal():
        found = fold.compare_simulator(good, crms=("rest",))
        return not found["mismatches"] and not found["duplicate_records"]
    run.wait("the tenant with unreadable answers equals the fold", is_equal, seconds=120)
    judged = fetch(good + "/_sim/judge?highlevel=0")
    check(judged["mismatches"] == 0 and judged["regressions"] == 0, f"{judged}")
    check(run.sync("good")["dropped"] == 0, "something was dropped")

    # The key that is refused again and again is shown at its connection, and only there.
    def refused_connections():
        return [report for report in run.status()["connections"] if report["problem"]]
    run.wait("the wrong key in status", refused_connections,
             seconds=max(10, 150 - (time.monotonic() - began)))
    found = refused_connections()
    # Once, and nobody else's connection.
    check([(report["tenant"], report["connection"]) for report in found] == [("locked", "billing")],
          f"{found}")
    check("401" in found[0]["problem"] and "API key" in found[0]["fix"], f"{found}")
    check(not records(sites["locked"][1]), "the locked tenant has records")


def body(run):
    wrong_configuration(run)
    run.say("a wrong configuration is refused")
    wrong_mapping(run)
    run.say("a wrong mapping is refused")
    running(run)


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body))
