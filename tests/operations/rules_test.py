#!/usr/bin/env python3
"""The rules, their unit tests, dashboards and runbooks belong together.

    rules_test.py --bin build/release/bin

Needs promtool (Debian: prometheus). The rules are tested with `promtool test rules`; every alert has its
runbook and its board; every command line of a runbook is one that `tributary` knows.
"""

import argparse
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
MONITORING = TOP / "k8s" / "monitoring"
RUNBOOKS = TOP / "docs" / "runbooks"
RULES = (MONITORING / "rules.yaml").read_text()
ALERTS = sorted(set(re.findall(r"^ +- alert: (\w+)$", RULES, re.M)))
BIN = None


def run(*command, **options):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          **options)


class RulesTest(unittest.TestCase):
    def test_unit_tests_of_the_rules_hold(self):
        self.assertIsNotNone(shutil.which("promtool"), "promtool is missing; ./dev packages test installs it")
        with tempfile.TemporaryDirectory() as directory:
            for file in (MONITORING / "rules.yaml", pathlib.Path(__file__).with_name("rules_test.yaml")):
                shutil.copy(file, directory)
            for command in ("check", "test"):
                file = "rules.yaml" if command == "check" else "rules_test.yaml"
                result = run("promtool", command, "rules", file, cwd=directory)
                self.assertEqual(0, result.returncode, result.stdout)

    def test_every_alert_is_in_a_unit_test(self):
        tests = pathlib.Path(__file__).with_name("rules_test.yaml").read_text()
        self.assertGreater(len(ALERTS), 10)
        self.assertEqual([], [alert for alert in ALERTS if alert not in tests])

    def test_what_is_made_of_the_rules_is_up_to_date(self):
        result = run(sys.executable, "-B", str(MONITORING / "generate.py"), "--check")
        self.assertEqual(0, result.returncode, result.stdout)

    def test_every_alert_leads_to_its_runbook_and_to_a_board(self):
        for block in re.split(r"^ +- (?=alert: |record: )", RULES, flags=re.M)[1:]:
            if not block.startswith("alert: "):
                continue
            alert = block.split()[1]
            with self.subTest(alert):
                self.assertRegex(block, r"severity: (critical|warning)\b")
                self.assertIn(f"runbook_url: docs/runbooks/{alert}.md\n", block)
                board = re.search(r"dashboard_url: /d/tributary-(\w+)", block).group(1)
                self.assertTrue((MONITORING / "dashboards" / f"{board}.json").exists(), board)

    def test_every_runbook_is_of_an_alert_and_says_what_why_and_what_to_do(self):
        self.assertEqual(sorted(ALERTS + ["README"]), sorted(file.stem for file in RUNBOOKS.glob("*.md")))
        for alert in ALERTS:
            with self.subTest(alert):
                text = (RUNBOOKS / f"{alert}.md").read_text()
                self.assertTrue(text.startswith(f"# {alert}\n"))
                at = [text.find(f"**{part}**") for part in ("What the user sees.", "Why.", "What to do.")]
                self.assertEqual(sorted(at), at)
                self.assertGreater(at[0], 0)

    def test_the_commands_of_the_runbooks_exist(self):
        commands = set()
        for file in RUNBOOKS.glob("*.md"):
            text = file.read_text()
            for line in re.findall(r"^    (tributary .*)$", text, re.M) + re.findall(r"`(tributary [^`]+)`", text):
                commands.add(line.split("#")[0].strip())
        commands.discard("tributary dev")  # Would run; the other tests do.
        self.assertGreater(len(commands), 5)
        for command in sorted(commands):
            with self.subTest(command):
                with tempfile.TemporaryDirectory() as directory:
                    # Where no control is: the words are understood (not 2), and nothing else happens.
                    result = run(BIN / "tributary", *shlex.split(command)[1:], cwd=directory, timeout=60)
                self.assertIn(result.returncode, (75, 78), result.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    options, rest = parser.parse_known_args()
    BIN = options.bin.resolve()
    unittest.main(argv=[sys.argv[0], *rest])
