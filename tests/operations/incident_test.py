#!/usr/bin/env python3
"""An installation of docker/'s own files breaks, and its operators are told.

    incident_test.py --bin build/release/bin [--keep]

The four services run with docker/tributary.yaml and the environment of compose.yaml (ports and directories of
this machine beside it), on a real broker of their own; Prometheus with docker/prometheus/prometheus.yml and
our rules; Alertmanager with docker/prometheus/alertmanager.yml, which delivers to a receiver of this test.
While a site changes, a CRM answers with errors, a token is about to end, a service is killed, and the broker
dies. Each time the right alert is delivered and resolved, the right panel moves, and `/readyz` of those whom it concerns turns and
returns. An hour of the rules is 36 seconds here, as in monitoring_test. Needs Debian's prometheus and
prometheus-alertmanager.
"""

import datetime
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "end_to_end"), str(TOP / "tests" / "fault")]

import monitoring_test  # noqa: E402
from broker import Broker  # noqa: E402
from monitoring_test import Failure, faster, fetch, panels, run_test  # noqa: E402
from run_end_to_end import CONNECTOR_FILES, free_port  # noqa: E402

DOCKER = TOP / "docker"
SERVICES = ("control", "extractor", "transformer", "loader")
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())


class Receiver:
    """Who is told: alerts by name, the newest word about each."""

    def __init__(self):
        self.told = []
        told = self.told

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                told.extend((alert["labels"]["alertname"], alert["status"]) for alert in message["alerts"])
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def newest(self, alert):
        return next((status for name, status in reversed(self.told) if name == alert), None)


class Installation(monitoring_test.Run):
    def __init__(self, options, directory):
        super().__init__(options, directory)
        self.services = {}
        self.receiver = Receiver()
        self.is_changing = True

    def stop(self):
        self.is_changing = False
        super().stop()
        if hasattr(self, "broker"):
            self.broker.stop()

    def start_service(self, name):
        given = COMPOSE["services"][name].get("environment", {})
        own = self.directory / name
        own.mkdir(exist_ok=True)
        environment = {
            **os.environ, **given,
            "TRIBUTARY_LOG_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.broker.ports['clients']}",
            "TRIBUTARY_LOG_DATA_DIRECTORY": str(own),
            # A name of its own, as a container has.
            "TRIBUTARY_LOG_INSTANCE": name,
            # The broker forgets a killed one soon enough to be waited for.
            "TRIBUTARY_LOG_SESSION_TIMEOUT": "6s",
            "TRIBUTARY_CONTROL_LISTEN": f"127.0.0.1:{self.control_port}",
            "TRIBUTARY_CONTROL_ADDRESS": f"127.0.0.1:{self.control_port}",
            "TRIBUTARY_CONTROL_DATABASE": str(own / "control.db"),
            "TRIBUTARY_CONTROL_TLS_DIRECTORY":
                given["TRIBUTARY_CONTROL_TLS_DIRECTORY"].replace("/etc/tributary", str(self.directory)),
            "TRIBUTARY_ADMIN_LISTEN": f"127.0.0.1:{self.admin[name]}",
            "TRIBUTARY_LOADER_REQUEST_TIMEOUT": "1500ms",
            # In the proportion of the rules' time.
            "TRIBUTARY_LOADER_TARGET_DELAY_MAX": "3s",
            "TRIBUTARY_LOADER_RETRY_DELAY_MAX": "6s",
        }
        # The file that a container mounts, where its paths can be relative to.
        config = shutil.copy(DOCKER / "tributary.yaml", own / "tributary.yaml")
        with open(self.directory / f"{name}.log", "ab") as log:
            process = subprocess.Popen([str(self.options.bin / name), "--config", str(config)], cwd=own,
                                       env=environment, stdout=log, stderr=log)
        self.services[name] = process
        self.processes.append(process)

    def forget(self, process):
        self.processes.remove(process)

    def ready(self, name):
        return self.ready_of(f"http://127.0.0.1:{self.admin[name]}/readyz")

    def all_ready(self):
        return all(self.ready(name) == 200 for name in SERVICES)

    def tributary(self, *arguments):
        return subprocess.run(
            [str(self.options.bin / "tributary"), *arguments, "--control", f"127.0.0.1:{self.control_port}",
             "--tls-dir", str(self.directory / "tls" / "tributary")],
            cwd=self.directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)

    def start_all(self):
        self.control_port = free_port()
        self.admin = {name: free_port() for name in SERVICES}
        subprocess.run([str(self.options.bin / "tributary"), "tls", "init", str(self.directory / "tls")], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.broker = Broker(self.directory / "broker",
                             {name: free_port() for name in ("direct", "clients", "controller")}, {})
        self.broker.format()
        self.broker.start()
        self.broker.wait_until_it_answers()
        self.say("the broker runs")
        with open(self.directory / "simulator.log", "wb") as log:
            simulator = subprocess.Popen(
                [str(self.options.bin / "simulator"), "--listen", "127.0.0.1:0", "--tenant", "acme",
                 "--customers", "60", "--seed", "7"], cwd=self.directory, stdout=subprocess.PIPE, stderr=log)
        self.processes.append(simulator)
        self.access = json.loads(simulator.stdout.readline())
        self.simulator = f"http://127.0.0.1:{self.access['chargify']['port']}"
        for name in SERVICES:
            self.start_service(name)
        self.wait("every service is ready", self.all_ready, 120)
        self.apply()
        threading.Thread(target=self.change, daemon=True).start()

    def apply(self, token_days=400):
        access = self.access
        ends = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=token_days)).strftime("%Y-%m-%d")
        for name, secret in (("chargify", access["chargify"]["key"]), ("rest", access["rest"]["key"])):
            file = self.directory / f"{name}.key"
            file.touch(mode=0o600)
            file.write_text(secret)
        (self.directory / "tenants.yaml").write_text(f"""tenants:
- name: acme
  connections:
  - name: billing
    integration: chargify
    url: http://127.0.0.1:{access['chargify']['port']}
    allow_insecure_loopback: true
    credentials: {{api_key: {{key_file: chargify.key}}}}
    settings: {{visibility_lag: 2s, poll_interval: 500ms}}
  - name: crm
    integration: rest
    connector_file: {CONNECTOR_FILES}/rest.yaml
    url: http://127.0.0.1:{access['rest']['port']}
    allow_insecure_loopback: true
    credentials: {{api_key: {{key_file: rest.key, expires: {ends}}}}}
    settings: {{settle: 2s, index_lag: 1s}}
  syncs:
  - {{name: clients, source: billing, target: crm}}
""")
        self.wait("control takes the tenants", lambda: self.tributary("apply", "-f", "tenants.yaml").returncode == 0)

    def change(self):
        while self.is_changing:
            try:
                fetch(self.simulator + "/_sim/mutate", {"count": 4})
            except OSError:
                return
            time.sleep(0.5)

    def start_watching(self):
        for program in ("prometheus", "prometheus-alertmanager"):
            if shutil.which(program) is None:
                raise Failure(f"{program} is missing; ./dev packages test installs it")
        alertmanager = f"127.0.0.1:{free_port()}"
        told = yaml.safe_load((DOCKER / "prometheus" / "alertmanager.yml").read_text())
        told["receivers"][0]["webhook_configs"] = [{"url": self.receiver.url, "send_resolved": True}]
        told["route"].update(group_wait="100ms", group_interval="300ms")
        (self.directory / "alertmanager.yml").write_text(yaml.safe_dump(told))
        self.start("alertmanager", "prometheus-alertmanager", "--config.file=alertmanager.yml",
                   "--cluster.listen-address=", f"--web.listen-address={alertmanager}", "--storage.path=amdata")

        watched = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
        watched["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
        text = yaml.safe_dump(watched).replace("alertmanager:9093", alertmanager)
        for name in SERVICES:
            text = text.replace(f"{name}:9464", f"127.0.0.1:{self.admin[name]}")
        if ":9464" in text:
            raise Failure("Prometheus is to read a service that is not one of the four")
        (self.directory / "prometheus.yml").write_text(text)
        (self.directory / "rules.yaml").write_text(faster((TOP / "k8s" / "monitoring" / "rules.yaml").read_text()))
        address = f"127.0.0.1:{free_port()}"
        self.prometheus = f"http://{address}/api/v1"
        self.start("prometheus", "prometheus", "--config.file=prometheus.yml", f"--web.listen-address={address}",
                   "--storage.tsdb.path=tsdb")

        def all_read():
            try:
                return self.value("count(up == 1)") == len(SERVICES) + 1
            except (urllib.error.URLError, ConnectionError):
                return False
        self.wait("Prometheus reads the services and Alertmanager", all_read)

    # What must be seen of an incident.

    def is_told(self, alert):
        self.wait(f"{alert} is delivered", lambda: self.receiver.newest(alert) == "firing", 90)

    def is_told_of_the_end(self, alert):
        self.wait(f"{alert} is resolved", lambda: self.receiver.newest(alert) == "resolved", 120)

    def panel(self, name):
        """The value that a panel shows; several queries: of the first."""
        return self.value(dict(reversed(list(panels())))[name])


def a_crm_fails(run):
    panel = "target: Unknown answers"
    run.wait("the panel shows no unknown answers", lambda: not run.panel(panel) > 0.1)
    fetch(run.simulator + "/_sim/faults", [{"target": "rest", "kind": "error", "probability": 1}])
    run.is_told("TributaryAnswersUnknown")
    run.wait("the panel shows it", lambda: run.panel(panel) > 0.5)
    if not run.all_ready():
        raise Failure("a service takes a CRM's errors for its own")
    run.say("and everybody is ready: the CRM's errors are the CRM's")
    fetch(run.simulator + "/_sim/faults", [])
    run.is_told_of_the_end("TributaryAnswersUnknown")
    run.wait("the panel shows that it is over", lambda: not run.panel(panel) > 0.1)


def what_waits_for_a_quota_calls_for_no_member(run):
    """Scaling is by what is unread: see k8s/components/autoscaling. What a quota holds up is pending."""
    text = (TOP / "k8s" / "components" / "autoscaling" / "scaled-objects.yaml").read_text()
    query = next(thing["spec"]["triggers"][0]["metadata"]["query"] for thing in yaml.safe_load_all(text)
                 if thing["metadata"]["name"] == "loader")
    run.wait("few records wait", lambda: run.value("sum(tributary_pending)") <= 8, 60)
    fetch(run.simulator + "/_sim/faults", [{"target": "rest", "kind": "throttle", "probability": 1}])
    run.wait("many records wait for the quota", lambda: run.value("sum(tributary_pending)") >= 20, 90)
    run.wait("and nothing is unread", lambda: run.value(query) == 0)
    if not run.value("sum(tributary_pending)") >= 20 or not run.value("sum(tributary_quota_refusals_total)") > 0:
        raise Failure("nothing waited for the quota any more")
    fetch(run.simulator + "/_sim/faults", [])


def a_token_ends_soon(run):
    panel = "tenant: Credentials end in"
    day = 86_400
    run.wait("the panel shows a credential that is good for a year", lambda: run.panel(panel) > 300 * day)
    run.apply(token_days=10)
    run.is_told("TributaryTokenEndsSoon")
    run.wait("the panel shows ten days", lambda: 8 * day < run.panel(panel) < 11 * day)
    said = run.tributary("status").stdout
    if "acme/crm: its credential is good until" not in said or "tributary apply" not in said:
        raise Failure(f"status says nothing of it: {said}")
    run.apply()
    run.is_told_of_the_end("TributaryTokenEndsSoon")


def a_service_dies(run):
    panel = "pipeline: Partitions held, and ready"
    held = "stage:tributary_assigned_partitions:sum{stage='loader'}"
    if not run.value(held) > 0:
        raise Failure(f"the panel {panel} shows no loader")
    process = run.services["loader"]
    run.forget(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run.is_told("TributaryServiceDown")
    run.wait("the panel shows that nobody holds the loader's partitions", lambda: not run.value(held) > 0)
    if run.ready("loader") != 0:
        raise Failure("a dead loader answers")
    run.start_service("loader")
    run.wait("the new loader is not ready at once", lambda: run.ready("loader") == 503, 30)
    run.is_told_of_the_end("TributaryServiceDown")
    run.wait("the loader is ready", lambda: run.ready("loader") == 200, 90)
    run.wait("the panel shows it", lambda: run.value(held) > 0)


def the_broker_dies(run):
    panel = "pipeline: Lease left"
    run.wait("the panel shows leases", lambda: run.panel(panel) > 0)
    run.broker.kill()
    run.is_told("TributaryLogAway")
    run.wait("the panel shows that no lease is left", lambda: run.panel(panel) == 0)
    for name in ("extractor", "loader"):
        run.wait(f"the {name} is not ready any more", lambda: run.ready(name) == 503)  # noqa: B023
    run.broker.start()
    run.broker.wait_until_it_answers()
    run.is_told_of_the_end("TributaryLogAway")
    run.wait("every service is ready again", run.all_ready, 120)
    run.wait("the panel shows leases again", lambda: run.panel(panel) > 0)


def nothing_was_lost(run):
    run.is_changing = False
    run.wait("the CRM is what the site's history makes of it",
             lambda: json.loads(fetch(run.simulator + "/_sim/judge?highlevel=0"))["mismatches"] == 0, 120)
    run.wait("tributary verify is good", lambda: run.tributary("verify").returncode == 0, 120)
    judged = json.loads(fetch(run.simulator + "/_sim/judge?highlevel=0"))
    if judged["duplicate_records"] or judged["regressions"]:
        raise Failure(f"{judged}")


def body(run):
    run.start_all()
    run.start_watching()
    run.wait("nothing fires", lambda: not run.firing(), 60)
    a_crm_fails(run)
    what_waits_for_a_quota_calls_for_no_member(run)
    a_token_ends_soon(run)
    a_service_dies(run)
    the_broker_dies(run)
    nothing_was_lost(run)


if __name__ == "__main__":
    sys.exit(run_test(__doc__.splitlines()[0], Installation, body))
