#!/usr/bin/env python3
"""A made-up bench, of which it is known what each run will say."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

PAIRED = pathlib.Path(__file__).resolve().parents[2] / "bench" / "paired.py"

# Says the next of the numbers that stand beside it, once.
BENCH = """#!/usr/bin/env python3
import json, pathlib, sys
here = pathlib.Path(__file__).resolve().parent
left = json.loads((here / "numbers.json").read_text())
(here / "numbers.json").write_text(json.dumps(left[1:]))
(here / "flags.txt").write_text(" ".join(sys.argv[1:]))
print("what people read")
if not left:
    sys.exit(3)
print(json.dumps({"seconds": left[0], "deep": {"zero": 0}, "text": "x", "yes": True}))
"""


class PairedTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="tributary-paired-")
        self.addCleanup(self.directory.cleanup)

    def build(self, name, numbers):
        binaries = pathlib.Path(self.directory.name) / name
        binaries.mkdir()
        (binaries / "numbers.json").write_text(json.dumps(numbers))
        program = binaries / "made_up_bench"
        program.write_text(BENCH)
        os.chmod(program, 0o755)
        return binaries

    def paired(self, *arguments):
        return subprocess.run([sys.executable, "-B", str(PAIRED), *map(str, arguments)],
                              capture_output=True, text=True, check=False)

    def test_a_build_is_told_from_the_noise_of_the_first_with_itself(self):
        first = self.build("first", [10, 11, 12, 12, 10, 9])
        other = self.build("other", [5, 6, 5])
        done = self.paired("--bin", first, "--other", other, "--rounds", 3, "--json",
                           "made_up", "--customers", 7)
        self.assertEqual(done.returncode, 0, done.stderr)
        seconds = json.loads(done.stdout)["seconds"]
        # Rounds: (one 10, two 11, other 5), (two 12, other 6, one 12), (other 5, one 10, two 9).
        self.assertEqual(seconds["median"], 10)
        self.assertEqual(seconds["itself"], {"median": 1.0, "min": 0.9, "max": 1.1})
        self.assertEqual(seconds["other"], {"median": 0.5, "min": 0.476, "max": 0.526})
        self.assertEqual((first / "flags.txt").read_text(), "--customers 7")

    def test_nothing_is_equal_to_nothing_and_what_is_no_number_is_left_out(self):
        first = self.build("first", [10, 10])
        done = self.paired("--bin", first, "--rounds", 1, "--json", "made_up")
        report = json.loads(done.stdout)
        self.assertEqual(set(report), {"seconds", "deep.zero"})
        self.assertEqual(report["deep.zero"]["itself"], {"median": 1.0, "min": 1.0, "max": 1.0})
        self.assertNotIn("other", report["seconds"])

    def test_people_get_a_line_for_each_number(self):
        done = self.paired("--bin", self.build("first", [10, 11]), "--rounds", 1, "made_up")
        self.assertEqual(done.stdout.splitlines()[1], "seconds    10      1.100 (1.100-1.100)")

    def test_a_run_that_fails_ends_it(self):
        done = self.paired("--bin", self.build("first", [10]), "--rounds", 1, "made_up")
        self.assertEqual(done.returncode, 1)
        self.assertIn("FAILED: made_up with", done.stderr)
        self.assertIn("ended with 3", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_a_bench_that_is_not_there_is_named(self):
        done = self.paired("--bin", self.build("first", []), "none_such")
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no bench none_such", done.stderr)


if __name__ == "__main__":
    unittest.main()
