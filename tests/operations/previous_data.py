#!/usr/bin/env python3
"""Makes previous_data.tar.gz: what the previous version leaves on a disk, and what it says of it. Run by hand when
what older versions wrote is no longer to be read.

    previous_data.py --bin build/release/bin     (the simulator of this version; the rest is the previous one's)
"""

import json
import shutil
import signal
import subprocess
import sys

from upgrade_test import TOP, UpgradeRun
from dev_run import check, clients_at, run_test


def body(run):
    check(run.build_previous(), "this clone has no history")
    run.versions["tributary"] = run.previous
    access, run.simulator = run.add_simulator("acme", 33, 5)
    shutil.copy(run.previous.parent / "connector_files" / "rest.yaml", run.directory)
    text = run.tenant_yaml("acme", access).replace(f"{run.previous.parent}/connector_files/", "")
    run.start_dev(run.configure_dev(text))
    run.wait("settled", lambda: (run.status() or {}).get("settled"), seconds=90)
    verified = json.loads(run.call("tributary", "verify", "--json", "--data", "data").stdout)
    customer = sorted(clients_at(run.simulator), key=int)[0]
    traced = json.loads(run.call("tributary", "trace", f"acme/customers/{customer}", "--json", "--data", "data").stdout)
    check(run.end_dev(signal.SIGTERM) == 0, "it did not end well")
    run.write("verified.json", json.dumps({"checked": verified["checked"], "customer": customer,
                                           "record": traced["records"][0]}))
    files = ["verified.json", "tributary.yaml", "rest.yaml", "acme.chargify.key", "acme.rest.key", "data"]
    target = TOP / "tests" / "operations" / "previous_data.tar.gz"
    subprocess.run(["tar", "-C", str(run.directory), "--sparse", "--exclude=data/tls", "--owner=0", "--group=0",
                    "-czf", str(target), *files], check=True)
    run.say(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(run_test(__doc__, body, UpgradeRun))
