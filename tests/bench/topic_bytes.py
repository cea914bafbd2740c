#!/usr/bin/env python3
"""What a customer takes of the broker's disk and of a service's.

    topic_bytes.py --bin build/release/bin [--customers 5000] [--bare] [--json]

The job of whole_job.py; then the bytes of each topic's log, and of each service's local copies, by
customer. Nothing is compacted yet and there is one replica: an upper bound for tables that change seldom. The broker is the one
at $TRIBUTARY_KAFKA, on this machine.
"""

import argparse
import os
import pathlib
import re
import sys
import tempfile

import whole_job


def bytes_below(directory, pattern):
    # What is allocated: copies are sparse files.
    return sum(file.stat().st_blocks * 512 for file in directory.rglob(pattern) if file.is_file())


class Job(whole_job.Job):
    def service_yaml(self, name, prefix, ports):
        self.prefix = prefix
        return super().service_yaml(name, prefix, ports)


def measure(job):
    port = os.environ["TRIBUTARY_KAFKA"].rsplit(":", 1)[1]
    broker = pathlib.Path(os.environ.get("TMPDIR", tempfile.gettempdir())) / f"tributary-kafka-{os.getuid()}-{port}"
    job.start_services()
    customers = job.load()["customers"]
    topics = {}
    for directory in broker.rglob(f"{job.prefix}*"):
        topic = re.sub(r"-\d+$", "", directory.name.removeprefix(job.prefix))
        if directory.is_dir():
            topics[topic] = topics.get(topic, 0) + bytes_below(directory, "*.log")
    if not topics:
        raise whole_job.run_end_to_end.Failure(f"no topics of this run below {broker}")
    copies = {name: bytes_below(job.directory / f"data-{name}", "*.mdb") for name in whole_job.SERVICES
              if (job.directory / f"data-{name}").is_dir()}
    return {"customers": customers, "bare": job.options.bare, "verify": job.verify(),
            "topic_bytes_per_customer": {name: round(size / customers) for name, size in sorted(topics.items())},
            "topic_bytes_per_customer_sum": round(sum(topics.values()) / customers),
            "copy_bytes_per_customer": {name: round(size / customers) for name, size in copies.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    return whole_job.run(whole_job.options_of(parser, customers=5000), measure, Job)


if __name__ == "__main__":
    sys.exit(main())
