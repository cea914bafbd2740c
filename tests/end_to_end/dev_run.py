"""A `tributary dev --no-simulator` that goes on running, and the frame of the tests that need one."""

import argparse
import json
import os
import time

from run_end_to_end import CONNECTOR_FILES, Failure, Run, fetch, run_in_directory


def check(condition, text):
    if not condition:
        raise Failure(text)


def clients_at(simulator):
    """What the `rest` example holds, by the customers' ids."""
    return {client["client_id"]: client
            for client in fetch(simulator + "/_sim/records")["rest"]["clients"]}


def equals_fold(simulator):
    """What the CRM has is what the source's history makes of it, each record once."""
    judged = fetch(simulator + "/_sim/judge?highlevel=0")
    check(judged["mismatches"] == 0 and judged["duplicate_records"] == 0 and
          judged["regressions"] == 0, f"{judged}")


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

    def tenant_yaml(self, name, access, mapping=None, chargify_key=None, rest_key=None):
        """One tenant between the two sides of a simulator, with its keys, or others, in files."""
        self.write(f"{name}.chargify.key", chargify_key or access["chargify"]["key"])
        self.write(f"{name}.rest.key", rest_key or access["rest"]["key"])
        mapped = f", mapping: {mapping}" if mapping else ""
        return f"""- name: {name}
  connections:
  - name: billing
    integration: chargify
    url: http://127.0.0.1:{access['chargify']['port']}
    allow_insecure_loopback: true
    credentials: {{api_key: {{key_file: {name}.chargify.key}}}}
  - name: crm
    integration: rest
    connector_file: {CONNECTOR_FILES}/rest.yaml
    url: http://127.0.0.1:{access['rest']['port']}
    allow_insecure_loopback: true
    credentials: {{api_key: {{key_file: {name}.rest.key}}}}
    settings: {{settle: 2s, index_lag: 1s}}
  syncs:
  - {{name: clients, source: billing, target: crm{mapped}}}
"""

    def configure_dev(self, *tenants, more=""):
        """Quick polls and short waits; `more`: further lines in front of the tenants."""
        return self.write("tributary.yaml", f"""extractor: {{poll_interval: 500ms, visibility_lag: 2s}}
loader: {{request_timeout: 1500ms, retry_delay_max: 3s}}
{more}tenants:
""" + "".join(tenants))

    def end_dev(self, how):
        """Sends the signal; the exit code."""
        self.dev.send_signal(how)
        code = self.dev.wait(30)
        self.processes = [entry for entry in self.processes if entry[1] is not self.dev]
        return code

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

    def settle_dev(self, seconds=90):
        """Status says settled, and `tributary verify` is 0."""
        self.wait("settled", lambda: (self.status() or {}).get("settled"), seconds=seconds)
        result = self.call("tributary", "verify", "--json", "--data", "data", check=False)
        check(result.returncode == 0, f"verify: exit {result.returncode}: {result.stdout}")

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
    return run_in_directory(options, kind, body, "good")
