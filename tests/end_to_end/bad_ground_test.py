#!/usr/bin/env python3
"""What `tributary dev` stands on goes wrong: the process is killed, its directory is taken, cannot be
written or takes no more, its port is taken, its output goes nowhere, it has no descriptors, hardly a CPU,
no memory, its terminal hangs up. Each is said with the place and a way out, or endured, and afterwards
nothing is lost."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

from dev_run import DevRun, check, clients_at, equals_fold, run_test
from run_end_to_end import fetch


class GroundRun(DevRun):
    def start_dev(self, config):
        """With SIGXFSZ ignored: a limit on the size of files then fails a write as a full disk does."""
        with open(self.directory / "dev.log", "ab") as log:
            self.dev = subprocess.Popen(
                ["env", "--ignore-signal=XFSZ", self.program("tributary"), "dev", "--no-simulator",
                 "--config", str(config), "--data", "data"], cwd=self.directory, stdout=log, stderr=log)
        self.processes.append(("dev", self.dev))
        self.wait("tributary dev to answer", lambda: self.status() is not None)

    def start_dev_unheard(self, config):
        """Its output is a pipe that nobody holds."""
        read, write = os.pipe()
        self.dev = subprocess.Popen(
            [self.program("tributary"), "dev", "--no-simulator", "--config", str(config), "--data", "data"],
            cwd=self.directory, stdout=write, stderr=write)
        os.close(read)
        os.close(write)
        self.processes.append(("dev", self.dev))
        self.wait("tributary dev to answer", lambda: self.status() is not None)


def refused(run, code, *words, data="data", environment=None):
    """A second `tributary dev` that cannot start, and what it says."""
    result = subprocess.run(
        [run.program("tributary"), "dev", "--no-simulator", "--config", "tributary.yaml", "--data", data],
        cwd=run.directory, text=True, capture_output=True, timeout=30, check=False,
        env=os.environ | (environment or {}))
    said = result.stdout + result.stderr
    check(result.returncode == code, f"exit {result.returncode} instead of {code}: {said}")
    for word in (*words, "error: ", "fix: "):
        check(word in said, f"{word!r} is not in: {said}")


def body(run):
    access, simulator = run.add_simulator("acme", 17, 30)
    file = run.configure_dev(run.tenant_yaml("acme", access))

    def emails():
        return {key: client["email"] for key, client in clients_at(simulator).items()}

    # A directory that cannot be one, and a port that is taken: refused before anything is read.
    run.write("file", "x")
    refused(run, 75, str(run.directory / "file"), data="file/data")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(run, 78, f"127.0.0.1:{port}", "in use", "admin.listen", data="other",
                environment={"TRIBUTARY_ADMIN_LISTEN": f"127.0.0.1:{port}"})
    check(not emails(), "something was written by a process that was refused")

    # Killed while it works, again and again.
    run.start_dev(file)
    refused(run, 78, str(run.directory / "data"), f"in use by process {run.dev.pid}")
    for _ in range(3):
        fetch(simulator + "/_sim/mutate", {"count": 30})
        time.sleep(1)
        check(run.end_dev(signal.SIGKILL) == -signal.SIGKILL, "it had ended before")
        said = subprocess.run([run.program("tributary"), "status", "--data", "data"], cwd=run.directory,
                              text=True, capture_output=True, timeout=30, check=False)
        check(said.returncode == 75 and "does not answer" in said.stderr and "fix: " in said.stderr,
              f"exit {said.returncode}: {said.stderr}")
        run.start_dev(file)
    run.settle_dev()

    # A disk that takes no more, and a new start once it does again.
    # More than what it says, less than what it keeps.
    hard = resource.prlimit(run.dev.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(run.dev.pid, resource.RLIMIT_FSIZE, (128 * 1024, hard))
    some = sorted(emails(), key=int)[0]
    fetch(simulator + "/_sim/mutate", {"count": 30})
    fetch(simulator + "/_sim/mutate", {"entity": "customers", "id": some, "set": {"email": "full@disk.test"}})
    check(run.dev.wait(60) == 75, f"exit {run.dev.returncode} on a full disk")
    # Threads that are ending may still say something behind it.
    said = (run.directory / "dev.log").read_text(errors="replace")
    check(re.search(rf"^error: writing .*{run.directory}/data/log: [A-Z].*\nfix: ", said, re.M), said[-2000:])
    run.processes = [entry for entry in run.processes if entry[1] is not run.dev]
    run.start_dev(file)
    run.wait("the change behind the full disk", lambda: emails()[some] == "full@disk.test", seconds=90)
    run.settle_dev()
    check(run.end_dev(signal.SIGTERM) == 0, "it did not end well")

    # Nobody reads what it says.
    run.start_dev_unheard(file)
    fetch(simulator + "/_sim/mutate", {"count": 30})
    run.settle_dev()

    # No descriptor is left, for a while: what cannot be opened is tried again.
    hard = resource.prlimit(run.dev.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(run.dev.pid, resource.RLIMIT_NOFILE, (3, hard))
    fetch(simulator + "/_sim/mutate", {"entity": "customers", "id": some, "set": {"email": "few@files.test"}})
    time.sleep(3)
    run.assert_alive()
    resource.prlimit(run.dev.pid, resource.RLIMIT_NOFILE, (hard, hard))
    run.wait("the change behind it", lambda: emails()[some] == "few@files.test", seconds=90)
    run.settle_dev()

    # A twentieth of a CPU, for a while.
    fetch(simulator + "/_sim/mutate", {"count": 30})
    for _ in range(20):
        run.dev.send_signal(signal.SIGSTOP)
        time.sleep(0.475)
        run.dev.send_signal(signal.SIGCONT)
        time.sleep(0.025)
    run.settle_dev()

    # No memory can be had any more: it may end, but it loses nothing.
    soft, hard = resource.prlimit(run.dev.pid, resource.RLIMIT_AS)
    resource.prlimit(run.dev.pid, resource.RLIMIT_AS, (1 << 20, hard))
    fetch(simulator + "/_sim/mutate", {"count": 30})
    fetch(simulator + "/_sim/mutate", {"entity": "customers", "id": some, "set": {"email": "no@memory.test"}})
    deadline = time.monotonic() + 10
    while run.dev.poll() is None and time.monotonic() < deadline:
        time.sleep(0.3)
    if run.dev.poll() is None:
        resource.prlimit(run.dev.pid, resource.RLIMIT_AS, (soft, hard))
    else:
        check(run.dev.returncode != 0, "it said that all was well")
        run.processes = [entry for entry in run.processes if entry[1] is not run.dev]
        run.start_dev(file)
    run.wait("the change behind it", lambda: emails()[some] == "no@memory.test", seconds=90)
    run.settle_dev()

    # Its terminal goes away.
    check(run.end_dev(signal.SIGHUP) == 0, "it did not end well")
    equals_fold(simulator)


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, GroundRun))
