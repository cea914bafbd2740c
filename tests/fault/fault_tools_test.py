#!/usr/bin/env python3
"""Tests for the tools themselves: that the proxy does what it is told, and that a bad run fails."""

import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import report
import verdict
from proxy import Proxy


class Echo:
    """Answers every piece by itself, and counts what came."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.received = b""
        self.ended = threading.Event()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    self.received += data
                    connection.sendall(data)
            except OSError:
                pass
        self.ended.set()


class ProxyTest(unittest.TestCase):
    def setUp(self):
        self.echo = Echo()
        self.proxy = Proxy()
        self.addCleanup(self.proxy.stop)
        self.addCleanup(self.echo.listener.close)
        self.ports = {"link": self.proxy.listen("link", self.echo.port),
                      "bounded": self.proxy.listen("bounded", self.echo.port, late_max=0.5)}

    def connect(self, link="link"):
        connection = socket.create_connection(("127.0.0.1", self.ports[link]), 10)
        connection.settimeout(20)
        self.addCleanup(connection.close)
        return connection

    def ask(self, connection, text=b"hello"):
        connection.sendall(text)
        got = b""
        while len(got) < len(text):
            piece = connection.recv(65536)
            if not piece:
                return got
            got += piece
        return got

    def test_passes_what_it_is_given(self):
        text = bytes(range(256)) * 4000
        connection = self.connect()
        threading.Thread(target=connection.sendall, args=(text,), daemon=True).start()
        got = b""
        while len(got) < len(text):
            got += connection.recv(65536)
        self.assertEqual(got, text)
        self.assertEqual(self.proxy.count("link"), {"open": 1, "struck": 0})

    def test_delays_both_ways(self):
        connection = self.connect()
        self.ask(connection)
        self.proxy.set("link", delay_ms=150)
        began = time.monotonic()
        self.assertEqual(self.ask(connection), b"hello")
        self.assertGreater(time.monotonic() - began, 0.29)
        self.assertEqual(self.proxy.count("link")["struck"], 1)
        self.proxy.set("link")
        fastest = []
        for _ in range(20):
            began = time.monotonic()
            self.ask(connection)
            fastest.append(time.monotonic() - began)
        self.assertLess(min(fastest), 0.29)

    def test_delivers_nothing_later_than_it_may(self):
        self.proxy.set("bounded", delay_ms=800)
        connection = self.connect("bounded")
        connection.sendall(b"late")
        with self.assertRaises(ConnectionResetError):
            connection.recv(10)
        self.assertEqual(self.echo.received, b"")

    def test_resets(self):
        self.proxy.set("link", reset_after=7)
        connection = self.connect()
        connection.sendall(b"hello")
        with self.assertRaises(ConnectionResetError):
            while connection.recv(10):
                pass
        self.assertEqual(self.echo.received, b"hello")

    def test_truncates_what_the_server_says(self):
        self.proxy.set("link", truncate_after=3)
        self.assertEqual(self.ask(self.connect()), b"hel")
        self.assertEqual(self.echo.received, b"hello")

    def test_leaves_half_open(self):
        connection = self.connect()
        self.ask(connection)
        self.proxy.set("link", half_open=True)
        self.assertTrue(self.echo.ended.wait(20))
        connection.settimeout(0.5)
        with self.assertRaises(socket.timeout):
            self.ask(connection)
        self.assertEqual(self.echo.received, b"hello")
        self.proxy.set("link")
        connection.settimeout(20)
        with self.assertRaises(ConnectionResetError):
            connection.recv(10)
        self.assertEqual(self.ask(self.connect()), b"hello")

    def test_swallows_and_never_delivers_it_afterwards(self):
        connection = self.connect()
        self.ask(connection, b"before")
        self.proxy.set("link", black_hole=True)
        connection.settimeout(0.5)
        with self.assertRaises(socket.timeout):
            self.ask(connection, b"lost")
        late = self.connect()
        late.sendall(b"lost too")
        time.sleep(0.2)
        self.proxy.set("link")
        for each in (connection, late):
            each.settimeout(20)
            with self.assertRaises(ConnectionResetError):
                each.recv(10)
        self.assertEqual(self.ask(self.connect(), b"after"), b"after")
        self.assertEqual(self.echo.received, b"beforeafter")

    def test_reads_slowly(self):
        self.proxy.set("link", bytes_per_second=2000)
        began = time.monotonic()
        self.assertEqual(len(self.ask(self.connect(), b"x" * 500)), 500)
        self.assertGreater(time.monotonic() - began, 0.24)

    def test_a_slow_request_comes_in_time_or_not_at_all(self):
        self.proxy.set("bounded", bytes_per_second=100)
        connection = self.connect("bounded")
        connection.sendall(b"x" * 1000)
        with self.assertRaises(ConnectionResetError):
            while connection.recv(100):
                pass
        self.assertLess(len(self.echo.received), 100)


def segment(name="loader", **changes):
    line = {"service": name, "fault": "kill", "detail": "", "hit": True, "struck": True,
            "recovery_seconds": 1.5}
    judged = {"lost": 0, "duplicate_records": 0, "duplicate_actions": 0, "regressions": 0, "verify": 0,
              "shown": 0}
    result = {"segment": name, "seed": 1, "planned": 2, "rounds": [dict(line), dict(line)],
              "failure": None, "extra_writes": 3, "verdict": judged}
    for key, value in changes.items():
        if key in judged:
            judged[key] = value
        elif key in line:
            for each in result["rounds"]:
                each[key] = value
        else:
            result[key] = value
    return result


class ReportTest(unittest.TestCase):
    def test_a_good_run_passes(self):
        results = [segment(), segment("beyond", regressions=2)]
        self.assertEqual(report.complaints(results), [])
        line = report.summary(results)
        self.assertEqual((line["rounds"], line["hit_in_flight"], line["extra_writes"]), (2, 2, 3))
        self.assertEqual(line["regressions"], 0)
        self.assertEqual(line["recovery_seconds_p99"], 1.5)
        self.assertEqual(line["beyond"]["rounds"], 2)
        self.assertEqual(line["beyond"]["wrong_then_repaired"], 2)

    def test_each_promise_that_is_broken_fails_it(self):
        for name in (*report.ZEROS, "verify"):
            self.assertNotEqual(report.complaints([segment(**{name: 1})]), [], name)

    def test_rounds_that_hit_nothing_fail_it(self):
        self.assertNotEqual(report.complaints([segment(hit=False)]), [])

    def test_what_never_gets_well_fails_it(self):
        self.assertNotEqual(report.complaints([segment(recovery_seconds=None)]), [])
        self.assertNotEqual(report.complaints([segment(failure="did not come to rest")]), [])
        self.assertNotEqual(report.complaints([]), [])

    def test_beyond_the_bounds_what_is_not_repaired_or_not_shown_fails_it(self):
        self.assertNotEqual(report.complaints([segment("beyond", lost=1)]), [])
        self.assertNotEqual(report.complaints([segment("beyond", duplicate_records=1)]), [])
        self.assertEqual(report.complaints([segment("beyond", duplicate_records=1, shown=1)]), [])


class ResumeTest(unittest.TestCase):
    def run_chaos(self, *results):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "results.jsonl"
            path.write_text("".join(json.dumps(each) + "\n" for each in results))
            return subprocess.run(
                [sys.executable, "-B", str(pathlib.Path(__file__).with_name("chaos.py")), "--bin", directory,
                 "--service", "loader", "--rounds", "4", "--rounds-per-segment", "2",
                 "--results", str(path), "--resume"],
                check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def test_what_stands_there_is_not_made_again(self):
        ended = self.run_chaos(segment(), segment(seed=2))
        self.assertEqual(ended.returncode, 0, ended.stderr)
        line = json.loads(ended.stdout.strip().split("\n")[-1])
        self.assertEqual((line["rounds"], line["hit_in_flight"], line["lost"]), (4, 4, 0))

    def test_what_is_wrong_there_stays_wrong(self):
        ended = self.run_chaos(segment(), segment(seed=2, regressions=1))
        self.assertEqual(ended.returncode, 1)
        self.assertIn("regressions is 1", ended.stderr)


class VerdictTest(unittest.TestCase):
    def entry(self, at, takes_ms=300, path="/clients/1", body="a", target="rest"):
        return {"target": target, "method": "PUT", "path": path, "applied": True, "at": at,
                "takes_ms": takes_ms, "body": body}

    def test_a_request_is_open_from_its_arrival_to_its_answer(self):
        journal = [self.entry(10.0)]
        for wall, is_open in ((9.9, 0), (10.0, 1), (10.29, 1), (10.31, 0)):
            self.assertEqual(len(verdict.open_requests(journal, ("rest",), wall)), is_open, wall)
        self.assertEqual(verdict.open_requests(journal, ("highlevel",), 10.1), [])

    def test_counts_what_is_written_twice_in_a_row(self):
        journal = [self.entry(1), self.entry(2), self.entry(3, path="/clients/2"),
                   self.entry(4, body="b"), self.entry(5)]
        self.assertEqual(verdict.repeated_writes(journal), 1)


if __name__ == "__main__":
    unittest.main()
