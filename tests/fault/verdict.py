"""What a run of faults has come to, judged by the simulator's history and journal and by the topics."""

import datetime
import json
import time
import urllib.request

from installation import Failure, fetch, run_end_to_end

QUIET_SECONDS = 6
TARGETS = {"extractor": ("chargify",), "loader": ("highlevel", "rest"), "broker": ("highlevel", "rest"),
           "everything": ("highlevel", "rest"), "beyond": ("highlevel", "rest"),
           "beyond-late": ("highlevel", "rest")}


def wait_for_rest(installation, seconds, syncs=2):
    """Until for some seconds nothing waits, nobody stores anything, and the site is still being read.
    `syncs` there are. Returns the last status. Failure: it did not come to rest."""
    deadline = time.monotonic() + seconds
    quiet, writes, reads, shown = 0, None, None, []
    while quiet < QUIET_SECONDS:
        if time.monotonic() > deadline:
            waiting = [(s["sync"], s["pending"], s["retrying"], s.get("problem")) for s in shown]
            unready = [name for name, changes in installation.ready.changes.items()
                       if not changes or not changes[-1][1]]
            raise Failure(f"did not come to rest: {waiting}; not ready: {unready}")
        installation.revive()
        time.sleep(1)
        state = fetch(installation.simulator + "/_sim/state")
        # Reading, as the sweep does, changes nothing.
        now = (state["highlevel_applied"], state["rest_applied"])
        result = installation.call("tributary", "status", "--json", *installation.reach(), check=False)
        is_still = result.returncode == 0 and now == writes and state["chargify_requests"] != reads
        if result.returncode == 0:
            shown = [s for t in json.loads(result.stdout)["tenants"] for s in t["syncs"]]
            is_still = is_still and len(shown) == syncs and all(
                s["pending"] == 0 and s["retrying"] == 0 for s in shown)
        quiet = quiet + 1 if is_still and installation.ready.all_ready() else 0
        writes, reads = now, state["chargify_requests"]
    return shown


def sweep(installation, seconds):
    """Everything is compared with what the CRMs have, and what differs is written again."""
    installation.call("tributary", "sweep", "--now", "--wait", f"{seconds}s", *installation.reach())


def read_journal(installation):
    with urllib.request.urlopen(installation.simulator + "/_sim/requests", timeout=300) as answer:
        lines = answer.read().decode().splitlines()
    journal = []
    for line in lines:
        entry = json.loads(line)
        at = datetime.datetime.fromisoformat(entry["time"].replace("Z", "+00:00"))
        entry["at"] = at.timestamp()
        journal.append(entry)
    return journal


def open_requests(journal, targets, wall):
    """Those that had arrived and were not yet answered."""
    return [e for e in journal
            if e["target"] in targets and e["at"] <= wall < e["at"] + e["takes_ms"] / 1000]


def repeated_writes(journal):
    """Writes to `rest` that say what the last one to that record said."""
    last, repeated = {}, 0
    for entry in journal:
        if entry["target"] != "rest" or entry["method"] != "PUT" or not entry["applied"]:
            continue
        repeated += last.get(entry["path"]) == entry["body"]
        last[entry["path"]] = entry["body"]
    return repeated


def parked_items(installation):
    result = installation.call("tributary", "parked", "list", "--json", *installation.reach(), check=False)
    return json.loads(result.stdout)["items"] if result.returncode == 0 else []


def judge(installation):
    """At rest. Numbers that must be zero, and what explains them."""
    found = run_end_to_end.fold.compare_simulator(installation.simulator)
    judged = fetch(installation.simulator + "/_sim/judge")
    verified = installation.call("tributary", "verify", "--json", *installation.reach(), check=False)
    report = json.loads(verified.stdout) if verified.stdout.strip() else {}
    twice = found["duplicate_records"]
    actions = [text for text in twice if "note" in text]
    problems = found["mismatches"] + twice + judged["problems"] + report.get("problems", [])
    if verified.returncode != 0:
        problems.append(f"verify: exit {verified.returncode}: {verified.stdout.strip()[:500]}")
    parked = parked_items(installation)
    return {
        "lost": len(found["mismatches"]) + report.get("lost", 0),
        "duplicate_records": len(twice) - len(actions),
        "duplicate_actions": len(actions) + report.get("double_outcomes", 0),
        "regressions": judged["regressions"],
        "verify": verified.returncode,
        "provoked_429": judged["provoked_429"],
        "parked": [f"{item['key']}: {item['reason']}" for item in parked],
        # Second records or actions whose customer stands in the list of what waits for a person.
        "shown": sum(any(text.split()[1].rstrip(":") in item["key"] for item in parked) for text in twice),
        "problems": problems[:60],
    }
