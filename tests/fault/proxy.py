#!/usr/bin/env python3
"""A TCP proxy that makes a link bad to order. A process of its own, so that nobody else's work holds it up.

Commands come as JSON, one a line, on standard input; each is answered by one line:

    {"listen": "crm", "to": "127.0.0.1:8701", "late_max": 1.2}     {"port": 40001}
    {"set": "crm", "fault": {"delay_ms": 300}}                      {}   replaces; {} heals
    {"count": "crm"}                                                {"open": 3, "struck": 1}

Faults, alone or together:

    delay_ms, jitter_ms   each piece comes that much later (jitter: up to), in order
    reset_after           a connection is reset after so many bytes, both ways counted
    truncate_after        a connection ends after so many bytes of what the server says
    half_open             the server's side is closed, the client hears nothing of it
    black_hole            nothing passes; connections are still taken
    bytes_per_second      both sides are read no faster

Towards the server nothing is delivered later than `late_max` (seconds; without it, any time) after it
was sent: what would be is reset instead. So a request comes in time or not at all, as the protocol's L
asks.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time

PIECE = 65536
# A burst that takes longer than this to begin again is a new one.
IDLE = 0.02


class Link:
    def __init__(self, host, port, late_max, chance):
        self.host, self.port = host, port
        self.late_max = late_max
        self.chance = chance
        self.fault = {}
        self.connections = set()
        # Connections that a fault has done something to.
        self.struck = 0

    def set(self, fault):
        healed = not fault
        self.fault = fault
        for connection in list(self.connections):
            if healed and connection.lost_bytes:
                # What was swallowed is missing: nothing sensible can follow it.
                connection.reset()
            elif fault.get("half_open"):
                connection.half_open()

    async def accept(self, reader, writer):
        connection = Connection(self, reader, writer)
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)


class Connection:
    def __init__(self, link, reader, writer):
        self.link = link
        self.client = (reader, writer)
        self.server = None
        self.tasks = []
        self.lost_bytes = False
        self.is_struck = False
        self.passed = 0
        self.said = 0
        self.over = asyncio.Event()

    def strike(self):
        if not self.is_struck:
            self.is_struck = True
            self.link.struck += 1

    def reset(self):
        self.strike()
        for side in (self.client, self.server):
            if side is not None:
                kill_socket(side[1])
        self.over.set()

    def half_open(self):
        """The server is told that the client has gone; the client is told nothing."""
        self.strike()
        self.lost_bytes = True
        if self.server is not None:
            kill_socket(self.server[1])

    async def run(self):
        try:
            if self.link.fault.get("black_hole") or self.link.fault.get("half_open"):
                self.strike()
                self.lost_bytes = True
                await self.over.wait()
                return
            self.server = await asyncio.open_connection(self.link.host, self.link.port)
        except OSError:
            kill_socket(self.client[1])
            return
        self.tasks = [asyncio.create_task(self.pump(self.client[0], self.server[1], True)),
                      asyncio.create_task(self.pump(self.server[0], self.client[1], False))]
        over = asyncio.create_task(self.over.wait())
        both = asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.wait([both, over], return_when=asyncio.FIRST_COMPLETED)
        # A client that was left half open hears nothing until it is healed.
        if self.lost_bytes and not self.over.is_set():
            await self.over.wait()
        over.cancel()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for _, writer in (self.client, self.server):
            writer.close()

    async def pump(self, reader, writer, to_server):
        """Reads pieces, and hands them on when they are due."""
        due = asyncio.Queue(maxsize=256)
        sender = asyncio.create_task(self.send(due, writer, to_server))
        burst = None
        try:
            while True:
                asked = time.monotonic()
                data = await reader.read(PIECE)
                now = time.monotonic()
                if burst is None or now - asked > IDLE:
                    burst = now
                fault = self.link.fault
                if not data:
                    break
                if fault.get("black_hole") or self.lost_bytes:
                    self.strike()
                    self.lost_bytes = True
                    continue
                while data and (speed := self.link.fault.get("bytes_per_second")):
                    self.strike()
                    part, data = data[:max(1, speed // 20)], data[max(1, speed // 20):]
                    await asyncio.sleep(len(part) / speed)
                    await due.put((burst, time.monotonic(), part))
                if not data:
                    continue
                later = fault.get("delay_ms", 0) + self.link.chance.uniform(0, fault.get("jitter_ms", 0))
                if later:
                    self.strike()
                await due.put((burst if fault.get("bytes_per_second") else now, now + later / 1000, data))
            await due.put(None)
            await sender
        except (OSError, asyncio.IncompleteReadError):
            self.broken()
        finally:
            sender.cancel()

    async def send(self, due, writer, to_server):
        try:
            while True:
                item = await due.get()
                if item is None:
                    if not self.lost_bytes:
                        writer.write_eof()
                    return
                sent, at, data = item
                wait = at - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                if self.lost_bytes:
                    continue
                if to_server and time.monotonic() - sent > self.link.late_max:
                    self.reset()
                    return
                fault = self.link.fault
                self.passed += len(data)
                limit = fault.get("reset_after")
                if limit is not None and self.passed > limit:
                    self.reset()
                    return
                if not to_server:
                    limit = fault.get("truncate_after")
                    if limit is not None and self.said + len(data) > limit:
                        self.strike()
                        writer.write(data[:max(0, limit - self.said)])
                        await writer.drain()
                        self.over.set()
                        return
                    self.said += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            self.broken()

    def broken(self):
        """One side was reset; so is the other, unless it is to hear nothing."""
        if not self.lost_bytes:
            for side in (self.client, self.server):
                kill_socket(side[1])
            self.over.set()


def kill_socket(writer):
    """Closes with a reset, and drops what waits."""
    handle = writer.get_extra_info("socket")
    if handle is not None and handle.fileno() >= 0:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def serve(seed):
    links, servers = {}, []
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command = json.loads(line)
        answer = {}
        if "listen" in command:
            host, port = command["to"].rsplit(":", 1)
            link = Link(host, int(port), command.get("late_max", float("inf")), chance)
            links[command["listen"]] = link
            server = await asyncio.start_server(link.accept, "127.0.0.1", 0)
            servers.append(server)
            answer = {"port": server.sockets[0].getsockname()[1]}
        elif "set" in command:
            links[command["set"]].set(command["fault"])
        elif "count" in command:
            link = links[command["count"]]
            answer = {"open": len(link.connections), "struck": link.struck}
        print(json.dumps(answer), flush=True)
    # Whoever started it has ended: nothing is left to be said to anybody.
    os._exit(0)


class Proxy:
    """The process, for whoever starts it."""

    def __init__(self, seed=1):
        self.process = subprocess.Popen(
            [sys.executable, "-B", __file__, "--seed", str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise OSError("the proxy has ended")
        return json.loads(line)

    def listen(self, name, port, **bounds):
        return self.ask(listen=name, to=f"127.0.0.1:{port}", **bounds)["port"]

    def set(self, name, **fault):
        self.ask(set=name, fault=fault)

    def count(self, name):
        return self.ask(count=name)

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(serve(options.seed))


if __name__ == "__main__":
    main()
