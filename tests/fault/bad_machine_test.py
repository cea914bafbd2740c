#!/usr/bin/env python3
"""A machine that is not well under `tributary dev`: its clock jumps by an hour, a day and ten years, back and
forth; its kernel gives no random numbers; its file system takes no more writes. And orderly stops under load,
which must cost no write. `bad_machine.so`, preloaded, makes the first three."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "end_to_end"))

from dev_run import DevRun, check, clients_at, equals_fold, run_test  # noqa: E402
from run_end_to_end import fetch  # noqa: E402

HOUR, DAY, YEAR = 3600, 86400, 365 * 86400


class MachineRun(DevRun):
    def bad(self):
        return os.environ | {
            "LD_PRELOAD": self.program("bad_machine.so"),
            "CHAOS_CLOCK": str(self.directory / "clock"),
            "CHAOS_NO_ENTROPY": str(self.directory / "no-entropy"),
            "CHAOS_READ_ONLY": str(self.directory / "read-only")}

    def start_dev(self, config):
        with open(self.directory / "dev.log", "ab") as log:
            self.dev = subprocess.Popen(
                [self.program("tributary"), "dev", "--no-simulator", "--config", str(config), "--data", "data"],
                cwd=self.directory, stdout=log, stderr=log, env=self.bad())
        self.processes.append(("dev", self.dev))
        self.wait("tributary dev to answer", lambda: self.status() is not None)


def refused(run):
    """A `tributary dev` that cannot start: exit code, and what it says."""
    result = subprocess.run(
        [run.program("tributary"), "dev", "--no-simulator", "--config", "tributary.yaml", "--data", "data"],
        cwd=run.directory, text=True, capture_output=True, timeout=60, check=False, env=run.bad())
    return result.returncode, result.stdout + result.stderr


def repeated_writes(simulator, since):
    """Writes from request `since` on that say what the last one to that record said."""
    with urllib.request.urlopen(simulator + "/_sim/requests", timeout=60) as answer:
        requests = [json.loads(line) for line in answer.read().splitlines() if line]
    last, repeated = {}, []
    for request in requests:
        if request["target"] != "rest" or request["method"] != "PUT" or not request["applied"]:
            continue
        if last.get(request["path"]) == request["body"] and request["seq"] >= since:
            repeated.append(request)
        last[request["path"]] = request["body"]
    return requests[-1]["seq"] + 1 if requests else 0, repeated


def body(run):
    access, simulator = run.add_simulator("acme", 23, 40)
    file = run.configure_dev(run.tenant_yaml("acme", access))
    some = None

    def email():
        return clients_at(simulator)[some]["email"]

    def change(text):
        fetch(simulator + "/_sim/mutate", {"count": 20})
        fetch(simulator + "/_sim/mutate", {"entity": "customers", "id": some, "set": {"email": text}})
        run.wait(f"{text} at the CRM", lambda: email() == text, seconds=90)

    # No random numbers: it does not begin, and says so.
    (run.directory / "no-entropy").touch()
    code, said = refused(run)
    check(code == 75, f"exit {code} without random numbers: {said}")
    check("error: " in said and "random" in said and "fix: " in said, said)
    check(not clients_at(simulator), "something was written without random numbers")
    (run.directory / "no-entropy").unlink()

    run.start_dev(file)
    run.settle_dev()
    some = sorted(clients_at(simulator), key=int)[0]

    # Stopped and started again under load, in an orderly way: no record is sent what it has.
    begin, _ = repeated_writes(simulator, 0)
    for number in range(5):
        fetch(simulator + "/_sim/mutate", {"count": 30})
        time.sleep(0.7)
        began = time.monotonic()
        check(run.end_dev(signal.SIGTERM) == 0, "it did not end well")
        check(time.monotonic() - began < 25, "it took long to end")
        run.start_dev(file)
        change(f"stop-{number}@machine.test")
    run.settle_dev()
    _, repeated = repeated_writes(simulator, begin)
    check(not repeated, f"{len(repeated)} writes were repeated, the first: {repeated[:1]}")

    # The wall clock is set.
    for off in (HOUR, -HOUR, -DAY, 0, 10 * YEAR, 0):
        (run.directory / "clock").write_text(str(off))
        change(f"clock{off}@machine.test")
        run.assert_alive()
    # And is wrong when it starts: a day behind, its own certificate is none yet.
    check(run.end_dev(signal.SIGTERM) == 0, "it did not end well")
    (run.directory / "clock").write_text(str(-DAY))
    code, said = refused(run)
    check(code == 78 and "certificate is not yet valid" in said, f"exit {code}: {said}")
    (run.directory / "clock").write_text(str(DAY))
    run.start_dev(file)
    change("wrong-start@machine.test")
    (run.directory / "clock").write_text("0")
    run.settle_dev()

    # The file system is mounted read-only under it, as one is that has errors: it ends and says where, or
    # goes on; when it takes writes again, nothing is lost.
    (run.directory / "read-only").touch()
    fetch(simulator + "/_sim/mutate", {"count": 20})
    fetch(simulator + "/_sim/mutate", {"entity": "customers", "id": some, "set": {"email": "ro@machine.test"}})
    log = run.directory / "dev.log"
    deadline = time.monotonic() + 60
    while "Read-only file system" not in log.read_text(errors="replace"):
        check(time.monotonic() < deadline, "it says nothing of a file system that takes no writes")
        time.sleep(0.3)
    time.sleep(3)
    check(f"{run.directory}/data" in log.read_text(errors="replace"), "it does not say where")
    (run.directory / "read-only").unlink()
    # It goes on, or has given up on its log meanwhile and says what to do.
    deadline = time.monotonic() + 90
    while email() != "ro@machine.test":
        check(time.monotonic() < deadline, "the change never came")
        if run.dev.poll() is not None:
            said = log.read_text(errors="replace")
            check(run.dev.returncode == 75 and "\nfix: " in said[-500:], said[-2000:])
            run.processes = [entry for entry in run.processes if entry[1] is not run.dev]
            run.start_dev(file)
        time.sleep(0.3)
    run.settle_dev()
    equals_fold(simulator)


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, MachineRun))
