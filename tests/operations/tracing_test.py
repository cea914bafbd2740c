#!/usr/bin/env python3
"""Traces of a whole installation, as a collector of our own receives them.

    tracing_test.py --bin build/release/bin

The services run on the broker at $TRIBUTARY_KAFKA and export every trace. A change is followed from the read
through the topics to the CRM: one trace, each span the child of the one before it, in time. Nothing that a
person wrote or is, and no key, is in what the collector got. Then the collector is away: the site is kept in
step all the same.
"""

import collections
import http.server
import json
import sys
import pathlib
import threading

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "end_to_end")]

from dev_run import check, clients_at, equals_fold, run_test  # noqa: E402
from run_end_to_end import fetch, free_port  # noqa: E402
from services_run import ServicesRun  # noqa: E402

SPANS = ("extractor read", "transformer derive", "loader write")


class Collector:
    """Takes OTLP in JSON, and keeps it as it came."""

    def __init__(self, port):
        self.bodies = []
        bodies = self.bodies

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["content-length"]))
                good = self.path == "/v1/traces" and self.headers["content-type"] == "application/json"
                if good:
                    bodies.append(body)
                self.send_response(200 if good else 400)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def traces(self):
        """Trace → spans, each with the service that sent it."""
        traces = collections.defaultdict(list)
        for body in list(self.bodies):
            for resource in json.loads(body)["resourceSpans"]:
                named = {a["key"]: a["value"]["stringValue"] for a in resource["resource"]["attributes"]}
                for span in resource["scopeSpans"][0]["spans"]:
                    traces[span["traceId"]].append({**span, "service": named["service.name"]})
        return traces


class TracingRun(ServicesRun):
    def service_config(self, name):
        return super().service_config(name) + (
            f"tracing: {{endpoint: 'http://127.0.0.1:{self.port}/', sample_ratio: '1', export_interval: 200ms}}\n")


def whole(spans):
    """The three spans of a trace by which a change came to the CRM, or None."""
    by_name = {name: [s for s in spans if s["name"] == name] for name in SPANS}
    for write in by_name["loader write"]:
        for derive in by_name["transformer derive"]:
            for read in by_name["extractor read"]:
                if write.get("parentSpanId") == derive["spanId"] and derive.get("parentSpanId") == read["spanId"]:
                    return read, derive, write
    return None


def attributes(span):
    return {a["key"]: a["value"]["stringValue"] for a in span["attributes"]}


def body(run):
    run.require_kafka()
    run.port = free_port()
    collector = Collector(run.port)
    run.configure()
    access, simulator = run.add_simulator("acme", 41, 30)
    for name in run.admin_ports:
        run.start_service(name)
    run.apply("tenants:\n" + run.tenant_yaml("acme", access))
    run.wait("every customer's trace is whole",
             lambda: sum(1 for spans in collector.traces().values() if whole(spans)) >= 30)

    for trace, spans in collector.traces().items():
        known = {span["spanId"] for span in spans}
        check(len(known) == len(spans), f"{trace}: two spans with one id: {spans}")
        for span in spans:
            check(span.get("parentSpanId", span["spanId"]) in known or not whole(spans),
                  f"{trace}: {span['name']} has a parent that nobody sent")
            check(span["name"].split()[0] == span["service"], f"{span['service']} sent {span['name']}")
            check(int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]), f"{span} ends before it begins")
    read, derive, write = next(found for spans in collector.traces().values() if (found := whole(spans)))
    check(int(read["startTimeUnixNano"]) <= int(derive["startTimeUnixNano"]) <= int(write["endTimeUnixNano"]),
          "the three are not in the order of the flow")
    check(attributes(read)["tributary.entity.kind"] and attributes(derive)["tributary.sync"] == "clients" and
          attributes(write)["tributary.outcome"] == "applied" and attributes(write)["tributary.tenant"] == "acme",
          f"{attributes(read)} {attributes(derive)} {attributes(write)}")

    # A collector that is away holds nobody up, and is found again.
    collector.stop()
    fetch(simulator + "/_sim/mutate", {"count": 30})
    run.wait("changes reach the CRM without a collector",
             lambda: fetch(simulator + "/_sim/judge?highlevel=0")["mismatches"] == 0)
    before = len(collector.bodies)
    again = Collector(run.port)
    run.wait("the collector gets what waited", lambda: len(again.bodies) > 0)
    run.wait_until_verified()
    equals_fold(simulator)
    again.stop()

    got = b"".join(collector.bodies[:before] + again.bodies)
    personal = [access["chargify"]["key"], access["rest"]["key"]]
    for client in clients_at(simulator).values():
        personal += [client[name] for name in ("email", "name") if client.get(name)]
        personal.append(f"customers/{client['client_id']}")
    check(len(personal) > 60, f"too little to look for: {personal}")
    found = [text for text in personal if str(text).encode() in got]
    check(not found, f"the collector was told {found}")
    run.say(f"{len(got)} bytes of {len(collector.traces())} traces: none of {len(personal)} secrets and persons")


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, TracingRun))
