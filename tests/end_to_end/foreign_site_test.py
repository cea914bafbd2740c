#!/usr/bin/env python3
"""`tributary dev --no-simulator` in front of a foreign site and a foreign CRM: what the site does not
offer is shown and skipped, the rest flows, and neither is asked without end."""

import re
import shutil
import sys
import time

import foreign_site
from dev_run import check, run_test


def config(run, foreign):
    run.write("chargify.key", "x")
    run.write("crm.key", foreign_site.KEY)
    run.write("connector.yaml", foreign_site.CONNECTOR)
    run.write("account.mapping.yaml", foreign_site.MAPPING)
    run.write("none.rules.yaml", "rules: []\n")
    return run.write("tributary.yaml", f"""extractor: {{poll_interval: 1s, visibility_lag: 2s}}
loader: {{request_timeout: 1500ms}}
tenants:
- name: acme
  connections:
  - name: billing
    integration: chargify
    url: http://127.0.0.1:{foreign.site_port}
    allow_insecure_loopback: true
    credentials: {{api_key: {{key_file: chargify.key}}}}
  - name: crm
    integration: rest
    connector_file: connector.yaml
    url: http://127.0.0.1:{foreign.crm_port}
    allow_insecure_loopback: true
    credentials: {{api_key: {{key_file: crm.key}}}}
  syncs:
  - {{name: accounts, source: billing, target: crm, mapping: account.mapping.yaml, rules: none.rules.yaml}}
""")


def try_one(run, paging, protocol):
    run.say(f"--- paging {paging}, {protocol}")
    shutil.rmtree(run.directory / "data", ignore_errors=True)
    foreign = foreign_site.Foreign(paging, protocol)
    try:
        began = time.monotonic()
        report = run.once(config(run, foreign))
        seconds = time.monotonic() - began
        run.say(f"{report} after {len(foreign.requests)} requests, {len(foreign.calls)} calls")
        check(report["settled"] and report["parked"] == 0 and report["dropped"] == 0, "not right")
        for i in range(1, foreign_site.CUSTOMERS + 1):
            found = foreign.accounts.get(str(i))
            check(found == foreign_site.expected_account(i), f"account {i} is {found}")
        check(len(foreign.accounts) == foreign_site.CUSTOMERS, "accounts that nobody asked for")
        check(not foreign.problems, f"calls to other paths: {foreign.problems[:3]}")
        check(foreign.tokens >= 2, "the token was not renewed")
        # Three lists, each read and confirmed once in a second or a little more often.
        check(len(foreign.requests) < 40 + 30 * seconds, f"{len(foreign.requests)} requests")
        check(len(foreign.calls) < 8 * foreign_site.CUSTOMERS, f"{len(foreign.calls)} calls")

        # Started again on the same data: status shows the streams, and nothing is written again.
        calls = len(foreign.calls)
        run.start_dev(run.directory / "tributary.yaml")
        run.wait("settled again", lambda: (run.status() or {}).get("settled"))
        streams = run.streams()
        for name, code in (("site", "404"), ("components", "404"), ("invoices", "403")):
            check(code in (streams[name]["unavailable"] or ""), f"{name}: {streams[name]}")
        for name in ("customers", "subscriptions", "events"):
            check(streams[name]["unavailable"] is None and streams[name]["settled"], f"{streams[name]}")
        text = run.call("tributary", "status", "--data", "data", check=False).stdout
        check(re.search(r"stream acme/billing/invoices: .*403", text), text)
        before = len(foreign.requests)
        time.sleep(5)
        asked = len(foreign.requests) - before
        check(asked <= 5 * 3 * 6 + 20, f"{asked} requests in 5 s of rest")
        writes = [call for call in foreign.calls[calls:] if call.startswith("PUT")]
        check(not writes, f"{len(writes)} records were written again")
        check(not run.stop_all(), "dev did not end well")
    finally:
        foreign.stop()


def body(run):
    for paging, protocol in (("pages", "HTTP/1.1"), ("one_page", "HTTP/1.1"),
                             ("ignored", "HTTP/1.0"), ("own_size", "HTTP/1.0")):
        try_one(run, paging, protocol)


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body))
