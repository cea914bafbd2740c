#!/usr/bin/env python3
"""Runs histories of a build with TRIBUTARY_COVERAGE and says which lines and branches of the stages
none of them reached. Needs gcov of the compiler that built it."""

import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys

STAGES = re.compile(r"^(services/(extractor|transformer|loader)|libs/eventlog)/[a-z_]+\.(cc|h)$")
# Not part of a history: the shells, and what only they call.
SHELLS = re.compile(r"/(app|metrics|options|main)\.(cc|h)$")


def histories(binary, first, seeds):
    """Runs them on all cores; false if one failed."""
    cores = os.cpu_count() or 1
    running = []
    for i in range(cores):
        count = seeds // cores + (1 if i < seeds % cores else 0)
        if count == 0:
            continue
        command = [binary, "--first", str(first), "--seeds", str(count)]
        first += count
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    ok = True
    for process in running:
        out, _ = process.communicate()
        if process.returncode != 0:
            ok = False
            sys.stderr.write("".join(line + "\n" for line in out.splitlines() if ": ok" not in line))
    return ok


def counts(build, top):
    """{file: {line: (hits, branches taken, branches)}} of everything that was counted."""
    files = collections.defaultdict(dict)
    for data in sorted(build.rglob("*.gcda")):
        out = subprocess.run(
            ["gcov", "--json-format", "--branch-probabilities", "--stdout", str(data)],
            cwd=build, capture_output=True, text=True, check=True).stdout
        for text in out.splitlines():
            for file in json.loads(text)["files"]:
                path = os.path.relpath(os.path.join(build, file["file"]), top)
                if not STAGES.match(path) or SHELLS.search(path):
                    continue
                for line in file["lines"]:
                    # What an exception would do is no branch of ours.
                    branches = [b for b in line["branches"] if not b["throw"]]
                    taken = [b["count"] > 0 for b in branches]
                    hits, before = files[path].get(line["line_number"], (0, []))
                    if len(before) == len(taken):
                        taken = [a or b for a, b in zip(before, taken)]
                    elif len(before) > len(taken):
                        taken = before
                    files[path][line["line_number"]] = (hits + line["count"], taken)
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--lines", action="store_true", help="name each line that was not reached")
    arguments = parser.parse_args()
    top = pathlib.Path(__file__).resolve().parents[2]
    build = arguments.build.resolve()
    for data in build.rglob("*.gcda"):
        data.unlink()
    ok = histories(str(build / "bin" / "simulate"), arguments.first, arguments.seeds)
    total = [0, 0, 0, 0]
    for path, lines in sorted(counts(build, top).items()):
        source = (top / path).read_text().splitlines()
        reached = sum(1 for hits, _ in lines.values() if hits > 0)
        branches = sum(len(taken) for _, taken in lines.values())
        taken = sum(sum(taken) for _, taken in lines.values())
        for i, number in enumerate((reached, len(lines), taken, branches)):
            total[i] += number
        print(f"{path}: {reached} of {len(lines)} lines, {taken} of {branches} branches")
        if arguments.lines:
            for number, (hits, taken) in sorted(lines.items()):
                if hits == 0:
                    print(f"  {number}: {source[number - 1].strip()}")
    print(f"all: {total[0]} of {total[1]} lines, {total[2]} of {total[3]} branches, "
          f"{arguments.seeds} histories")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
