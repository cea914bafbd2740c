#!/usr/bin/env python3
"""How long a service is not ready when it is started again, with a filled log behind it.

    restart.py --bin build/release/bin [--customers 1000000] [--batch] [--service S]… [--json]

Moves bare customers to the `rest` example first (whole_job.py). Then each service that keeps local
copies is ended and started: in good order or by SIGKILL, with its copies or without. Seconds are to the
first 200 of /readyz. After a SIGKILL the loader waits out the lease of its predecessor (V + P, 15 s by
default), unless a lock of this host proves it dead. The broker is the one at $TRIBUTARY_KAFKA.
"""

import argparse
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request

import whole_job
from whole_job import run_end_to_end

LIMIT_S = 300
SERVICES = ("extractor", "transformer", "loader")


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def restart(job, name, how, keeps_copies):
    process = dict(job.processes)[name]
    process.send_signal(how)
    process.wait(60)
    job.processes = [(label, each) for label, each in job.processes if label != name]
    if not keeps_copies:
        shutil.rmtree(job.directory / f"data-{name}")
    began = time.monotonic()
    pid = job.start(name, "--config", f"{name}.yaml").pid
    while not is_ready(job.ports["admin " + name]):
        if time.monotonic() - began > LIMIT_S:
            raise run_end_to_end.Failure(f"{name} is not ready after {LIMIT_S} s")
        time.sleep(0.02)
    took = time.monotonic() - began
    return {"service": name, "ended_by": how.name, "copies": "kept" if keeps_copies else "lost",
            "ready_after_s": round(took, 2), "cpu_s": round(whole_job.cpu_seconds(pid), 2),
            "anonymous_megabytes": round(whole_job.anonymous_megabytes(pid), 1)}


def measure(job):
    job.options.bare = True
    job.start_services()
    report = job.load()
    for name in SERVICES:
        if not is_ready(job.ports["admin " + name]):
            raise run_end_to_end.Failure(f"{name} is not ready before anything was ended")
    before = run_end_to_end.fetch(job.simulator + "/_sim/state")["rest_requests"]
    report["restarts"] = [restart(job, name, how, keeps_copies)
                          for name in job.options.service or SERVICES
                          for how, keeps_copies in ((signal.SIGTERM, True), (signal.SIGKILL, True),
                                                    (signal.SIGKILL, False))]
    time.sleep(5)
    after = run_end_to_end.fetch(job.simulator + "/_sim/state")["rest_requests"]
    report["writes_by_restarts"] = after - before
    report["verify"] = job.verify()
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--service", action="append", choices=SERVICES,
                        help="only this one; may be repeated")
    sys.exit(whole_job.run(whole_job.options_of(parser), measure))
