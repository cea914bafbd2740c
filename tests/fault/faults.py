"""What is done to an installation, and how it is undone.

A fault is a function (installation, service, chance) → Blow. It strikes at once; what heals it is
given back with the time at which it is due, so that the next fault need not wait for it.
"""

import dataclasses
import re
import signal
import subprocess
import threading
import time

from installation import SESSION, metric

AIM_SECONDS_MAX = 2.0
# So long a round waits for something to be open at a victim, by service. Some rounds do not wait.
PATIENCE_SECONDS = {"broker": 60.0, "everything": 60.0, "beyond": 60.0, "beyond-late": 60.0}
PATIENCE_SECONDS_OTHERS = 15.0
IMPATIENT = 0.2

# Some answers of the CRMs are lost or late, but none later than L; all take so long that requests are
# open whenever a fault strikes.
BACKGROUND = [
    {"target": "rest", "match": "PUT", "kind": "apply_late", "probability": 0.01, "delay_ms": 1200},
    {"target": "highlevel", "match": "PUT", "kind": "apply_late", "probability": 0.01, "delay_ms": 1200},
    {"target": "*", "match": "clients/", "kind": "reset_after", "probability": 0.01},
    {"target": "*", "match": "contacts/", "kind": "reset_after", "probability": 0.01},
    {"target": "rest", "kind": "slow", "delay_ms": 350},
    {"target": "highlevel", "kind": "slow", "delay_ms": 250},
    {"target": "chargify", "kind": "slow", "delay_ms": 250},
]


class NotYet(Exception):
    """All that could be hit are down or stopped already, or have nothing open: ask again soon."""


def patience(service, chance):
    """Seconds."""
    if chance.random() < IMPATIENT:
        return 0.0
    return PATIENCE_SECONDS.get(service, PATIENCE_SECONDS_OTHERS)


@dataclasses.dataclass
class Blow:
    # Who was hit, by name.
    victims: list
    # When it struck, by both clocks.
    at: float
    wall: float
    # [(seconds after the strike, function)]
    heals: list
    detail: str = ""
    # Whether something was open at the victim when it struck, as far as it says so itself.
    hit: bool = True
    # Called after the last heal: did the fault strike at all?
    struck: object = None


def blow(victims, heals, **more):
    """It struck when it was aimed: killing may take its time."""
    return Blow([v if isinstance(v, str) else v.name for v in victims], aimed.at, aimed.wall, heals, **more)


class Aimed:
    def now(self):
        self.at, self.wall = time.monotonic(), time.time()


aimed = Aimed()


# Choosing whom, and when.

def busyness(member):
    """Open requests, for who sends some; for the transformer records that arrive."""
    text = member.metrics()
    if not text:
        return -1.0
    if member.service == "transformer":
        return metric(text, "tributary_records_in_total", topic="changes")
    return metric(text, "tributary_http_client_requests_in_flight")


def choose(installation, service, chance):
    """One that has something open; after the round's patience is over, any."""
    members = [m for m in installation.of(service) if m.is_running() and not m.is_stopped]
    busy = []
    for member in members:
        now = busyness(member)
        # Of the transformer: since it was last looked at.
        if now > member.last_busyness >= 0 if service == "transformer" else now > 0:
            busy.append(member)
        member.last_busyness = now
    if not members or (not busy and service != "control" and time.monotonic() < installation.patient_until):
        raise NotYet
    return chance.choice(busy or members)


def aim(installation, member, chance):
    """Waits until something is open at the victim, for a moment at most. True: so it says."""
    is_open = something_is_open(installation, member, chance)
    aimed.now()
    return is_open


def something_is_open(installation, member, chance):
    deadline = time.monotonic() + AIM_SECONDS_MAX
    if member.service == "control":
        # A save of credentials is under way.
        apply = installation.start_apply()
        time.sleep(chance.uniform(0.0, 0.12))
        is_open = apply.poll() is None
        threading.Thread(target=end_soon, args=(apply,), daemon=True).start()
        return is_open
    before = None
    while time.monotonic() < deadline:
        text = member.metrics()
        if member.service == "transformer":
            now = (metric(text, "tributary_records_in_total", topic="changes"),
                   metric(text, "tributary_records_in_total", topic="events"))
            if before is not None and text and now > before:
                # Records came since the look before: they are being derived, or their outputs wait.
                return True
            before = now
        elif metric(text, "tributary_http_client_requests_in_flight") > 0:
            return True
        time.sleep(0.01)
    return False


def end_soon(process):
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# Processes.

def kill(installation, service, chance):
    member = choose(installation, service, chance)
    hit = aim(installation, member, chance)
    member.kill()
    return blow([member], [(chance.uniform(0.0, 0.3), member.start)], hit=hit)


def kill_and_stay_away(installation, service, chance):
    """Longer than the session: another one takes over, then gives back."""
    member = choose(installation, service, chance)
    hit = aim(installation, member, chance)
    member.kill()
    return blow([member], [(SESSION + chance.uniform(1.0, 4.0), member.start)], hit=hit)


def kill_in_restore(installation, service, chance):
    member = choose(installation, service, chance)
    hit = aim(installation, member, chance)
    member.kill()
    first = chance.uniform(0.0, 0.2)
    second = first + chance.uniform(0.05, 2.5)

    def again():
        if member.is_running():
            member.kill()

    return blow([member], [(first, member.start), (second, again), (second + 0.1, member.start)],
                hit=hit, detail=f"again after {second - first:.2f} s")


def kill_and_lose_store(installation, service, chance):
    member = choose(installation, service, chance)
    hit = aim(installation, member, chance)
    member.kill()
    member.disk.wipe()
    return blow([member], [(chance.uniform(0.0, 0.3), member.start)], hit=hit)


def terminate(installation, service, chance):
    member = choose(installation, service, chance)
    hit = aim(installation, member, chance)
    member.is_meant_to_be_down = True
    member.process.send_signal(signal.SIGTERM)

    def start_again():
        try:
            member.process.wait(28)
        except subprocess.TimeoutExpired:
            installation.ended_by_themselves.append((member.name, "not within 28 s of SIGTERM"))
            member.kill()
        if member.process.returncode not in (0, -signal.SIGKILL):
            installation.ended_by_themselves.append((member.name, f"{member.process.returncode} on SIGTERM"))
        installation.ready.note_down(member.name)
        member.start()

    return blow([member], [(0.05, start_again)], hit=hit)


def freeze(installation, service, chance):
    """Beyond the session: it wakes as one that has lost its partitions and does not know it."""
    member = choose(installation, service, chance)
    hit = aim(installation, member, chance)
    member.freeze()
    seconds = SESSION + chance.uniform(0.5, 5.0)
    return blow([member], [(seconds, member.thaw)], hit=hit, detail=f"for {seconds:.1f} s")


def freeze_shortly(installation, service, chance):
    """Within P."""
    member = choose(installation, service, chance)
    hit = aim(installation, member, chance)
    member.freeze()
    seconds = chance.uniform(0.1, 0.8)
    return blow([member], [(seconds, member.thaw)], hit=hit, detail=f"for {seconds:.2f} s")


def kill_everything(installation, service, chance):
    members = list(installation.members.values())
    with_broker = chance.random() < 0.5 and installation.broker.is_running()
    hit = aim(installation, choose(installation, "loader", chance), chance)
    chance.shuffle(members)
    for member in members:
        if member.is_running():
            member.is_meant_to_be_down = True
            member.process.kill()
    if with_broker:
        installation.broker.is_meant_to_be_down = True
        installation.broker.process.kill()
    for member in members:
        member.process.wait()
        installation.ready.note_down(member.name)
    heals = []
    if with_broker:
        installation.broker.process.wait()
        heals.append((0.0, installation.broker.start))
    for member in members:
        heals.append((chance.uniform(0.0, 1.5), member.start))
    return blow(members, heals, hit=hit, detail="with the broker" if with_broker else "")


# Disks.

def fill_disk(installation, service, chance):
    """Half of the victims lose what they had there first, so that they must write it all again."""
    member = choose(installation, service, chance)
    before = member.full_disks_seen()
    hit = aim(installation, member, chance)
    if chance.random() < 0.5 and service != "control":
        member.kill()
        member.disk.wipe()
        member.disk.fill()
        member.start()
    else:
        member.disk.fill()
    return blow([member], [(chance.uniform(2.0, 6.0), member.disk.free)], hit=hit,
                struck=lambda: member.full_disks_seen() > before)


def fail_sync(installation, service, chance):
    """EIO. The copies of tables are synced only when they are closed, so the process is ended too."""
    member = choose(installation, service, chance)
    before = member.syncs_failed()
    hit = aim(installation, member, chance)
    member.failing_sync.touch()
    heals = [(chance.uniform(3.0, 6.0), lambda: member.failing_sync.unlink(missing_ok=True))]
    if member.service != "control":
        member.is_meant_to_be_down = True
        member.process.send_signal(signal.SIGTERM)

        def start_again():
            end_soon(member.process)
            installation.ready.note_down(member.name)
            member.start()

        heals.insert(0, (0.05, start_again))
    return blow([member], heals, hit=hit, struck=lambda: member.syncs_failed() > before)


# The broker.

def need_broker(installation, chance):
    """Something is to be open at the loader, whose every write waits for the broker."""
    if not installation.broker.is_running() or installation.broker.is_stopped:
        raise NotYet
    return aim(installation, choose(installation, "loader", chance), chance)


def kill_broker(installation, service, chance):
    hit = need_broker(installation, chance)
    installation.broker.is_meant_to_be_down = True
    installation.broker.kill()
    return blow(["broker"], [(chance.uniform(0.0, 4.0), installation.broker.start)], hit=hit)


def restart_broker(installation, service, chance):
    hit = need_broker(installation, chance)
    installation.broker.is_meant_to_be_down = True
    struck = blow(["broker"], [(0.0, installation.broker.start)], hit=hit)
    installation.broker.stop()
    return struck


def freeze_broker(installation, service, chance):
    hit = need_broker(installation, chance)
    installation.broker.freeze()
    seconds = chance.uniform(1.0, 9.0)
    return blow(["broker"], [(seconds, installation.broker.thaw)], hit=hit, detail=f"for {seconds:.1f} s")


def fill_broker_disk(installation, service, chance):
    hit = need_broker(installation, chance)
    disk = installation.disks["broker"]

    def ends():
        return sum(name == "broker" for name, _ in installation.ended_by_themselves)

    before = ends()
    disk.fill()
    return blow(["broker"], [(chance.uniform(2.0, 5.0), disk.free)], hit=hit,
                struck=lambda: ends() > before)


# Links.

def ways_to_spoil(chance):
    return chance.choice([
        ("delay", {"delay_ms": chance.randint(50, 700)}),
        ("jitter", {"delay_ms": 20, "jitter_ms": chance.randint(50, 600)}),
        ("reset", {"reset_after": chance.choice([0, 1, 100, 1000, 20000])}),
        ("half-open", {"half_open": True}),
        ("truncate", {"truncate_after": chance.choice([0, 1, 50, 300, 5000])}),
        ("slow", {"bytes_per_second": chance.choice([200, 2000, 20000])}),
        ("black hole", {"black_hole": True}),
    ])


FOREIGN_LINKS = {"extractor": ("chargify",), "loader": ("highlevel", "rest")}


def spoil_link(installation, service, chance, link):
    member = choose(installation, service, chance)
    name, fault = ways_to_spoil(chance)
    hit = aim(installation, member, chance)
    before = installation.proxy.count(link)["struck"]
    installation.proxy.set(link, **fault)
    return blow([member], [(chance.uniform(1.0, 6.0), lambda: installation.proxy.set(link))], hit=hit,
                detail=f"{link}: {name} {fault}",
                struck=lambda: installation.proxy.count(link)["struck"] > before)


def spoil_source_or_target(installation, service, chance):
    return spoil_link(installation, service, chance, chance.choice(FOREIGN_LINKS[service]))


def spoil_broker_link(installation, service, chance):
    return spoil_link(installation, service, chance, f"{service}-broker")


def spoil_control_link(installation, service, chance):
    return spoil_link(installation, service, chance, "control")


def apply_too_late(installation, service, chance):
    """Beyond L: what the loader had to give up on is done after all, when newer writes are done."""
    hit = aim(installation, choose(installation, "loader", chance), chance)
    late = [{"target": target, "match": "PUT", "kind": "apply_late", "probability": 0.3, "delay_ms": 5000}
            for target in ("highlevel", "rest")]
    installation.set_faults(late + BACKGROUND)
    return blow(installation.of("loader"), [(3.0, lambda: installation.set_faults(BACKGROUND))], hit=hit)


SENDER = {"kill": kill, "kill-stay-away": kill_and_stay_away, "kill-in-restore": kill_in_restore,
          "kill-store-lost": kill_and_lose_store, "term": terminate, "stop-short": freeze_shortly,
          "disk-full": fill_disk, "sync-eio": fail_sync, "link-broker": spoil_broker_link,
          "link-control": spoil_control_link}

# service → name → fault. `beyond` is a loader that is stopped longer than P, so what is promised
# beyond the bounds is another thing (protocol section 7).
FAULTS = {
    "extractor": {**SENDER, "stop": freeze, "link-site": spoil_source_or_target},
    "transformer": {**SENDER, "stop": freeze},
    "loader": {**SENDER, "link-crm": spoil_source_or_target},
    "control": {"kill": kill, "kill-in-restore": kill_in_restore, "term": terminate, "stop": freeze,
                "disk-full": fill_disk, "sync-eio": fail_sync, "link-broker": spoil_broker_link,
                "link-control": spoil_control_link},
    "broker": {"kill": kill_broker, "restart": restart_broker, "stop": freeze_broker,
               "disk-full": fill_broker_disk},
    "everything": {"kill": kill_everything},
    "beyond": {"stop": lambda installation, _, chance: freeze(installation, "loader", chance)},
    "beyond-late": {"late": apply_too_late},
}
SIGNALS = {"KILL": re.compile("kill.*"), "STOP": re.compile("stop.*"), "TERM": re.compile("term")}


def impossible(installation):
    """Name → why it cannot be made here."""
    found = {}
    if installation.shim is None:
        found["sync-eio"] = "failing_sync.so was not built"
    if not all(disk.is_mounted for disk in installation.disks.values()):
        found["disk-full"] = "a tmpfs may not be mounted"
    return found


def possible(installation, service, wanted=None, only=None):
    """Names of the faults that can be made here; `wanted` is one of SIGNALS, `only` a name."""
    names = [n for n in FAULTS[service] if n not in impossible(installation)]
    if wanted is not None:
        names = [n for n in names if SIGNALS[wanted].fullmatch(n)]
    return [n for n in names if only in (None, n)]
