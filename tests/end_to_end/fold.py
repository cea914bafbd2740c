#!/usr/bin/env python3
"""Folds a simulator's history of mutations into what each CRM should hold, and compares.

Independent on purpose: standard library only, nothing of the pipeline, and nothing of the judge that
the simulator has built in. What the records should hold is written down here a second time, from the
words of the default mappings.

    fold.py http://127.0.0.1:8700 [--only rest] [--json]

Exit 0: equal. Exit 1: not. What nobody can know better is left out: of a customer that is gone, only
the mark of being gone counts; customers who ever shared an e-mail are conflicts at HighLevel.
"""

import argparse
import json
import sys
import urllib.request
from collections import defaultdict
from decimal import Decimal

LIVE_STATES = {
    "active", "assessing", "past_due", "paused", "pending", "soft_failure", "trialing", "unpaid",
}
TAG_PREFIX = "chargify:"


def decimal_text(value):
    """One spelling for one number."""
    text = format(Decimal(value).normalize(), "f")
    return "0" if text in ("-0", "") else text


def plain(value):
    """One spelling for one value: absent, null, empty text and empty list are the same."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return decimal_text(value)
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, default=str)
    return value


class History:
    """The entities as the history left them."""

    def __init__(self):
        self.customers = {}
        self.gone = set()
        self.entities = {"subscriptions": {}, "components": {}, "invoices": {}}
        self.emails = defaultdict(set)

    def take(self, entry):
        kind, key, op = entry["kind"], entry["id"], entry["op"]
        if op == "event":
            return
        if kind == "customers":
            if op == "gone":
                self.gone.add(key)
                return
            self.customers[key] = entry["document"]
            self.emails[entry["document"].get("email")].add(key)
        elif op == "gone":
            self.entities[kind].pop(key, None)
        else:
            self.entities[kind][key] = entry["document"]

    def conflicted(self):
        return set().union(*(who for who in self.emails.values() if len(who) > 1), set())

    def views(self):
        """Customer id → its document and its subscriptions, components and invoices."""
        views = {
            key: {"customer": document, "subscriptions": [], "components": [], "invoices": []}
            for key, document in self.customers.items()
        }
        owner = {}
        for key, document in self.entities["subscriptions"].items():
            customer = str(document["customer"]["id"])
            owner[key] = customer
            views[customer]["subscriptions"].append(document)
        for document in self.entities["components"].values():
            customer = owner.get(str(document["subscription_id"]))
            if customer is not None:
                views[customer]["components"].append(document)
        for document in self.entities["invoices"].values():
            customer = str(document["customer_id"])
            if customer in views:
                views[customer]["invoices"].append(document)
        return views


def distinct(values):
    return sorted({value for value in values if value is not None})


def plans(view):
    return distinct((s.get("product") or {}).get("handle") for s in view["subscriptions"])


def states(view):
    return distinct(s.get("state") for s in view["subscriptions"])


def balance(view):
    return sum(s.get("balance_in_cents") or 0 for s in view["subscriptions"])


def expected_client(key, view):
    customer = view["customer"]
    bills = [i for i in view["invoices"] if i.get("status") == "open"]
    usage = defaultdict(Decimal)
    for row in view["components"]:
        metered = row.get("kind") == "metered_component"
        handle = row.get("component_handle") or str(row["component_id"])
        usage[handle] += Decimal(str(row["unit_balance" if metered else "allocated_quantity"] or 0))
    fields = {
        "client_id": key,
        "name": ((customer.get("first_name") or "") + " " + (customer.get("last_name") or "")).strip(),
        "email": customer.get("email"),
        "phone": customer.get("phone"),
        "organization": customer.get("organization"),
        "status": "active" if LIVE_STATES & set(states(view)) else "inactive",
        "account.subscriptions": len(view["subscriptions"]),
        "account.states": states(view),
        "account.plans": plans(view),
        "account.balance_in_cents": balance(view),
        "account.open_invoices": len(bills),
        "account.due_amount": sum((Decimal(i.get("due_amount") or "0") for i in bills), Decimal(0)),
    }
    fields.update({"reporting." + handle: amount for handle, amount in usage.items()})
    return {path: plain(value) for path, value in fields.items()}


def actual_client(record):
    fields = {}
    for name, value in record.items():
        if name in ("account", "reporting"):
            fields.update({name + "." + part: plain(inner) for part, inner in (value or {}).items()})
        elif name != "custom":
            fields[name] = plain(value)
    return fields


def expected_contact(key, view):
    customer = view["customer"]
    phone = customer.get("phone") or ""
    fields = {
        "email": customer.get("email"),
        "firstName": customer.get("first_name"),
        "lastName": customer.get("last_name"),
        "phone": "".join(c for c in phone if c.isdigit() or c == "+"),
        "companyName": customer.get("organization"),
        "address1": customer.get("address"),
        "city": customer.get("city"),
        "state": customer.get("state"),
        "postalCode": customer.get("zip"),
        "country": customer.get("country"),
        "customFields.chargify_customer_id": key,
        "customFields.chargify_plans": plans(view),
        "customFields.chargify_states": states(view),
        "customFields.chargify_balance": Decimal(balance(view)) / 100,
    }
    return {path: plain(value) for path, value in fields.items()}


def actual_contact(record):
    owned = ("email", "firstName", "lastName", "phone", "companyName", "address1", "city", "state",
             "postalCode", "country")
    fields = {name: plain(record.get(name)) for name in owned}
    for field in record.get("customFields", []):
        fields["customFields." + field["id"]] = plain(field.get("value"))
    return fields


def number_or_text(text):
    try:
        return decimal_text(text)
    except ArithmeticError:
        return text


def differences(name, expected, actual):
    for path in sorted(expected.keys() | actual.keys()):
        want, have = expected.get(path, ""), actual.get(path, "")
        if path.startswith("reporting."):
            want, have = want or "0", have or "0"
        if number_or_text(want) != number_or_text(have):
            yield f"{name} {path}: has {have!r}, should have {want!r}"


def compare_rest(history, views, records):
    problems, duplicates = [], []
    seen = set()
    for record in records["clients"]:
        key = record.get("client_id")
        if key in seen:
            duplicates.append(f"rest {key}: a second client")
            continue
        seen.add(key)
        if key not in views:
            problems.append(f"rest {key}: no such customer")
        elif key in history.gone:
            if record.get("status") != "gone":
                problems.append(f"rest {key} status: has {record.get('status')!r}, should have 'gone'")
        else:
            problems += differences(f"rest {key}", expected_client(key, views[key]),
                                    actual_client(record))
    for key in views:
        if key not in seen and key not in history.gone:
            problems.append(f"rest {key}: is missing")
    notes = set()
    for note in records["notes"]:
        marker = (note["client_id"], note["external_id"])
        if note["external_id"] and marker in notes:
            duplicates.append(f"rest {note['client_id']}: note {note['external_id']} twice")
        notes.add(marker)
    return problems, duplicates


def compare_highlevel(history, views, records):
    problems, duplicates = [], []
    conflicted = history.conflicted()
    seen = set()
    for record in records["contacts"]:
        fields = actual_contact(record)
        key = fields.get("customFields.chargify_customer_id", "")
        name = f"highlevel {key or record['id']}"
        bodies = [note["body"] for note in record["notes"]]
        duplicates += [f"{name}: a note twice: {b}" for b in set(bodies) if bodies.count(b) > 1]
        if key not in views:
            problems.append(f"{name}: of no customer")
            continue
        if key in seen:
            duplicates.append(f"{name}: a second contact")
            continue
        seen.add(key)
        tags = {tag for tag in record.get("tags", []) if tag.startswith(TAG_PREFIX)}
        if key in history.gone:
            if tags != {TAG_PREFIX + "gone"}:
                problems.append(f"{name} tags: has {sorted(tags)}, should be gone")
            continue
        if key in conflicted:
            continue
        problems += differences(name, expected_contact(key, views[key]), fields)
        wanted = {TAG_PREFIX + state.lower() for state in states(views[key])}
        if tags != wanted:
            problems.append(f"{name} tags: has {sorted(tags)}, should have {sorted(wanted)}")
    for key in views:
        if key not in seen and key not in history.gone and key not in conflicted:
            problems.append(f"highlevel {key}: is missing")
    return problems, duplicates


def compare(truth_lines, records, crms=("highlevel", "rest")):
    """Problems and duplicates, as texts."""
    history = History()
    for line in truth_lines:
        if line.strip():
            history.take(json.loads(line, parse_float=Decimal))
    views = history.views()
    problems, duplicates = [], []
    for crm, judge in (("highlevel", compare_highlevel), ("rest", compare_rest)):
        if crm in crms:
            found, twice = judge(history, views, records[crm])
            problems += found
            duplicates += twice
    return {"customers": len(views), "gone": len(history.gone), "mismatches": problems,
            "duplicate_records": duplicates}


def compare_simulator(url, crms=("highlevel", "rest")):
    def get(path):
        with urllib.request.urlopen(url + path, timeout=300) as answer:
            return answer.read().decode()

    records = json.loads(get("/_sim/records"), parse_float=Decimal)
    return compare(get("/_sim/truth").split("\n"), records, crms)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("url", help="of the simulator's Chargify port")
    parser.add_argument("--only", choices=("highlevel", "rest"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = compare_simulator(options.url, (options.only,) if options.only else ("highlevel", "rest"))
    if options.json:
        print(json.dumps(result))
    else:
        for text in (result["mismatches"] + result["duplicate_records"])[:50]:
            print(text)
        print(f"{result['customers']} customers, {result['gone']} gone: "
              f"{len(result['mismatches'])} mismatches, "
              f"{len(result['duplicate_records'])} duplicates")
    return 1 if result["mismatches"] or result["duplicate_records"] else 0


if __name__ == "__main__":
    sys.exit(main())
