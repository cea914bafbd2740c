#!/usr/bin/env python3
"""An installation gets another number of partitions, and the CRM is written nothing for it.

    topics_migrate_test.py --bin build/release/bin

On the broker at $TRIBUTARY_KAFKA the sites of two tenants are kept in step with two CRMs on 3 partitions,
with notes by rules. `tributary topics migrate` refuses while a service runs, or when one was killed. Then it
moves everything to 8 partitions, is killed on the way again and again, and ends well. The old topics let
nobody in. On the new ones the services come to rest, `tributary verify` is good, and by the simulators' own
count nothing was written; then a change arrives as before. In front of all that one process on an embedded
log becomes services on Kafka by the same command.
"""

import json
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "end_to_end")]

from dev_run import DevRun, check, run_test  # noqa: E402
from run_end_to_end import fetch  # noqa: E402
from services_run import SERVICES, ServicesRun  # noqa: E402

CUSTOMERS = 80


class MigrateRun(ServicesRun):
    partitions = 3
    running = {}

    def tenant_yaml(self, name, access, **others):
        """With HighLevel beside the example, whose default rules write notes."""
        text = super().tenant_yaml(name, access, **others)
        self.write(f"{name}.highlevel.key", access["highlevel"]["token"])
        return text.replace("  syncs:\n", f"""  - name: high
    integration: highlevel
    url: http://127.0.0.1:{access['highlevel']['port']}
    allow_insecure_loopback: true
    credentials: {{token: {{key_file: {name}.highlevel.key}}}}
    settings: {{location: {access['highlevel']['location']}, settle: 2s, index_lag: 1s}}
    concurrency: 32
    requests_per_second: "1500"
  syncs:
  - {{name: contacts, source: billing, target: high}}
""")

    def requests(self):
        for simulator in self.simulators:
            with urllib.request.urlopen(simulator + "/_sim/requests", timeout=60) as answer:
                yield from map(json.loads, answer.read().decode().splitlines())

    def writes(self):
        """What has changed anything at a CRM."""
        return sum(1 for request in self.requests() if request["target"] != "chargify" and request["applied"])

    def notes(self):
        return sum(1 for request in self.requests() if request["applied"] and request["path"].endswith("/notes"))

    def ready(self, name):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_ports[name]}/readyz", timeout=5) as answer:
                return answer.status, ""
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def start_services(self):
        for name in SERVICES:
            self.start_service(name)
        self.wait("every service is ready", lambda: all(self.ready(name)[0] == 200 for name in SERVICES), seconds=120)

    def end_services(self):
        for name in ("extractor", "transformer", "loader", "control"):
            check(self.end_service(name, signal.SIGTERM) == 0, f"{name} did not end well")

    def are_equal(self):
        return all(fetch(simulator + "/_sim/judge")["mismatches"] == 0 for simulator in self.simulators)

    def check_equal(self):
        for simulator in self.simulators:
            judged = fetch(simulator + "/_sim/judge")
            check(judged["mismatches"] == 0 and judged["duplicate_records"] == 0 and judged["regressions"] == 0,
                  f"{judged}")

    def status(self):
        return super().status() if self.running else DevRun.status(self)

    def command(self, *arguments, config="control.yaml"):
        return [self.program("tributary"), "topics", "migrate", "--config", config, *arguments]

    def migrate(self, *arguments, **others):
        """Exit code and what it said."""
        result = subprocess.run(self.command(*arguments, **others), cwd=self.directory, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=120, check=False)
        return result.returncode, result.stdout

    def migrate_until(self, words):
        """Killed as soon as it says that."""
        process = subprocess.Popen(self.command("--to", "new.yaml"), cwd=self.directory, text=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = ""
        while words not in said:
            line = process.stderr.readline()
            check(line, f"it never said {words!r}: {said}")
            said += line
        process.kill()
        process.wait()
        process.stderr.close()


def from_one_process_to_services(run):
    """What began as `tributary dev` on an embedded log goes on as services on Kafka."""
    access, simulator = run.add_simulator("initech", 53, CUSTOMERS)
    run.simulators = [simulator]
    run.start_dev(run.configure_dev(run.tenant_yaml("initech", access), more="log: {partitions: 2}\n"))
    run.wait("one process has written everything", lambda: run.writes() >= 2 * CUSTOMERS and run.are_equal(),
             seconds=90)
    run.settle_dev()
    check(run.end_dev(signal.SIGTERM) == 0, "tributary dev did not end well")
    writes = run.writes()
    run.configure()
    # Control goes on with the database and the key that it has.
    for name in SERVICES + ("tributary",):
        text = (run.directory / f"{name}.yaml").read_text()
        run.write(f"{name}.yaml", text.replace(f"{run.directory}/control.db", f"{run.directory}/data/control.db")
                  .replace(f"{run.directory}/master.key", f"{run.directory}/data/master.key"))
    run.write("old.yaml", f"log: {{kind: embedded, data_directory: {run.directory}/data, partitions: 2}}\n")
    code, said = run.migrate("--to", "control.yaml", config="old.yaml")
    check(code == 0, f"from an embedded log: exit {code}: {said}")
    run.start_services()
    run.wait_until_verified(seconds=120)
    time.sleep(3)  # Whoever would write without a reason does it by now.
    check(run.writes() == writes, f"{run.writes() - writes} writes for another log")
    fetch(simulator + "/_sim/mutate", {"count": 20})
    run.wait("a change arrives by Kafka", lambda: run.writes() > writes and run.are_equal())
    run.end_services()


def body(run):
    run.require_kafka()
    from_one_process_to_services(run)
    run.configure()
    run.simulators, tenants = [], ""
    for name, seed in (("acme", 51), ("globex", 52)):
        access, simulator = run.add_simulator(name, seed, CUSTOMERS)
        run.simulators.append(simulator)
        tenants += run.tenant_yaml(name, access)
    run.start_services()
    run.apply("tenants:\n" + tenants)
    run.wait("everything is written", lambda: run.writes() >= 4 * CUSTOMERS and run.are_equal(), seconds=120)
    for simulator in run.simulators:
        fetch(simulator + "/_sim/mutate", {"count": 300})
    run.wait("changes are written, and notes", lambda: run.are_equal() and run.notes() > 5, seconds=120)
    run.wait_until_verified()
    before = run.tributary("verify", "--json")[1]

    # As little as it takes: prefix and count.
    old = (run.directory / "control.yaml").read_text()
    new_prefix = run.prefix + "g2."
    run.write("new.yaml", old.replace(f"topic_prefix: {run.prefix}", f"topic_prefix: {new_prefix}")
              .replace("partitions: 3", "partitions: 8"))
    code, said = run.migrate("--to", "control.yaml")
    check(code == 78 and "the same topics" in said, f"to itself: exit {code}: {said}")
    code, said = run.migrate("--to", "new.yaml")
    check(code != 0 and ("end every service" in said or "not at rest" in said), f"under way: exit {code}: {said}")
    run.end_service("loader", signal.SIGKILL)
    for name in ("extractor", "transformer", "control"):
        run.end_service(name, signal.SIGTERM)
    code, said = run.migrate("--to", "new.yaml")
    check(code != 0 and "started once more" in said, f"after a kill: exit {code}: {said}")
    run.say("it refuses while somebody owns a partition, or was killed")
    run.start_services()
    run.wait_until_verified()
    run.end_services()
    writes = run.writes()

    # Killed on the way, and begun again; MigrationTest stops it at each of its writes.
    for words in ("closing the old topics", "copying changes", "copying commands", "comparing"):
        run.migrate_until(words)
    # Nobody gets in by the old topics, whatever stands in them by then.
    run.start_service("control")
    run.start_service("loader")
    run.wait("the loader is kept out of the old topics",
             lambda: run.ready("loader")[0] == 503 and "generation of" in run.ready("loader")[1], seconds=60)
    run.end_service("loader", signal.SIGTERM)
    run.end_service("control", signal.SIGTERM)
    # Given back, they work as before; and the next attempt needs other topics.
    code, said = run.migrate("--reopen")
    check(code == 0, f"--reopen: exit {code}: {said}")
    run.start_services()
    run.wait_until_verified()
    check(run.writes() == writes, "something was written after the topics were given back")
    run.end_services()
    code, said = run.migrate("--to", "new.yaml")
    check(code != 0 and "another attempt" in said, f"to topics of another attempt: exit {code}: {said}")
    code, said = run.migrate("--reopen")
    check(code == 0, f"--reopen: exit {code}: {said}")
    new_prefix = run.prefix + "g3."
    run.write("new.yaml", (run.directory / "new.yaml").read_text().replace(f"{run.prefix}g2.", new_prefix))
    run.migrate_until("copying records")
    code, said = run.migrate("--to", "new.yaml")
    check(code == 0, f"migrate: exit {code}: {said}")
    run.say(said.strip().split("\n")[-2])

    # The services by their new configuration, with the copies that they have.
    for name in SERVICES + ("tributary",):
        text = (run.directory / f"{name}.yaml").read_text()
        run.write(f"{name}.yaml", text.replace(f"topic_prefix: {run.prefix}\n", f"topic_prefix: {new_prefix}\n")
                  .replace("partitions: 3", "partitions: 8"))
    run.start_services()
    run.wait_until_verified(seconds=120)
    time.sleep(3)  # Whoever would write without a reason does it by now.
    check(run.writes() == writes, f"{run.writes() - writes} writes for another number of partitions")
    after = run.tributary("verify", "--json")[1]
    was, now = json.loads(before), json.loads(after)
    check(now["checked"] >= was["checked"] > 2 * CUSTOMERS, f"checked {now['checked']} after {was['checked']}")
    run.check_equal()
    for simulator in run.simulators:
        fetch(simulator + "/_sim/mutate", {"count": 30})
    run.wait("changes are written as before", lambda: run.writes() > writes and run.are_equal())
    run.wait_until_verified()
    run.check_equal()


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, MigrateRun))
