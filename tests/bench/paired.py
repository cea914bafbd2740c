#!/usr/bin/env python3
"""One bench several times over, so that a difference can be told from the machine's mood.

    paired.py --bin build/release/bin [--other BIN] [--rounds 3] [--json] NAME [FLAGS of NAME…]

Each round runs the bench twice with --bin and, if given, once with --other, the other build's bin
directory, right behind one another and in turning order. For each number that the bench reports: the
median of the first, what the second is to it (`itself`: how much two runs of one thing differ) and
what the other build is to the mean of both, each as the median and the extremes of all rounds. A
difference within the extremes of `itself` is none.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


class Failure(Exception):
    pass


def numbers(report, name=""):
    """`{"a": {"b": 1}}` becomes `{"a.b": 1.0}`; what is no number is left out."""
    if isinstance(report, bool) or report is None or isinstance(report, str):
        return {}
    if isinstance(report, (int, float)):
        return {name: float(report)}
    pairs = report.items() if isinstance(report, dict) else enumerate(report)
    found = {}
    for key, value in pairs:
        found.update(numbers(value, f"{name}.{key}" if name else str(key)))
    return found


def command(name, binaries, flags):
    script = HERE / f"{name}.py"
    if script.exists():
        return [sys.executable, "-B", str(script), "--bin", binaries, *flags, "--json"]
    program = pathlib.Path(binaries) / f"{name}_bench"
    if program.exists():
        return [str(program), *flags]
    raise Failure(f"there is no bench {name}: neither {script.name} nor {program}, "
                  f"which `./dev bench {name}` builds")


def run(name, binaries, flags):
    done = subprocess.run(command(name, binaries, flags), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{name} with {binaries} ended with {done.returncode}")
    for text in (done.stdout, done.stdout.strip().rpartition("\n")[2]):
        try:
            return numbers(json.loads(text))
        except json.JSONDecodeError:
            continue
    raise Failure(f"neither what {name} says nor its last line is JSON")


def order_of(round_number, has_other):
    """Nobody is always the first, who finds the caches cold."""
    names = ["one", "two"] + (["other"] if has_other else [])
    shift = round_number % len(names)
    return names[shift:] + names[:shift]


def ratio(a, b):
    if b == 0:
        return None if a != 0 else 1.0
    return a / b


def spread(values):
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": round(statistics.median(known), 3), "min": round(min(known), 3),
            "max": round(max(known), 3)}


def summary(rounds):
    """`rounds`: for each a dict of "one", "two" and perhaps "other", each of name to number."""
    report = {}
    for name in rounds[0]["one"]:
        if any(name not in numbers_of for each in rounds for numbers_of in each.values()):
            continue
        row = {"median": statistics.median(each["one"][name] for each in rounds),
               "itself": spread([ratio(each["two"][name], each["one"][name]) for each in rounds])}
        if "other" in rounds[0]:
            row["other"] = spread([
                ratio(each["other"][name], (each["one"][name] + each["two"][name]) / 2)
                for each in rounds])
        report[name] = row
    return report


def text_of(part):
    return "-" if part is None else f"{part['median']:.3f} ({part['min']:.3f}-{part['max']:.3f})"


def table(report):
    rows = [("", "median", "itself", "other")]
    for name, row in report.items():
        rows.append((name, f"{row['median']:g}", text_of(row["itself"]), text_of(row.get("other"))))
    if all(row[3] == "-" for row in rows[1:]):
        rows = [row[:3] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                     for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--other", help="bin directory of the build to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("name")
    parser.add_argument("flags", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    binaries = {"one": options.bin, "two": options.bin, "other": options.other}
    rounds = []
    try:
        for number in range(options.rounds):
            rounds.append({each: run(options.name, binaries[each], options.flags)
                           for each in order_of(number, options.other is not None)})
            print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr)
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    report = summary(rounds)
    print(json.dumps(report) if options.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
