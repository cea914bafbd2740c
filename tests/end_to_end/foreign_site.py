"""A Chargify of somebody else and a CRM of somebody else, from the standard library only.

The first knows `/customers.json`, `/subscriptions.json` and `/events.json`, the second `POST /auth`
and its own paths, which are not those of the shipped connector file.
"""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

CUSTOMERS = 45
KEY = "foreign key"
# A token is refused after so many requests.
TOKEN_USES = 20


def stamp(i):
    return f"2026-01-01T00:{10 + i // 50:02}:{i % 50:02}Z"


def customer(i):
    return {"id": i, "first_name": f"Ada{i}", "last_name": "Lovelace", "email": f"ada{i}@foreign.test"}


def tables():
    customers, subscriptions, events = [], [], []
    for i in range(1, CUSTOMERS + 1):
        times = {"created_at": stamp(i), "updated_at": stamp(i)}
        customers.append({"customer": customer(i) | times})
        subscriptions.append({"subscription": {
            "id": 1000 + i, "state": "active" if i % 3 else "canceled", "customer": customer(i),
            "product": {"id": 1, "handle": "gold"}, "balance_in_cents": 100 * i} | times})
        events.append({"event": {"id": 9000 + i, "key": "signup_success", "message": "signed up",
                                 "customer_id": i, "subscription_id": 1000 + i,
                                 "created_at": stamp(i), "event_specific_data": None}})
    return {"/customers.json": customers, "/subscriptions.json": subscriptions,
            "/events.json": events}


class Foreign:
    """`paging`: pages, one_page (the rest is empty), ignored (all on every page), own_size."""

    def __init__(self, paging="pages", protocol="HTTP/1.1"):
        self.requests, self.calls, self.accounts, self.problems = [], [], {}, []
        self.lock = threading.Lock()
        self.tokens, self.token_uses = 0, 0
        self.servers = [self._serve(self._site, paging, protocol), self._serve(self._crm, paging, protocol)]
        self.site_port, self.crm_port = (server.server_address[1] for server in self.servers)

    def stop(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def _serve(self, answer, paging, protocol):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = protocol

            def log_message(self, *_):
                pass

            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, value = answer(self, body, paging)
                text = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if protocol != "HTTP/1.0":
                    self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def _site(self, request, _, paging):
        url = urlparse(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        with self.lock:
            self.requests.append(request.path)
        rows = tables().get(url.path)
        if rows is None:
            # Not offered, or not to this key.
            return (403 if url.path == "/invoices.json" else 404), {"errors": ["no"]}
        page, size = int(query.get("page", 1)), int(query.get("per_page", 20))
        if paging == "pages":
            if url.path == "/events.json" and "since_id" in query:
                rows = [row for row in rows if row["event"]["id"] > int(query["since_id"])]
            if query.get("direction") == "desc":
                rows = rows[::-1]
        elif paging == "one_page":
            size = 10_000
        elif paging == "ignored":
            page, size = 1, 10_000
            rows = rows[::-1]
        elif paging == "own_size":
            size = 15
        return 200, rows[(page - 1) * size:page * size]

    def _crm(self, request, body, _):
        with self.lock:
            self.calls.append(f"{request.command} {request.path}")
            authorization = request.headers.get("Authorization", "")
            if request.command == "POST" and request.path == "/auth":
                expected = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
                if authorization != expected:
                    return 401, {"error": "invalid key"}
                self.tokens, self.token_uses = self.tokens + 1, 0
                return 200, {"token": f"t{self.tokens}", "expires_in": 900}
            self.token_uses += 1
            if authorization != f"Bearer t{self.tokens}" or self.token_uses > TOKEN_USES:
                return 401, {"error": "token expired"}
            found = re.fullmatch(r"/api/v2/accounts/([0-9]+)", request.path)
            if not found:
                self.problems.append(f"{request.command} {request.path}")
                return 404, {"error": "no such path"}
            number = found.group(1)
            if request.command == "PUT":
                given = json.loads(body)
                self.accounts.setdefault(number, {}).update(given)
            elif number not in self.accounts:
                return 404, {"error": "no such account"}
            return 200, {"data": {"ref": number, "attributes": self.accounts[number]}}


CONNECTOR = """integration: rest
credentials: [api_key]
authentication:
  kind: token_request
  request: {method: POST, path: /auth}
  basic: {user: "{credentials.api_key}", password: ""}
  token: token
  expires_in: expires_in
  renew_before: 60s
  value: "Bearer {token}"
limits: {concurrency: 4, requests_per_second: 200}
settle: 2s
index_lag: 1s
objects:
  account:
    target: upsert_by_unique_key
    unique_key: ref
    fields:
      names: [ref, title, mail, state]
      sections: [billing]
    upsert:
      - {call: upsert, method: PUT, path: "/api/v2/accounts/{fields.ref}", fields: all, id: data.ref}
    read: {call: read, method: GET, path: "/api/v2/accounts/{record.id}", id: data.ref}
"""

MAPPING = """object: account
match: [ref]
on_null: clear
fields:
  ref: string(customer.id)
  title: customer.first_name + " " + customer.last_name
  mail: customer.email
  state: 'subscriptions.exists(s, s.state == "active") ? "active" : "inactive"'
  billing.cents: subscriptions.map(s, s.balance_in_cents).sum()
  billing.plans: subscriptions.map(s, s.product.handle).distinct().sort()
"""


def expected_account(i):
    return {"ref": str(i), "title": f"Ada{i} Lovelace", "mail": f"ada{i}@foreign.test",
            "state": "active" if i % 3 else "inactive",
            "billing": {"cents": 100 * i, "plans": ["gold"]}}
