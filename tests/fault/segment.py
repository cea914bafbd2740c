"""One installation, a number of rounds of faults on one of its services, and the verdict at rest."""

import argparse
import bisect
import heapq
import itertools
import pathlib
import random
import shutil
import tempfile
import time

import faults
import verdict
from installation import START_SECONDS_MAX, Failure, Installation, fetch

MUTATIONS_PER_SECOND = 12
# What shows that a service works again: the next request at the site, or the next write at a CRM.
WORK = {"extractor": ("chargify",)}
CRMS = ("highlevel", "rest")


class Rounds:
    def __init__(self, installation, chance, options):
        self.installation = installation
        self.chance = chance
        self.options = options
        self.order = itertools.count()
        # (due, number, function, blow)
        self.heals = []
        # All was undone; whether that has helped is not yet known.
        self.healing = []
        self.done = []
        self.decks = {}

    def next_fault(self, service):
        """Each kind as often as any other, in an order of chance."""
        if not self.decks.get(service):
            names = faults.possible(self.installation, service, self.options.signal, self.options.fault)
            if not names:
                raise Failure(f"no such fault can be made here: {service}")
            self.chance.shuffle(names)
            self.decks[service] = names
        return self.decks[service].pop()

    def wait(self, seconds):
        """Heals what is due, and starts again what ended by itself."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            while self.heals and self.heals[0][0] <= now:
                _, _, heal, struck = heapq.heappop(self.heals)
                heal()
                struck["open_heals"] -= 1
                if struck["open_heals"] == 0:
                    self.healing.append(struck)
            self.installation.revive()
            self.note_healed()
            if now >= until:
                return
            time.sleep(min(0.05, until - now))

    def note_healed(self):
        """A broker is healed when it answers: how long a Java machine takes is nobody's merit here."""
        for entry in list(self.healing):
            if entry["service"] in ("broker", "everything") and not self.installation.broker.answers():
                continue
            entry["healed"] = time.monotonic()
            if entry["proof"] is not None:
                entry["struck"] = entry["proof"]()
            self.healing.remove(entry)

    def strike(self, service):
        name = self.next_fault(service)
        self.installation.patient_until = time.monotonic() + faults.patience(service, self.chance)
        while True:
            try:
                blow = faults.FAULTS[service][name](self.installation, service, self.chance)
                break
            except faults.NotYet:
                self.wait(0.1)
        entry = {"service": service, "fault": name, "victims": blow.victims, "at": blow.at, "wall": blow.wall,
                 "hit": blow.hit, "detail": blow.detail, "proof": blow.struck, "struck": True,
                 "open_heals": len(blow.heals), "healed": None}
        for seconds, heal in blow.heals:
            heapq.heappush(self.heals, (blow.at + seconds, next(self.order), heal, entry))
        self.done.append(entry)
        self.installation.say(f"round {len(self.done)}: {service} {name} {','.join(blow.victims[:1])} "
                              f"{blow.detail}")

    def run(self, services):
        for service in services:
            self.wait(self.chance.uniform(*self.options.pause))
            self.strike(service)
        deadline = time.monotonic() + self.options.timeout
        while self.heals or (self.healing and time.monotonic() < deadline):
            self.wait(0.2)
        self.installation.proxy_healed()

    def results(self, journal):
        """One line a round, for the table."""
        everybody = list(self.installation.members)
        # The simulator's clock is the machine's.
        wall = time.time() - time.monotonic()
        works = {targets: [e["at"] - wall for e in journal if e["target"] in targets]
                 for targets in {CRMS, *WORK.values()}}
        lines = []
        for entry in self.done:
            if entry["service"] == "broker" and entry["proof"] is not None:
                # It takes its time to end.
                entry["struck"] = entry["proof"]()
            hit = entry["hit"]
            targets = verdict.TARGETS.get(entry["service"])
            if targets is not None:
                hit = hit and bool(verdict.open_requests(journal, targets, entry["wall"]))
            victims = everybody if entry["victims"] == ["broker"] else entry["victims"]
            if entry["healed"] is None:
                entry["healed"] = time.monotonic()
            moments = [self.installation.ready.ready_from(name, entry["healed"]) for name in victims]
            work = works[WORK.get(entry["service"], CRMS)]
            next_work = bisect.bisect(work, entry["healed"])
            moments.append(work[next_work] if next_work < len(work) else None)
            seconds = None if None in moments else round(max(moments) - entry["healed"], 2)
            lines.append({"service": entry["service"], "fault": entry["fault"],
                          "detail": entry["detail"], "hit": hit, "struck": bool(entry["struck"]),
                          "recovery_seconds": seconds})
        return lines


def run_segment(options, name, services, seed):
    """`services`: whom each round is about. Returns the segment's result. What it kept is removed
    unless something is wrong."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"tributary-chaos-{name}-"))
    own = argparse.Namespace(**{**vars(options), "seed": seed, "began": time.monotonic()})
    result = {"segment": name, "seed": seed, "planned": len(services), "rounds": [], "failure": None}
    installation = None
    chance = random.Random(seed * 1000003 + sum(map(ord, name)))
    try:
        installation = Installation(own, directory)
        for name_of_fault, why in faults.impossible(installation).items():
            installation.say(f"left out: {name_of_fault}: {why}")
        installation.set_up()
        installation.set_faults(faults.BACKGROUND)
        installation.mutate(MUTATIONS_PER_SECOND)
        wait_until_it_moves(installation)
        rounds = Rounds(installation, chance, options)
        services = list(services)
        chance.shuffle(services)
        rounds.run(services)
        wait_until_delivered(installation, options.timeout)
        installation.stop_mutating()
        fetch(installation.simulator + "/_sim/faults", [])
        try:
            verdict.wait_for_rest(installation, options.timeout)
            if name.startswith("beyond"):
                # What was done beyond the bounds is repaired by the sweep (protocol rule 15).
                verdict.sweep(installation, options.timeout)
                verdict.wait_for_rest(installation, options.timeout)
        except Failure as failure:
            result["failure"] = str(failure)
        journal = verdict.read_journal(installation)
        result["rounds"] = rounds.results(journal)
        result["requests"] = len(journal)
        result["extra_writes"] = verdict.repeated_writes(journal)
        result["mutations"] = fetch(installation.simulator + "/_sim/state")["mutations"]
        result["verdict"] = verdict.judge(installation)
        result["ended_by_themselves"] = [list(map(str, e)) for e in installation.ended_by_themselves]
    except (Failure, OSError, ValueError) as failure:
        result["failure"] = str(failure) or repr(failure)
    finally:
        if installation is not None:
            stopped = installation.stop_all()
            result["stop"] = stopped
    if result["failure"] is None and is_clean(result) and not options.keep:
        shutil.rmtree(directory)
    else:
        result["logs"] = str(directory)
    return result


def wait_until_delivered(installation, seconds):
    """One more write while the site still changes, so that the last round's recovery is seen."""
    deadline = time.monotonic() + seconds
    before = None
    while time.monotonic() < deadline:
        state = fetch(installation.simulator + "/_sim/state")
        now = [state[f"{name}_requests"] for name in (*CRMS, "chargify")]
        if before is None:
            before = now
        elif now[0] + now[1] > before[0] + before[1] and now[2] > before[2]:
            if installation.ready.all_ready():
                return
        installation.revive()
        time.sleep(0.2)


def is_clean(result):
    judged = result.get("verdict", {"lost": 1})
    return all(judged.get(name) == 0 for name in ("lost", "duplicate_records", "duplicate_actions",
                                                  "regressions", "verify"))


def wait_until_it_moves(installation):
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        state = fetch(installation.simulator + "/_sim/state")
        if installation.ready.all_ready() and state["rest_requests"] > 20:
            installation.say("all are ready and records are written")
            return
        if time.monotonic() > deadline:
            raise Failure("nothing was written at first")
        installation.revive()
        time.sleep(0.2)
