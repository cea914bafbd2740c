#!/usr/bin/env python3
"""Kills, stops, starves and cuts off the services of an installation, and judges what comes of it.

    chaos.py --bin build/release/bin [--service S]… [--rounds N] [--seed S] [--signal KILL|STOP|TERM]
             [--together] [--results FILE [--resume]] [--json]

Rounds are made in segments: an installation of its own with a broker of its own, some rounds on one of
its services, then rest and a verdict; or, --together, of all services in one. `--results` keeps each segment's result; with `--resume` those
that stand there are not made again. The last line of standard output is the summary; exit 1 when it is
not as it must be. docs/faults.md says what is counted, and how.
"""

import argparse
import json
import os
import pathlib
import signal
import sys

import faults
import report
from segment import run_segment


def plan(options):
    """(name, services of its rounds, seed) of each segment. The first of every service come first."""
    if options.together:
        within = [s for s in options.service if not s.startswith("beyond")]
        segments = [("together", [s for s in within for _ in range(options.rounds)], options.seed)]
        return segments + [(s, [s] * options.rounds, options.seed)
                           for s in options.service if s.startswith("beyond")]
    segments = []
    for begin in range(0, options.rounds, options.rounds_per_segment):
        count = min(options.rounds_per_segment, options.rounds - begin)
        number = begin // options.rounds_per_segment
        for service in options.service:
            segments.append((service, [service] * count, options.seed + number))
    return segments


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin", required=True, help="where the programs are")
    parser.add_argument("--service", action="append", choices=sorted(faults.FAULTS),
                        help="only this one; may be repeated")
    parser.add_argument("--rounds", type=int, default=200, help="for each service")
    parser.add_argument("--rounds-per-segment", type=int, default=20)
    parser.add_argument("--signal", choices=sorted(faults.SIGNALS), help="only faults of this kind")
    parser.add_argument("--fault", help="only this fault")
    parser.add_argument("--together", action="store_true",
                        help="one segment for all services, but for what is beyond the bounds")
    parser.add_argument("--pause", type=float, nargs=2, default=(2.0, 10.0), metavar="SECONDS",
                        help="the next fault comes so long after the last")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--customers", type=int, default=150)
    parser.add_argument("--timeout", type=int, default=420, help="seconds to come to rest")
    parser.add_argument("--results", type=pathlib.Path, help="one line a segment")
    parser.add_argument("--resume", action="store_true", help="go on where --results ends")
    parser.add_argument("--keep", action="store_true", help="keep logs although nothing is wrong")
    parser.add_argument("--json", action="store_true", help="nothing but the last line")
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    options.service = options.service or [
        name for name in faults.FAULTS if options.signal is None or any(
            faults.SIGNALS[options.signal].fullmatch(fault) for fault in faults.FAULTS[name])]
    if options.signal == "STOP" and "loader" in options.service and "beyond" not in options.service:
        # A loader that is stopped for long is judged by what is promised beyond the bounds.
        options.service.append("beyond")
    if options.resume and options.results is None:
        parser.error("--resume needs --results")

    # What was mounted and started is put away on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    results = report.read(options.results) if options.resume else []
    if options.results is not None and not options.resume:
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text("")
    finished = {(r["segment"], r["seed"], r["planned"]) for r in results if r["failure"] is None}
    for name, services, seed in plan(options):
        if (name, seed, len(services)) in finished:
            continue
        print(f"==> {name}: {len(services)} rounds, seed {seed}", file=sys.stderr, flush=True)
        result = run_segment(options, name, services, seed)
        results.append(result)
        if options.results is not None:
            with open(options.results, "a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        print(f"    {json.dumps({k: v for k, v in result.items() if k != 'rounds'})}", file=sys.stderr,
              flush=True)
    if not options.json:
        print(report.table(results))
    found = report.complaints(results)
    for complaint in found:
        print(f"FAILED: {complaint}", file=sys.stderr)
    print(json.dumps(report.summary(results)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
