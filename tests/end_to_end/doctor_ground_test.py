#!/usr/bin/env python3
"""`tributary doctor` on good ground and on broken ground of each kind: configuration, disk, broker, clock, credentials,
names, TLS, control. Each is found where it is, with a fix, and told by the exit code; no secret is shown."""

import base64
import json
import os
import resource
import subprocess
import sys
import time

from dev_run import CONNECTOR_FILES, check, run_test
from services_run import ServicesRun


class DoctorRun(ServicesRun):
    def doctor(self, *words, limit=None):
        def limited():
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        result = subprocess.run(
            ["env", "--ignore-signal=XFSZ", self.program("tributary"), "doctor", "--json", *map(str, words)],
            cwd=self.directory, text=True, capture_output=True, timeout=90, check=False, preexec_fn=limited)
        for secret in self.secrets:
            check(secret not in result.stdout + result.stderr, "a secret is shown")
        said = json.loads(result.stdout)
        problems = [finding for finding in said["findings"] if finding["severity"] != "good"]
        for finding in problems:
            check(finding["fix"], f"without a fix: {finding}")
        errors = [finding for finding in problems if finding["severity"] == "error"]
        check(said["errors"] == len(errors) and said["ok"] == (not errors), f"{said}")
        check((result.returncode == 0) == (not errors), f"exit {result.returncode}: {said}")
        return result.returncode, said["findings"]

    def found(self, severity, kind, place, detail, *words, limit=None, code=None):
        """One finding of that kind is there, in words of its own."""
        returned, findings = self.doctor(*words, limit=limit)
        matching = [finding for finding in findings
                    if finding["severity"] == severity and finding["check"] == kind and
                    place in finding["place"] and detail in finding["detail"]]
        check(len(matching) == 1, f"{severity} {kind} {place} {detail!r}: {json.dumps(findings, indent=1)}")
        check(code is None or returned == code, f"exit {returned}")
        self.say(f"{kind}: {matching[0]['detail']}")
        return findings


def token(seconds):
    """A JWT that ends so many seconds from now."""
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    return ".".join((part({"alg": "none"}), part({"exp": int(time.time()) + seconds}), "c2ln"))


def tenants(access, billing="", crm="", key="chargify.key"):
    chargify = billing or f"http://127.0.0.1:{access['chargify']['port']}"
    rest = crm or f"http://127.0.0.1:{access['rest']['port']}"
    return f"""tenants:
- name: acme
  connections:
  - name: billing
    integration: chargify
    url: {chargify}
    {"allow_insecure_loopback: true" if "127.0.0.1" in chargify and "https" not in chargify else ""}
    credentials: {{api_key: {{key_file: {key}}}}}
  - name: crm
    integration: rest
    connector_file: {CONNECTOR_FILES}/rest.yaml
    url: {rest}
    allow_insecure_loopback: true
    credentials: {{api_key: {{key_file: rest.key}}}}
  - name: leads
    integration: highlevel
    url: http://127.0.0.1:{access['highlevel']['port']}
    allow_insecure_loopback: true
    credentials: {{token: {{key_file: highlevel.key}}}}
    settings: {{location: {access['highlevel']['location']}}}
  syncs:
  - {{name: clients, source: billing, target: crm}}
"""


def body(run):
    run.require_kafka()
    access, _ = run.add_simulator("acme", 3, 5)
    run.secrets = [access["chargify"]["key"], access["rest"]["key"], access["highlevel"]["token"]]
    run.write("chargify.key", access["chargify"]["key"])
    run.write("rest.key", access["rest"]["key"])
    run.write("highlevel.key", access["highlevel"]["token"])
    (run.directory / "data").mkdir(mode=0o700)

    def config(text, data="data"):
        return run.write("doctor.yaml", f"log: {{data_directory: {data}}}\n"
                                        f"control: {{database: {data}/control.db}}\n{text}")

    # Good ground. The disk of whoever runs this may be slow or nearly full.
    _, findings = run.doctor("--config", config(tenants(access)))
    bad = [finding for finding in findings if finding["severity"] != "good" and finding["check"] != "disk"]
    check(not bad, f"{bad}")
    for name in ("billing", "crm", "leads"):
        for kind in ("reachability", "clock", "credentials"):
            check(any(finding["check"] == kind and finding["place"] == f"acme/{name}" for finding in findings),
                  f"{kind} of {name} was not looked at")

    # Configuration.
    run.found("error", "configuration", "doctor.yaml", "partitons", "--config",
              run.write("doctor.yaml", "log: {partitons: 3}\n"), code=78)
    run.found("error", "configuration", "none.yaml", "", "--config", "none.yaml", code=78)

    # Disk: no directory, and one that takes nothing.
    run.write("file", "x")
    run.found("error", "disk", "file/data", "is no directory", "--config", config("", data="file/data"))
    run.found("error", "disk", "data", "writing durably fails: File too large", "--config", config(""), limit=4096)

    # The key that unseals credentials is beside control's database, wherever the log's data is.
    (run.directory / "control").mkdir(mode=0o700)
    run.write("control/master.key", "0" * 44).chmod(0o644)
    run.found("error", "disk", "control/master.key", "others may read the key", "--config",
              run.write("doctor.yaml", "log: {data_directory: data}\ncontrol: {database: control/control.db}\n"))

    # Credentials: refused, missing, open to others, at its end.
    run.write("wrong.key", "wrong")
    run.found("error", "credentials", "acme/billing", "refused", "--config", config(tenants(access, key="wrong.key")))
    run.found("error", "configuration", "doctor.yaml", "cannot read the file", "--config",
              config(tenants(access, key="none.key")), code=78)
    run.write("open.key", access["chargify"]["key"]).chmod(0o644)
    run.found("error", "credentials", "acme/billing", "open.key", "--config", config(tenants(access, key="open.key")))
    run.write("rest.key", "wrong")
    run.found("error", "credentials", "acme/crm", "refused", "--config", config(tenants(access)))
    run.write("rest.key", access["rest"]["key"])
    run.secrets += [token(3600), token(-3600)]
    run.write("highlevel.key", run.secrets[-2])
    run.found("warning", "credentials", "acme/leads", "the credential ends", "--config", config(tenants(access)))
    run.found("error", "credentials", "acme/leads", "refused", "--config", config(tenants(access)))
    run.write("highlevel.key", run.secrets[-1])
    run.found("error", "credentials", "acme/leads", "the credential ended", "--config", config(tenants(access)))
    run.write("highlevel.key", access["highlevel"]["token"])

    # Reachability: a name, a port, a server that speaks no TLS.
    run.found("error", "reachability", "acme/billing", "is not known", "--config",
              config(tenants(access, billing="https://nobody.invalid")))
    run.found("error", "reachability", "acme/crm", "refused", "--config",
              config(tenants(access, crm="http://127.0.0.1:1")))
    run.found("error", "reachability", "acme/billing", "SSL", "--config",
              config(tenants(access, billing=f"https://127.0.0.1:{access['chargify']['port']}")))

    # Clock.
    late = run.start("simulator", "--listen", "127.0.0.1:0", "--tenant", "acme", "--customers", "1",
                     "--clock-offset", "-7200", label="simulator-late")
    off = json.loads(late.stdout.readline())
    run.write("late.key", off["chargify"]["key"])
    run.found("error", "clock", "acme/billing", "behind this machine's", "--config",
              config(tenants(access, billing=f"http://127.0.0.1:{off['chargify']['port']}", key="late.key")))

    # Broker: nobody there, no topics, not founded, another number of partitions.
    prefix = f"doctor-{os.getpid()}-{int(time.time())}."

    def kafka(servers=None, partitions=2):
        return run.write("kafka.yaml", f"""log:
  kind: kafka
  bootstrap_servers: {servers or os.environ['TRIBUTARY_KAFKA']}
  topic_prefix: {prefix}
  partitions: {partitions}
  data_directory: data
control: {{database: data/control.db}}
""")
    run.found("error", "broker", "127.0.0.1:1", "refused", "--config", kafka("127.0.0.1:1"))
    run.found("error", "broker", "nobody.invalid", "is not known", "--config", kafka("nobody.invalid:9092"))
    run.found("error", "broker", f"topics {prefix}*", "is not there", "--config", kafka())
    run.call("tributary", "topics", "create", "--config", str(kafka()))
    run.found("good", "broker", f"topics {prefix}*", "2 partitions, founded", "--config", kafka())
    run.found("error", "broker", f"topics {prefix}*", "log.partitions says 3", "--config", kafka(partitions=3))

    # Control: nobody, certificates that are not there; then a running one.
    run.found("error", "control", "none", "no `tributary dev` runs", "--data", "none")
    run.found("error", "control", "127.0.0.1:1", "cannot be read", "--control", "127.0.0.1:1", "--tls-dir", "none")
    run.call("tributary", "tls", "init", str(run.directory / "tls"))
    run.found("error", "control", "127.0.0.1:1", "does not answer", "--control", "127.0.0.1:1",
              "--tls-dir", "tls/tributary")
    (run.directory / "data").rmdir()
    run.reach = ("--data", "data")
    run.start_dev(config(tenants(access)))
    run.wait("all attached", lambda: not (run.status() or {}).get("missing_services", ["?"]))
    findings = run.found("good", "control", "data", "1 tenants", "--data", "data")
    check(any(finding["place"] == "acme/leads" and finding["check"] == "clock" for finding in findings), f"{findings}")


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, DoctorRun))
