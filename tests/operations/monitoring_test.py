#!/usr/bin/env python3
"""A real Prometheus with our rules scrapes a running demo.

    monitoring_test.py --bin build/release/bin [--keep]

Every query of every board returns a finite series, on metrics that exist. Then a CRM answers with errors,
the site switches a webhook endpoint off, and the process stands still: the right alert fires and clears, and the right panel moves. An hour of the
rules is 36 seconds here, so that they can be waited for. Needs Debian's prometheus.
"""

import argparse
import json
import math
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "end_to_end"))
from run_end_to_end import free_port  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
MONITORING = TOP / "k8s" / "monitoring"
MILLISECONDS = {"m": 600, "h": 36_000, "d": 864_000}


class Failure(Exception):
    pass


def fetch(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=30) as answer:
        return answer.read().decode()


def faster(rules):
    """The rules with shorter windows and waits; `5 minutes` in words and 300 s of freshness stay."""
    def shorten(match):
        return f"{match.group(1)}{int(match.group(2)) * MILLISECONDS[match.group(3)]}ms"
    return re.sub(r"(\[|for: )(\d+)([mhd])\b", shorten, rules)


def panels(is_fast=True):
    """Each query, as Grafana asks it: of rules that are `faster`, or of those that there are."""
    for file in sorted((MONITORING / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "10s" if is_fast else "2m").replace("$tenant", ".*")
                if is_fast:
                    # Steps of a subquery are whole ones of the clock's: the first may be five minutes away.
                    query = query.replace(":5m]", ":3s]")
                yield f"{file.stem}: {panel['title']}", query


class Run:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.processes = []
        self.began = time.monotonic()

    def say(self, text):
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def start(self, label, *command):
        with open(self.directory / f"{label}.log", "wb") as log:
            process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def wait(self, what, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                self.say(what)
                return found
            if time.monotonic() > deadline:
                raise Failure(f"waited {seconds} s for: {what}")
            for process in self.processes:
                if process.poll() is not None:
                    raise Failure(f"{process.args[0]} ended with {process.returncode}")
            time.sleep(0.3)

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_demo(self):
        self.demo = self.start("dev", str(self.options.bin / "tributary"), "dev", "--customers", "100",
                               "--data", "data")
        log = self.directory / "dev.log"

        def urls():
            found = dict(re.findall(r"^ +(chargify|metrics|ready) +(http://\S+)$", log.read_text(), re.M))
            return found if len(found) == 3 else None
        self.urls = self.wait("the demo runs", urls)

    def start_prometheus(self):
        program = shutil.which("prometheus")
        if program is None:
            raise Failure("prometheus is missing; ./dev packages test installs it")
        (self.directory / "rules.yaml").write_text(faster((MONITORING / "rules.yaml").read_text()))
        target = urllib.parse.urlsplit(self.urls["metrics"]).netloc
        (self.directory / "prometheus.yml").write_text(
            "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n"
            "rule_files: [rules.yaml]\n"
            f"scrape_configs: [{{job_name: tributary, static_configs: [{{targets: ['{target}']}}]}}]\n")
        address = f"127.0.0.1:{free_port()}"
        self.prometheus = f"http://{address}/api/v1"
        self.start("prometheus", program, "--config.file=prometheus.yml", f"--web.listen-address={address}",
                   "--storage.tsdb.path=tsdb")

        def answers():
            try:
                return self.query("up == 1")
            except (urllib.error.URLError, ConnectionError):
                return False
        self.wait("Prometheus reads it", answers)

    def ready_of(self, url):
        """The status of a `/readyz`; 0: nobody answers."""
        try:
            fetch(url)
            return 200
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def query(self, expression):
        try:
            answer = json.loads(fetch(f"{self.prometheus}/query?" + urllib.parse.urlencode({"query": expression})))
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return []
            raise Failure(f"{expression}: {error.read().decode()}") from error
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    def value(self, expression):
        return max((value for _, value in self.query(expression)), default=math.nan)

    def firing(self):
        return {labels["alertname"] for labels, _ in self.query('ALERTS{alertstate="firing"}')}

    def readiness(self):
        return self.ready_of(self.urls["ready"])


def metrics_exist(run):
    shown = set(re.findall(r"^# TYPE (\S+)", fetch(run.urls["metrics"]), re.M))
    rules = (MONITORING / "rules.yaml").read_text()
    recorded = set(re.findall(r"record: (\S+)", rules))
    text = "\n".join(re.findall(r"expr: (.*(?:\n {10}.*)*)", rules)) + "\n".join(query for _, query in panels())
    text = re.sub(r'"[^"]*"', '""', text)
    used = set(re.findall(r"\b(?:\w+:)?(?:tributary|process)_\w+(?::\w+)*\b|\btributary:\w+(?::\w+)*\b", text))
    unknown = [name for name in used - recorded if re.sub(r"_(bucket|sum|count)$", "", name) not in shown]
    if unknown or len(used) < 30:
        raise Failure(f"no such metrics: {sorted(unknown)} (of {len(used)} used)")
    run.say(f"the {len(used)} metrics of rules and boards exist")


def queries_are_finite(run, is_fast=True, seconds=60, without=()):
    open_queries = {(panel, query): "not asked" for panel, query in panels(is_fast) if panel not in without}

    def ask():
        for panel, query in list(open_queries):
            series = run.query(query)
            if series and all(math.isfinite(value) for _, value in series):
                del open_queries[panel, query]
            else:
                open_queries[panel, query] = str(series)[:200]
        return not open_queries
    count = len(open_queries)
    try:
        run.wait(f"each of {count} queries returns a finite series", ask, seconds)
    except Failure as failure:
        raise Failure(f"{failure}\n" + "\n".join(f"{k}: {v}" for k, v in open_queries.items())) from failure


def errors_of_a_crm_are_seen(run):
    panel = dict(panels())["target: Unknown answers"]
    run.wait("nothing fires", lambda: not run.firing(), 30)
    if run.value(panel) > 0.1:
        raise Failure("the CRM fails before it is told to")
    faults = run.urls["chargify"] + "/_sim/faults"
    fetch(faults, [{"target": "highlevel", "kind": "error", "probability": 1}])
    run.wait("the panel of unknown answers moves", lambda: run.value(panel) > 0.5)
    run.wait("TributaryAnswersUnknown fires", lambda: "TributaryAnswersUnknown" in run.firing())
    fetch(faults, [])
    run.wait("and clears", lambda: "TributaryAnswersUnknown" not in run.firing())


def a_webhook_endpoint_that_is_switched_off_is_seen(run):
    alert = "TributaryWebhookEndpointDisabled"
    disabled = 'sum(tributary_webhook_endpoints{status="disabled"})'
    run.wait("no endpoint is switched off", lambda: run.value(disabled) == 0)
    switch = run.urls["chargify"] + "/_sim/endpoints"
    fetch(switch, {"id": 12, "status": "disabled"})
    run.wait("the extractor sees one switched off", lambda: run.value(disabled) == 1)
    run.wait(f"{alert} fires", lambda: alert in run.firing())
    said = subprocess.run([str(run.options.bin / "tributary"), "status", "--data", "data"], cwd=run.directory,
                          text=True, stdout=subprocess.PIPE, check=True).stdout
    if "0 paused, 1 disabled; Tributary itself misses nothing" not in said:
        raise Failure(f"status says nothing of it: {said}")
    fetch(switch, {"id": 12, "status": "enabled"})
    run.wait("and clears", lambda: alert not in run.firing())


def a_process_that_stands_still_is_seen(run):
    run.demo.send_signal(signal.SIGSTOP)
    run.wait("TributaryServiceDown fires", lambda: "TributaryServiceDown" in run.firing(), 30)
    run.demo.send_signal(signal.SIGCONT)
    run.wait("and clears", lambda: "TributaryServiceDown" not in run.firing(), 30)
    run.wait("the process is ready again", lambda: run.readiness() == 200, 30)


def run_test(description, kind, body):
    """Calls `body` with a run in a directory of its own, which stays when something is wrong. The
    exit code."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bin", required=True, type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--keep", action="store_true", help="keep the work directory")
    options = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tributary-monitoring-"))
    run = kind(options, directory)
    problem = None
    try:
        body(run)
    except (Failure, OSError, ValueError, KeyError, subprocess.SubprocessError) as failure:
        problem = f"{type(failure).__name__}: {failure}"
    finally:
        run.stop()
    if problem:
        print(f"FAILED: {problem}\nLogs: {directory}", file=sys.stderr)
        return 1
    if not options.keep:
        shutil.rmtree(directory)
    run.say("good")
    return 0


def body(run):
    run.start_demo()
    run.start_prometheus()
    metrics_exist(run)
    queries_are_finite(run)
    errors_of_a_crm_are_seen(run)
    a_webhook_endpoint_that_is_switched_off_is_seen(run)
    a_process_that_stands_still_is_seen(run)


if __name__ == "__main__":
    sys.exit(run_test(__doc__.splitlines()[0], Run, body))
