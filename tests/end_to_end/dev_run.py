"""A `tributary dev --no-simulator` that goes on running, and the frame of the tests that need one."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from run_end_to_end import CONNECTOR_FILES, Failure, Run  # noqa: F401


def check(condition, text):
    if not condition:
        raise Failure(text)


class DevRun(Run):
    def write(self, name, text):
        file = self.directory / name
        file.touch(mode=0o600)
        file.write_text(text)
        return file

    def add_simulator(self, tenant, seed, customers):
        """Starts one more simulator without changes of its own; its ports and keys, and its URL."""
        process = self.start("simulator", "--listen", "127.0.0.1:0", "--tenant", tenant,
                             "--seed", str(seed), "--customers", str(customers),
                             label=f"simulator-{tenant}")
        line = process.stdout.readline()
        check(line, "the simulator did not start")
        access = json.loads(line)
        return access, f"http://127.0.0.1:{access['chargify']['port']}"

    def start_dev(self, config):
        self.dev = self.start("tributary", "dev", "--no-simulator", "--config", str(config),
                              "--data", "data", label="dev")
        self.wait("tributary dev to answer", lambda: self.status() is not None)

    def once(self, config, timeout=60):
        """`--once --json`: the last line, after exit 0."""
        result = self.call("tributary", "dev", "--no-simulator", "--once", "--json", "--config",
                           str(config), "--data", "data", "--timeout", f"{timeout}s", check=False)
        check(result.returncode == 0, f"dev --once: exit {result.returncode}: {result.stdout}")
        return json.loads(result.stdout.strip().split("\n")[-1])

    def status(self):
        result = self.call("tributary", "status", "--json", "--data", "data", check=False)
        try:
            return json.loads(result.stdout)
        except ValueError:
            return None

    def streams(self, connection="billing", tenant="acme"):
        return {stream["stream"]: stream for stream in self.status()["streams"]
                if stream["connection"] == connection and stream["tenant"] == tenant}

    def sync(self, tenant):
        status = self.status() or {"tenants": []}
        found = [t["syncs"] for t in status["tenants"] if t["tenant"] == tenant]
        return found[0][0] if found and found[0] else None

    def wait(self, what, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assert_alive()
            if time.monotonic() > deadline:
                raise Failure(f"waited {seconds} s for {what}; status: {json.dumps(self.status())}")
            time.sleep(0.3)
        self.say(f"{what}: yes")


def run_test(description, body, kind=DevRun):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bin", required=True, help="where the programs are")
    parser.add_argument("--keep", action="store_true", help="keep the work directory")
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    options.began = time.monotonic()
    options.timeout = 240
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tributary-e2e-"))
    run = kind(options, directory)
    problem = None
    try:
        body(run)
    except (Failure, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as failure:
        problem = f"{type(failure).__name__}: {failure}"
    finally:
        stopped = run.stop_all()
    if problem is None and stopped:
        problem = "; ".join(stopped)
    if problem is not None:
        print(f"FAILED: {problem}\nLogs: {directory}", file=sys.stderr)
        return 1
    if not options.keep:
        shutil.rmtree(directory)
    run.say("good")
    return 0
