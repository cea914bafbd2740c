#!/usr/bin/env python3
"""What a person writes in an afternoon: reads every customer and stores it at the `rest` example.

    by_hand.py --chargify URL --chargify-key FILE --rest URL --rest-key FILE [--batch]

No state, no retry, no promise; Python's standard library, one connection to each side, one request
after the other. whole_job.py --by-hand runs it beside the services, against a simulator of its own,
so that their cost can be told as a ratio of one run. Prints one line of JSON.
"""

import argparse
import base64
import http.client
import json
import pathlib
import sys
import time
import urllib.parse

CUSTOMERS_A_PAGE = 200
CLIENTS_A_REQUEST = 100


def secret(file):
    return pathlib.Path(file).read_text().strip()


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Side:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
        self.headers = {"Accept": "application/json"}
        self.requests = 0

    def call(self, method, path, body=None):
        headers, text = dict(self.headers), None
        if body is not None:
            text = json.dumps(body)
            headers["Content-Type"] = "application/json"
        self.connection.request(method, path, text, headers)
        self.requests += 1
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            sys.exit(f"by_hand: {method} {path}: {answer.status} {content[:200]}")
        return json.loads(content)


def client_of(customer):
    return {
        "client_id": str(customer["id"]),
        "name": f"{customer.get('first_name') or ''} {customer.get('last_name') or ''}".strip(),
        "email": customer.get("email"),
        "phone": customer.get("phone"),
        "organization": customer.get("organization"),
        "status": "inactive",
        "account": {"subscriptions": 0, "states": [], "plans": [], "balance_in_cents": 0,
                    "open_invoices": 0, "due_amount": "0"},
        "reporting": {},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    for name in ("--chargify", "--chargify-key", "--rest", "--rest-key"):
        parser.add_argument(name, required=True)
    parser.add_argument("--batch", action="store_true")
    options = parser.parse_args()

    source, target = Side(options.chargify), Side(options.rest)
    source.headers["Authorization"] = basic(secret(options.chargify_key), "x")
    target.headers["Authorization"] = basic(secret(options.rest_key), "")
    target.headers["Authorization"] = "Bearer " + target.call("POST", "/auth", {})["token"]

    customers, page, waiting = 0, 1, []
    while rows := source.call(
            "GET", f"/customers.json?page={page}&per_page={CUSTOMERS_A_PAGE}&direction=asc"):
        for row in rows:
            client = client_of(row["customer"])
            if options.batch:
                waiting.append(client)
            else:
                target.call("PUT", f"/clients/{client['client_id']}", client)
        while len(waiting) >= CLIENTS_A_REQUEST or (waiting and len(rows) < CUSTOMERS_A_PAGE):
            target.call("POST", "/clients/batch", {"clients": waiting[:CLIENTS_A_REQUEST]})
            del waiting[:CLIENTS_A_REQUEST]
        customers += len(rows)
        page += 1
    if waiting:
        target.call("POST", "/clients/batch", {"clients": waiting})
    print(json.dumps({"customers": customers, "requests": target.requests,
                      "cpu_seconds": round(time.process_time(), 3)}))


if __name__ == "__main__":
    main()
