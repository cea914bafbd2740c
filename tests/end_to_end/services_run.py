"""All services as processes of their own on the broker at $TRIBUTARY_KAFKA, for tests that end them."""

import json
import os
import signal
import subprocess
import time

from dev_run import DevRun
from run_end_to_end import Failure, free_port

SERVICES = ("control", "extractor", "transformer", "loader")


class ServicesRun(DevRun):
    """Short leases and sessions, so that an owner's death costs seconds."""

    partitions = 2

    def require_kafka(self):
        if "TRIBUTARY_KAFKA" not in os.environ:
            raise Failure("TRIBUTARY_KAFKA=HOST:PORT of a broker is needed; `./dev kafka up` brings one")

    def configure(self, bootstrap_servers=None):
        self.prefix = f"e2e-{os.getpid()}-{int(time.time())}."
        self.bootstrap_servers = bootstrap_servers or os.environ["TRIBUTARY_KAFKA"]
        self.control_port = free_port()
        self.admin_ports = {name: free_port() for name in SERVICES}
        self.call("tributary", "tls", "init", str(self.directory / "tls"))
        for name in SERVICES + ("tributary",):
            self.write(f"{name}.yaml", self.service_config(name))
        self.reach = ("--control", f"127.0.0.1:{self.control_port}", "--tls-dir", "tls/tributary")
        self.running = {}

    def service_config(self, name):
        return f"""log:
  kind: kafka
  bootstrap_servers: {self.bootstrap_servers}
  topic_prefix: {self.prefix}
  partitions: {self.partitions}
  instance: {name}-1
  data_directory: {self.directory}/data-{name}
  session_timeout: 6s
control:
  listen: 127.0.0.1:{self.control_port}
  address: 127.0.0.1:{self.control_port}
  tls_directory: {self.directory}/tls/{name}
  database: {self.directory}/control.db
  master_key_file: {self.directory}/master.key
extractor: {{visibility_lag: 2s, poll_interval: 1s, lease: 2s, pause_bound: 1s}}
loader: {{request_timeout: 1500ms, lease: 2s, pause_bound: 1s, retry_delay_max: 3s}}
logging: {{format: json}}
"""

    def start_service(self, name):
        process = self.start(name, "--config", f"{name}.yaml",
                             "--admin-listen", f"127.0.0.1:{self.admin_ports[name]}")
        self.running[name] = process
        return process

    def end_service(self, name, how):
        """Sends the signal; the exit code of the process."""
        process = self.running.pop(name)
        self.processes = [entry for entry in self.processes if entry[1] is not process]
        process.send_signal(how)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failure(f"{name} did not end within 30 s of {signal.Signals(how).name}") from None

    def log_of(self, name):
        file = self.directory / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def apply(self, text, seconds=60):
        self.write("tenants.yaml", text)
        deadline = time.monotonic() + seconds
        while self.call("tributary", "apply", "-f", "tenants.yaml", *self.reach,
                        check=False).returncode != 0:
            self.assert_alive()
            if time.monotonic() > deadline:
                raise Failure("control did not take the tenants")
            time.sleep(0.5)

    def status(self):
        result = self.call("tributary", "status", "--json", *self.reach, check=False)
        try:
            return json.loads(result.stdout)
        except ValueError:
            return None

    def tributary(self, *arguments):
        """Any command at control: exit code, standard output, standard error."""
        result = subprocess.run([self.program("tributary"), *arguments, *self.reach],
                                cwd=self.directory, text=True, capture_output=True, timeout=60,
                                check=False)
        return result.returncode, result.stdout, result.stderr

    def wait_until_verified(self, seconds=90):
        """`tributary verify` is 0 while status says settled."""
        self.wait("settled", lambda: (self.status() or {}).get("settled"), seconds=seconds)
        deadline = time.monotonic() + 20
        while True:
            code, out, err = self.tributary("verify", "--json")
            if code == 0:
                return json.loads(out)
            if time.monotonic() > deadline:
                raise Failure(f"tributary verify: exit {code}: {out}{err}")
            time.sleep(1)
