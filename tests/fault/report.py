"""From the results of segments to one table and one last line."""

import json

ZEROS = ("lost", "duplicate_records", "duplicate_actions", "regressions")


def percentile(values, share):
    if not values:
        return None
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def summary(results):
    """The last line. Rounds `beyond` have segments of their own."""
    within = [r for r in results if not r["segment"].startswith("beyond")]
    beyond = [r for r in results if r["segment"].startswith("beyond")]
    rounds = [line for r in within for line in r["rounds"]]

    def total(segments, name):
        return sum(r.get("verdict", {}).get(name, 0) for r in segments)

    recoveries = [line["recovery_seconds"] for line in rounds if line["recovery_seconds"] is not None]
    return {
        "rounds": len(rounds),
        "hit_in_flight": sum(bool(line["hit"]) for line in rounds),
        **{name: total(within, name) for name in ZEROS},
        "extra_writes": sum(r.get("extra_writes", 0) for r in within),
        "recovery_seconds_p99": percentile(recoveries, 0.99),
        "beyond": {
            "rounds": sum(len(r["rounds"]) for r in beyond),
            # An older state was written over a newer one, and at the end nothing is wrong any more.
            "wrong_then_repaired": total([r for r in beyond if not unrepaired(r)], "regressions"),
            "shown": total(beyond, "shown"),
            "not_repaired": total(beyond, "lost"),
            "not_shown": total(beyond, "duplicate_records") + total(beyond, "duplicate_actions") -
                         total(beyond, "shown"),
        },
    }


def unrepaired(result):
    return result.get("verdict", {}).get("lost", 0) > 0


def complaints(results):
    """Why the run fails; empty: it does not."""
    found = []
    line = summary(results)
    for name in ZEROS:
        if line[name] != 0:
            found.append(f"{name} is {line[name]}")
    if line["rounds"] and 2 * line["hit_in_flight"] < line["rounds"]:
        found.append(f"only {line['hit_in_flight']} of {line['rounds']} rounds hit open requests")
    for name in ("not_repaired", "not_shown"):
        if line["beyond"][name] != 0:
            found.append(f"beyond the bounds: {name} is {line['beyond'][name]}")
    for result in results:
        where = f"{result['segment']}, seed {result['seed']}"
        if result["failure"] is not None:
            found.append(f"{where}: {result['failure']}")
        elif result["verdict"]["verify"] != 0:
            found.append(f"{where}: tributary verify: exit {result['verdict']['verify']}")
        for index, round_ in enumerate(result["rounds"], 1):
            if round_["recovery_seconds"] is None:
                found.append(f"{where}: never well again after round {index}, {round_['service']} "
                             f"{round_['fault']}")
    if not results:
        found.append("nothing was run")
    return found


def table(results):
    """In Markdown, a line for each kind of fault on each service."""
    kinds = {}
    for result in results:
        for line in result["rounds"]:
            kinds.setdefault((line["service"], line["fault"]), []).append(line)
    rows = ["| service | fault | rounds | hit open requests | fault seen | well again, s: median | max |",
            "|---|---|---|---|---|---|---|"]
    for (service, fault), lines in sorted(kinds.items()):
        seconds = [x["recovery_seconds"] for x in lines if x["recovery_seconds"] is not None]
        rows.append(f"| {service} | {fault} | {len(lines)} | {sum(bool(x['hit']) for x in lines)} | "
                    f"{sum(x['struck'] for x in lines)} | {percentile(seconds, 0.5)} | "
                    f"{max(seconds, default=None)} |")
    return "\n".join(rows)


def read(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
