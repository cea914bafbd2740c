#!/usr/bin/env python3
"""Secrets go through a whole installation, good ones and one that is refused, and are then looked for, in
every form in which they could travel, in all that it has written, shown and said: topics, local copies,
control's database, logs, metrics, answers of the command line, errors, and what is left of a process that
aborts with the secrets in its memory. They may stand in the files in which a person put them, and nowhere else."""

import base64
import json
import pathlib
import re
import resource
import signal
import subprocess
import sys
import urllib.parse
import urllib.request

from dev_run import check, clients_at, run_test

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


def config(run, access, crm_key=None):
    return run.configure_dev(run.tenant_yaml("acme", access, rest_key=crm_key),
                             more='logging: {level: debug}\nadmin: {listen: "127.0.0.1:0"}\n')


def allow_core_files(run):
    """As an operator may have; whoever is started now inherits it. Says whether this machine then writes them."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    place = run.directory / "another"
    place.mkdir()
    subprocess.run([sys.executable, "-c", "import os; os.abort()"], cwd=place, check=False)
    is_written = any(place.iterdir())
    run.say("another process that aborts here leaves " + ("a core file" if is_written else
            "nothing beside it: core_pattern is " + pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()))
    for file in place.iterdir():
        file.unlink()


def abort(run):
    """Ends it with the secrets in its memory, in the worst way."""
    limits = pathlib.Path(f"/proc/{run.dev.pid}/limits").read_text()
    check(re.search(r"^Max core file size +0 +0 ", limits, re.M), f"it allows itself core files: {limits}")
    before = set(run.directory.iterdir())
    check(run.end_dev(signal.SIGABRT) == -signal.SIGABRT, "it did not abort")
    left = set(run.directory.iterdir()) - before
    check(not left, f"it left {left}")


def body(run):
    allow_core_files(run)
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
    check(run.end_dev(signal.SIGTERM) == 0, "it did not end well")

    # Then the right one, and secrets that stand where they do not belong.
    run.start_dev(config(run, access))
    run.wait("settled", lambda: (run.status() or {}).get("settled"), seconds=90)
    clients = clients_at(simulator)
    check(len(clients) > 0, "nothing was written")
    customer = next(iter(clients))
    for question in (["status"], ["status", "--json"], ["verify", "--json"], ["parked", "list"],
                     ["trace", f"acme/customers/{customer}"]):
        ask(*question)
    for place in (f"api_key: {WRONG}", f"api_key {WRONG}", f"api_key: {{{WRONG}}}"):
        wrong = run.write("wrong.yaml", (run.directory / "tributary.yaml").read_text().replace(
            "api_key: {key_file: acme.rest.key}", place))
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
    abort(run)
    check(any("tributary_build_info" in text for text in shown.values()), "no metrics were seen")

    places = {name: text.encode() for name, text in shown.items()}
    own = {"acme.chargify.key", "acme.rest.key"}
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
