#!/usr/bin/env python3
"""Backups made while everything runs, and started from: of a `tributary dev` with its own log, and of an installation on
Kafka that loses control's database, every local copy, and all topics, in turn. Nothing is lost, there is no second
record, and only what changed behind a backup is written again. The commands are those of docs/guides/backup.md."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

from dev_run import check, clients_at, equals_fold, run_test
from run_end_to_end import fetch
from services_run import SERVICES, ServicesRun


class BackupRun(ServicesRun):
    def writes(self):
        """Done at the CRM; tokens and look-ups are none."""
        return fetch(self.url + "/_sim/state")["rest_applied"]

    def at_rest(self):
        self.wait("settled", lambda: (self.status() or {}).get("settled"), seconds=120)

    def run_command(self, *words, code=0):
        result = self.call("tributary", *map(str, words), check=False)
        check(result.returncode == code, f"{words}: exit {result.returncode}: {result.stdout}")
        return result.stdout


def start_restored(run, file):
    """As the page says: nothing is sent before every stream was read again."""
    begin = run.writes()
    file.write_text(file.read_text().replace("target: crm}", "target: crm, paused: true}"))
    run.start_dev(file)
    run.wait("each stream to be read again", lambda: len(run.streams()) > 3 and
             all(stream["settled"] for stream in run.streams().values()), seconds=90)
    time.sleep(2)
    check(run.writes() == begin, f"{run.writes() - begin} writes though every sync is paused")
    run.run_command("sync", "resume", "acme/clients", "--data", "data")
    run.at_rest()
    run.settle_dev()
    equals_fold(run.url)
    return run.writes() - begin


def embedded(run):
    """Copied again and again while it writes; each copy is whole, and the last one is started from."""
    access, run.url = run.add_simulator("acme", 5, 200)
    file = run.configure_dev(run.tenant_yaml("acme", access))
    run.reach = ("--data", "data")
    run.start_dev(file)
    run.at_rest()
    stop = threading.Event()

    def mutate():
        while not stop.wait(0.05):
            fetch(run.url + "/_sim/mutate", {"count": 5})
    changing = threading.Thread(target=mutate)
    changing.start()
    try:
        before = {}
        for number in range(4):
            before = clients_at(run.url)
            run.run_command("backup", "create", f"backup-{number}", "--data", "data")
    finally:
        stop.set()
        changing.join()
    counts = []
    for number in range(4):
        found = json.loads(run.run_command("backup", "check", f"backup-{number}", "--master-key", "data/master.key", "--json"))
        check(found["tenants"] == 1 and found["unsealed"] == found["credentials"] == 2, f"{found}")
        counts.append(found["log_records"])
    check(counts[0] > 0, f"{counts}")
    run.at_rest()
    # It goes on as if nobody had looked.
    run.settle_dev()
    run.wait("the CRM to have what the site has",
             lambda: fetch(run.url + "/_sim/judge?highlevel=0")["mismatches"] == 0)
    run.at_rest()
    run.end_dev(signal.SIGKILL)

    # A copy by hand of a file that is being written is not one state; that of ours is.
    key = run.directory / "master.key"
    shutil.copy(run.directory / "data" / "master.key", key)
    shutil.move(run.directory / "data", run.directory / "lost")
    run.run_command("backup", "restore", "backup-3", "--into", "data", "--master-key", key)
    after = clients_at(run.url)
    changed = sum(1 for client, record in after.items() if before.get(client) != record)
    written = start_restored(run, file)
    now = clients_at(run.url)
    differ = [(after.get(client), now.get(client)) for client in sorted({*after, *now}) if after.get(client) != now.get(client)]
    check(not differ, f"{len(differ)} records were changed by the restore: {differ[:2]}")
    # What the copy could not know of, and nothing else.
    check(written <= changed, f"{written} writes, though {changed} records had changed behind the backup")
    run.say(f"{written} writes for {changed} records that changed behind the backup")

    # At rest there is nothing to write at all.
    run.run_command("backup", "create", "backup-rest", "--data", "data")
    run.end_dev(signal.SIGTERM)
    shutil.rmtree(run.directory / "data")
    run.run_command("backup", "restore", "backup-rest", "--into", "data", "--master-key", key)
    written = start_restored(run, file)
    check(written == 0, f"{written} writes after a restore at rest")

    # What is refused.
    run.run_command("backup", "create", "backup-rest", "--data", "data", code=1)
    run.run_command("backup", "restore", "backup-rest", "--into", "data", code=2)
    run.run_command("backup", "restore", "backup-rest", "--into", "data", "--master-key", key, code=1)
    run.run_command("backup", "restore", "backup-rest", code=2)
    run.run_command("backup", "check", "backup-rest", "--master-key", "none.key", code=1)
    damaged = run.directory / "backup-0" / "control.db"
    content = bytearray(damaged.read_bytes())
    content[4096:8192] = bytes(4096)
    damaged.write_bytes(content)
    run.run_command("backup", "check", "backup-0", code=1)

    # One that was killed in the middle of the log is none.
    bytes_max = 25 * 4096
    killed = subprocess.run([run.program("tributary"), "backup", "create", "backup-killed", "--data", "data"],
                            cwd=run.directory, capture_output=True, check=False, timeout=60,
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max)))
    check(killed.returncode == -signal.SIGXFSZ, f"it ended with {killed.returncode}")
    run.run_command("backup", "check", "backup-killed", code=1)
    run.end_dev(signal.SIGTERM)
    del run.reach


def kafka(run):
    run.configure()
    access, run.url = run.add_simulator("acme", 6, 30)
    for name in SERVICES:
        run.start_service(name)
    run.apply("tenants:\n" + run.tenant_yaml("acme", access))
    run.at_rest()
    run.run_command("backup", "create", "backup-kafka", *run.reach)

    def restarted(lose):
        for name in reversed(SERVICES):
            run.end_service(name, signal.SIGTERM)
        lose()
        begin = run.writes()
        for name in SERVICES:
            run.start_service(name)
        run.at_rest()
        equals_fold(run.url)
        run.wait("verified", lambda: run.tributary("verify", "--json")[0] == 0)
        return run.writes() - begin

    def control_database():
        (run.directory / "control.db").unlink()
        run.run_command("backup", "restore", "backup-kafka", "--database", run.directory / "control.db",
                      "--master-key", run.directory / "master.key")

    def local_copies():
        for name in SERVICES:
            shutil.rmtree(run.directory / f"data-{name}", ignore_errors=True)

    def topics():
        local_copies()
        # As a broker with an empty disk: none of the topics is there.
        for name in (*SERVICES, "tributary"):
            yaml = run.directory / f"{name}.yaml"
            yaml.write_text(yaml.read_text().replace(f"topic_prefix: {run.prefix}", f"topic_prefix: {run.prefix}again."))
        run.run_command("topics", "create", "--config", "control.yaml")

    for what, lose in (("control's database", control_database), ("local copies", local_copies)):
        written = restarted(lose)
        check(written == 0, f"{written} writes after the loss of {what}")
        run.say(f"{what} lost: {written} writes")
    records = clients_at(run.url)
    written = restarted(topics)
    check(clients_at(run.url) == records, "records differ after the loss of the topics")
    check(written <= len(records), f"{written} writes for {len(records)} records")
    run.say(f"topics lost: {written} writes for {len(records)} records")


    # To an installation with another master key: a `tributary dev` that knows nothing of the tenant.
    run.write("passphrase", "correct horse battery staple")
    run.run_command("export", "acme", "acme.json", "--with-credentials", "--passphrase-file", "passphrase", *run.reach)
    exported = (run.directory / "acme.json").read_text()
    for side in ("chargify", "rest"):
        check(access[side]["key"] not in exported, "a credential is in the clear")
    run.run_command("import", "acme.json", "--passphrase-file", "passphrase", *run.reach, code=78)
    for name in reversed(SERVICES):
        run.end_service(name, signal.SIGTERM)
    run.reach = ("--data", "elsewhere")
    other = run.write("other.yaml", "extractor: {poll_interval: 500ms, visibility_lag: 2s}\n"
                                    "loader: {request_timeout: 1500ms}\n")
    run.start("tributary", "dev", "--no-simulator", "--config", str(other), "--data", "elsewhere", label="elsewhere")
    run.wait("it to answer", lambda: run.status() is not None)
    records = clients_at(run.url)
    run.run_command("import", "acme.json", "--passphrase-file", "passphrase", *run.reach)
    run.wait("the first read there", lambda: (run.sync("acme") or {}).get("applied", 0) >= len(records), seconds=90)
    run.at_rest()
    equals_fold(run.url)
    check(clients_at(run.url) == records, "records differ after the tenant moved")


def body(run):
    run.require_kafka()
    embedded(run)
    kafka(run)


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, BackupRun))
