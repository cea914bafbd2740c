#!/usr/bin/env python3
"""The fold and the simulator's own judge must find the same, or one of them is wrong."""

import base64
import json
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

import fold

SIMULATOR = sys.argv.pop(1)


class Simulator:
    def __init__(self, *flags):
        self.process = subprocess.Popen(
            [SIMULATOR, "--listen", "127.0.0.1:0", *flags], stdout=subprocess.PIPE, text=True)
        self.access = json.loads(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.access['chargify']['port']}"

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()

    def ask(self, method, target, path, body=None, headers=None):
        port = self.access[target]["port"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def judge(self):
        return json.loads(self.ask("GET", "chargify", "/_sim/judge")[1])


def write_expected(simulator):
    """Plays a pipeline that makes no mistakes."""
    history = fold.History()
    for line in simulator.ask("GET", "chargify", "/_sim/truth")[1].split("\n"):
        if line:
            history.take(json.loads(line, parse_float=fold.Decimal))
    basic = base64.b64encode((simulator.access["rest"]["key"] + ":").encode()).decode()
    token = json.loads(simulator.ask("POST", "rest", "/auth", None,
                                     {"Authorization": "Basic " + basic})[1])["token"]
    rest = {"Authorization": "Bearer " + token}
    highlevel = {"Authorization": "Bearer " + simulator.access["highlevel"]["token"],
                 "Version": "2021-07-28"}
    contacts = {}
    for key, view in history.views().items():
        client = {}
        for path, value in fold.expected_client(key, view).items():
            section, dot, member = path.partition(".")
            if dot:
                client.setdefault(section, {})[member] = value
            else:
                client[path] = value or None
        if key in history.gone:
            client["status"] = "gone"
        assert simulator.ask("PUT", "rest", f"/clients/{key}", client, rest)[0] in (200, 201)

        contact = {"locationId": simulator.access["highlevel"]["location"], "customFields": []}
        for path, value in fold.expected_contact(key, view).items():
            section, dot, member = path.partition(".")
            if dot:
                contact["customFields"].append({"key": member, "field_value": value})
            else:
                contact[path] = value or None
        status, body = simulator.ask("POST", "highlevel", "/contacts/upsert", contact, highlevel)
        assert status == 200, body
        contacts[key] = json.loads(body)["contact"]["id"]
        tags = ["Chargify:" + state for state in fold.states(view)]
        if key in history.gone:
            tags = ["chargify:gone"]
        status, body = simulator.ask("POST", "highlevel", f"/contacts/{contacts[key]}/tags",
                                     {"tags": tags}, highlevel)
        assert status == 201, body
    return history, contacts, rest, highlevel


class FoldTest(unittest.TestCase):
    def setUp(self):
        self.simulator = Simulator("--seed", "11", "--customers", "60")
        self.addCleanup(self.simulator.stop)
        self.simulator.ask("POST", "chargify", "/_sim/mutate", {"count": 400})
        time.sleep(0.1)

    def both(self):
        result = fold.compare_simulator(self.simulator.url)
        judged = self.simulator.judge()
        self.assertEqual(len(result["mismatches"]), judged["mismatches"],
                         (result["mismatches"][:5], judged["problems"][:5]))
        self.assertEqual(len(result["duplicate_records"]), judged["duplicate_records"])
        return result

    def test_finds_everything_missing_at_first(self):
        result = self.both()
        self.assertEqual(len(result["mismatches"]), 2 * (result["customers"] - result["gone"]))

    def test_finds_nothing_when_every_field_is_right(self):
        write_expected(self.simulator)
        result = self.both()
        self.assertEqual(result["mismatches"], [])
        self.assertGreater(result["gone"], 0)

    def test_finds_each_planted_difference(self):
        history, contacts, rest, highlevel = write_expected(self.simulator)
        key = next(k for k in history.customers if k not in history.gone)
        self.simulator.ask("PUT", "rest", f"/clients/{key}", {"email": "other@example.com"}, rest)
        self.simulator.ask("POST", "highlevel", f"/contacts/{contacts[key]}/tags",
                           {"tags": ["chargify:tickled"]}, highlevel)
        self.simulator.ask("PUT", "rest", "/clients/1", {"name": "Nobody"}, rest)
        texts = "\n".join(self.both()["mismatches"])
        self.assertIn(f"rest {key} email", texts)
        self.assertIn(f"highlevel {key} tags", texts)
        self.assertIn("rest 1: no such customer", texts)

    def test_finds_a_second_contact(self):
        history, _, _, highlevel = write_expected(self.simulator)
        key = next(k for k in history.customers if k not in history.gone)
        contact = {"locationId": self.simulator.access["highlevel"]["location"],
                   "email": "second@example.com",
                   "customFields": [{"key": "chargify_customer_id", "field_value": key}]}
        self.simulator.ask("POST", "highlevel", "/contacts/upsert", contact, highlevel)
        self.assertEqual(len(self.both()["duplicate_records"]), 1)


if __name__ == "__main__":
    unittest.main()
