#!/usr/bin/env python3
"""Compares the simulator and the connector files with the vendors' published contracts.

    contracts_test.py SIMULATOR

The contracts are not part of this tree: TRIBUTARY_CONTRACTS_DIR says where they are. A document of
the simulator may lack a field and may have unknown ones on purpose (sites have them too), but a
field that the contract knows has the contract's type.
"""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.request

FILES = pathlib.Path(__file__).resolve().parents[2] / "libs" / "connector" / "files"
# Lists of the site: path, how to get at the rows, and the model of a row.
STREAMS = (
    ("/customers.json?per_page=50", lambda body: [row["customer"] for row in body], "Customer"),
    ("/subscriptions.json?per_page=50", lambda body: [row["subscription"] for row in body],
     "Subscription"),
    ("/invoices.json?per_page=50&date_field=updated_at", lambda body: body["invoices"], "Invoice"),
    ("/events.json?per_page=50", lambda body: [row["event"] for row in body], "Event"),
    ("/subscriptions_components.json?per_page=50", lambda body: body["subscriptions_components"],
     "SubscriptionComponent"),
    ("/site.json", lambda body: [body["site"]], "Site"),
    ("/endpoints.json", lambda body: body, "Endpoint"),
)
# What sites really send although the contract says otherwise; each was seen in a vendor's own test.
TOLERATED = {("Subscription", "product"), ("Event", "subscription_id"), ("Event", "customer_id")}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)$")
DATE = re.compile(r"^\d{4}-\d\d-\d\d$")


def type_matches(contract, kind, value):
    kind = kind.removesuffix("?")
    if kind.startswith("["):
        return isinstance(value, list)
    if kind in contract["unions"]:
        return any(type_matches(contract, one, value) for one in contract["unions"][kind])
    if kind.startswith("enum:") or kind in contract["enums"]:
        return isinstance(value, str)
    checks = {
        "string": lambda v: isinstance(v, str), "bool": lambda v: isinstance(v, bool),
        "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
        "int64": lambda v: isinstance(v, int) and not isinstance(v, bool),
        "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
        "float64": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
        "datetime": lambda v: isinstance(v, str) and TIME.match(v),
        "date": lambda v: isinstance(v, str) and DATE.match(v),
    }
    if kind in checks:
        return bool(checks[kind](value))
    return True  # a model of its own, or a type that says nothing


def check_documents(contract, port, key):
    problems, compared = [], 0
    authorization = "Basic " + base64.b64encode(f"{key}:x".encode()).decode()
    for path, rows_of, model in STREAMS:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}",
                                         headers={"Authorization": authorization})
        with urllib.request.urlopen(request, timeout=30) as answer:
            rows = rows_of(json.loads(answer.read()))
        if not rows:
            problems.append(f"{path}: no rows")
        fields = {field["name"]: field for field in contract["models"][model]}
        for row in rows:
            for name, value in row.items():
                field = fields.get(name)
                if field is None or (model, name) in TOLERATED or value is None:
                    # Null and absence are said of any field: see the trap list's note on nulls.
                    continue
                compared += 1
                if not type_matches(contract, field["type"], value):
                    problems.append(f"{model}.{name}: {json.dumps(value)[:80]} is no {field['type']}")
    return problems, compared


def resolve(spec, schema):
    while "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def check_highlevel(spec):
    problems, compared = [], 0
    known = {(re.sub(r"\{[^}]*\}", "{}", path), method.upper())
             for path, methods in spec["paths"].items() for method in methods}
    text = (FILES / "highlevel.yaml").read_text()
    for method, path in re.findall(r'method:\s*(\w+)[,\s]+path:\s*"?([^\s",]+)"?', text):
        compared += 1
        if (re.sub(r"\{[^}]*\}", "{}", path), method) not in known:
            problems.append(f"highlevel.yaml: {method} {path} is not in the contract")
    names = re.search(r"names:\s*\[([^\]]*)\]", text).group(1)
    schemas = spec["components"]["schemas"]
    upsert = resolve(spec, schemas["UpsertContactDto"])["properties"]
    update = resolve(spec, schemas["UpdateContactDto"])["properties"]
    for name in (part.strip() for part in names.split(",")):
        compared += 1
        if name not in upsert:
            problems.append(f"highlevel.yaml: field {name} is not in the contract's upsert")
        if name not in update and name != "companyName":
            problems.append(f"highlevel.yaml: field {name} is not in the contract's update")
    return problems, compared


def main():
    folder = os.environ.get("TRIBUTARY_CONTRACTS_DIR")
    if not folder:
        print("skipped: contracts not present")
        return 0
    folder = pathlib.Path(folder)
    contract = json.loads((folder / "chargify" / "models-2026-08-14.json").read_text())
    simulator = subprocess.Popen([sys.argv[1], "--seed", "3", "--customers", "60", "--listen",
                                  "127.0.0.1:0", "--mutation-rate", "0"], stdout=subprocess.PIPE)
    try:
        access = json.loads(simulator.stdout.readline())["chargify"]
        problems, compared = check_documents(contract, access["port"], access["key"])
    finally:
        simulator.terminate()
        simulator.wait(10)
        simulator.stdout.close()
    more, also = check_highlevel(json.loads((folder / "highlevel" / "apps" / "contacts.json").read_text()))
    problems += more
    for problem in sorted(set(problems))[:40]:
        print(problem)
    print(f"{compared} fields of documents and {also} calls and fields of connector files compared")
    return 1 if problems or compared < 1000 or also < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
