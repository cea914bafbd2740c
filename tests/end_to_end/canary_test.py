#!/usr/bin/env python3
"""Secrets go through a whole installation, good ones and one that is refused, and are then looked for, in
every form in which they could travel, in all that it has written, shown and said: topics, local copies,
control's database, logs, metrics, answers of the command line, errors. They may stand in the files in
which a person put them, and nowhere else."""

import base64
import json
import re
import sys
import urllib.parse
import urllib.request

from dev_run import CONNECTOR_FILES, check, run_test
from run_end_to_end import fetch

WRONG = "wr0ng-canary-5f2b81c97d"


def forms(secret):
    raw = secret.encode()
    found = {raw, raw.hex().encode(), urllib.parse.quote(secret, safe="").encode(), raw[::-1]}
    # Within base64 of something longer, at each of the three places; without the ends, which depend on
    # what stands beside them. Chargify's and the example's keys travel as KEY:x.
    for before in ("", "a", "ab"):
        text = base64.b64encode((before + secret + ":x").encode())
        found.add(text[4:4 + (len(secret) // 3) * 4 - 8])
    return {form for form in found if len(form) >= 8}


def config(run, access, crm_key):
    run.write("chargify.key", access["chargify"]["key"])
    run.write("rest.key", crm_key)
    return run.write("tributary.yaml", f"""extractor: {{poll_interval: 500ms, visibility_lag: 2s}}
loader: {{request_timeout: 1500ms, retry_delay_max: 3s}}
logging: {{level: debug}}
admin: {{listen: "127.0.0.1:0"}}
tenants:
- name: acme
  connections:
  - name: billing
    integration: chargify
    url: http://127.0.0.1:{access['chargify']['port']}
    allow_insecure_loopback: true
    credentials: {{api_key: {{key_file: chargify.key}}}}
  - name: crm
    integration: rest
    connector_file: {CONNECTOR_FILES}/rest.yaml
    url: http://127.0.0.1:{access['rest']['port']}
    allow_insecure_loopback: true
    credentials: {{api_key: {{key_file: rest.key}}}}
    settings: {{settle: 2s, index_lag: 1s}}
  syncs:
  - {{name: clients, source: billing, target: crm}}
""")


def body(run):
    access, simulator = run.add_simulator("acme", 23, 20)
    secrets = {"chargify's key": access["chargify"]["key"], "the CRM's key": access["rest"]["key"],
               "a key that is refused": WRONG}
    shown = {}

    def ask(*arguments):
        result = run.call("tributary", *arguments, "--data", "data", check=False)
        shown[" ".join(arguments)] = result.stdout

    # First the wrong key: what is said of it is where a secret slips out.
    file = config(run, access, WRONG)
    run.start_dev(file)
    run.wait("the refused key to be shown", lambda: "refuses the credential" in json.dumps(run.status()),
             seconds=60)
    ask("status")
    ask("status", "--json")
    check(run.dev.poll() is None, "it ended")
    run.dev.terminate()
    check(run.dev.wait(30) == 0, "it did not end well")
    run.processes = [entry for entry in run.processes if entry[1] is not run.dev]

    # Then the right one, and secrets that stand where they do not belong.
    run.start_dev(config(run, access, access["rest"]["key"]))
    run.wait("settled", lambda: (run.status() or {}).get("settled"), seconds=90)
    clients = fetch(simulator + "/_sim/records")["rest"]["clients"]
    check(len(clients) > 0, "nothing was written")
    customer = clients[0]["client_id"]
    for question in (["status"], ["status", "--json"], ["verify", "--json"], ["parked", "list"],
                     ["trace", f"acme/customers/{customer}"]):
        ask(*question)
    for place in (f"api_key: {WRONG}", f"api_key {WRONG}", f"api_key: {{{WRONG}}}"):
        wrong = run.write("wrong.yaml", (run.directory / "tributary.yaml").read_text().replace(
            "api_key: {key_file: rest.key}", place))
        result = run.call("tributary", "dev", "--no-simulator", "--config", str(wrong), "--data", "other",
                          check=False)
        check(result.returncode == 78, f"{place.replace(WRONG, '…')}: exit {result.returncode}")
        shown["dev with " + place.replace(WRONG, "…")] = result.stdout
        wrong.unlink()
    log = (run.directory / "dev.log").read_text(errors="replace")
    for port in set(re.findall(r"http://127\.0\.0\.1:(\d+)", log)):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                shown[f"/metrics at {port}"] = answer.read().decode()
        except OSError:
            pass
    check(any("tributary_build_info" in text for text in shown.values()), "no metrics were seen")

    places = {name: text.encode() for name, text in shown.items()}
    own = {"chargify.key", "rest.key"}
    for path in run.directory.rglob("*"):
        if path.is_file() and path.name not in own:
            places[str(path.relative_to(run.directory))] = path.read_bytes()
    check(any(name.endswith("log/data.mdb") for name in places), f"the topics are not among {sorted(places)}")
    check(any(name.endswith("control.db") for name in places), "control's database is not there")
    # That the search finds what is there.
    check(any(str(customer).encode() in content for name, content in places.items() if "data.mdb" in name),
          "a customer's id is in no topic")
    for what, secret in secrets.items():
        check(len(secret) >= 12, f"{what} is too short to be looked for")
        for form in forms(secret):
            for name, content in places.items():
                check(form not in content, f"{what} is in {name}")
    run.say(f"{len(places)} places, {sum(map(len, places.values()))} bytes: none of {len(secrets)} secrets")


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body))
