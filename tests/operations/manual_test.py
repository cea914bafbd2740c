#!/usr/bin/env python3
"""Manual pages and completion, tried with what reads them.

    manual_test.py --bin build/release/bin

Needs mandoc, bash, zsh and fish (Debian packages). The pages are checked by mandoc's lint and rendered; each script
completes in its own shell, and offers the commands and options that `--help` shows.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BIN = None


def run(*command, **options):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          timeout=60, **options)


def tributary(*words):
    result = run(str(BIN / "tributary"), *words)
    assert result.returncode == 0, f"tributary {words}: {result.stdout}"
    return result.stdout


def names_in_help(*words):
    """What `--help` of a command lists below "Subcommands:"."""
    text = tributary(*words, "--help")
    return set(re.findall(r"^  (\S+)", text.partition("Subcommands:\n")[2].partition("\n\n")[0], re.M))


class ManualTest(unittest.TestCase):
    def setUp(self):
        for tool in ("mandoc", "bash", "zsh", "fish"):
            self.assertIsNotNone(shutil.which(tool), f"{tool} is missing; ./dev packages test installs it")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="manual-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def test_pages_are_good(self):
        tributary("man", "--write", str(self.directory))
        pages = sorted(self.directory.glob("man?/*"))
        self.assertEqual([page.name for page in pages],
                         ["tributary-dev.1", "tributary-simulator.1", "tributary.1", "tributary-control.8",
                          "tributary-extractor.8", "tributary-loader.8", "tributary-transformer.8"])
        for page in pages:
            # The day of a build is nobody's concern, and would make each build another one.
            lint = [line for line in run("mandoc", "-T", "lint", "-W", "warning", str(page)).stdout.splitlines()
                    if "missing date" not in line and "referenced manual not found" not in line]
            self.assertEqual(lint, [], page.name)
            text = run("mandoc", "-T", "ascii", str(page)).stdout
            text = re.sub(".\b", "", text)
            self.assertRegex(text, r"(?m)^NAME\n +" + page.stem + " - [A-Z]")
            self.assertNotIn("\\", text)
            # Nothing of the program's help is missing.
            program = {"tributary-dev": ["tributary", "dev"]}.get(page.stem, [page.stem.removeprefix("tributary-")])
            shown = run(str(BIN / program[0]), *program[1:], "--help").stdout
            for option in set(re.findall(r"--[a-z-]+", shown.partition("Options:")[2].partition("Example")[0])):
                self.assertTrue(option == "--help" or option in text, f"{page.name} lacks {option}")
        flat = re.sub(r"\s+", " ", re.sub(".\b", "", run("mandoc", "-T", "ascii", "-O", "width=300",
                                                         str(self.directory / "man1/tributary.1")).stdout))
        for name in names_in_help():
            below = names_in_help(name) if name != "dev" else set()
            for path in [f"{name} {command}" for command in below] or [name]:
                self.assertIn(f"tributary {path}", flat)

    def bash(self, line, directory="."):
        """What bash offers for the last word of a line."""
        words = line.split(" ")
        script = self.directory / "tributary.bash"
        script.write_text(tributary("completion", "bash"))
        quoted = " ".join("'" + word + "'" for word in words)
        result = run("bash", "-uc", f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _tributary; "
                     'printf "%s\\n" "${COMPREPLY[@]}"; complete -p tributary', cwd=directory)
        *offered, registered = result.stdout.splitlines()
        self.assertEqual(registered, "complete -F _tributary tributary", result.stdout)
        return set(offered) - {""}

    def fish(self, line, directory="."):
        script = self.directory / "tributary.fish"
        script.write_text(tributary("completion", "fish"))
        result = run("fish", "--no-config", "-c", f"source {script}; complete -C '{line}'", cwd=directory)
        self.assertEqual(result.returncode, 0, result.stdout)
        return {offer.split("\t")[0] for offer in result.stdout.splitlines()}

    def zsh(self, line, directory="."):
        """In zsh what is offered goes to functions of its completion system, which only a terminal has: they stand here."""
        words = line.split(" ")
        script = self.directory / "_tributary"
        script.write_text(tributary("completion", "zsh"))
        quoted = " ".join("'" + word + "'" for word in words)
        result = run("zsh", "-f", "-c", f"""
compdef() {{ : }}
compadd() {{ shift; print -l -- ${{(M)@:#$words[CURRENT]*}} }}
_describe() {{ local offer; for offer in ${{(P)2}}; do print -r -- ${{(M)${{offer%%:*}}:#$words[CURRENT]*}}; done }}
_files() {{ if [[ $1 == -/ ]]; then print -l -- $words[CURRENT]*(N/); else print -l -- $words[CURRENT]*(N); fi }}
source {script}
words=({quoted}) CURRENT={len(words)}
_tributary""", cwd=directory)
        self.assertEqual(result.returncode, 0, result.stdout)
        return set(result.stdout.splitlines()) - {""}

    def test_each_shell_offers_what_the_help_shows(self):
        commands = names_in_help()
        self.assertGreater(len(commands), 12)
        parked = names_in_help("parked")
        for offered in (self.bash, self.fish, self.zsh):
            self.assertEqual(offered("tributary "), commands)
            self.assertEqual(offered("tributary --data some parked "), parked)
            # The value of an option is no command.
            self.assertEqual(offered("tributary --data parked "), commands)
            self.assertEqual(offered("tributary sta"), {"status"})
            self.assertEqual(offered("tributary completion "), {"bash", "zsh", "fish"})
            self.assertEqual(offered("tributary dev --log "), {"embedded", "kafka"})
            self.assertLessEqual({"--dry-run", "--prune", "--file", "--json", "--data"}, offered("tributary apply --"))
            self.assertIn("--once", offered("tributary dev --"))
            # It takes no options of the commands beside it.
            self.assertNotIn("--tls-dir", offered("tributary dev --"))

    def test_values_that_are_files_are_offered(self):
        (self.directory / "place").mkdir()
        (self.directory / "place" / "tenants.yaml").touch()
        (self.directory / "place" / "tributary-data").mkdir()
        place = str(self.directory / "place")
        self.assertEqual(self.bash("tributary apply -f ", place), {"tenants.yaml", "tributary-data"})
        self.assertEqual(self.bash("tributary apply --file = ten", place), {"tenants.yaml"})
        self.assertEqual(self.bash("tributary status --data ", place), {"tributary-data"})
        self.assertEqual(self.bash("tributary config validate ", place), {"tenants.yaml", "tributary-data"})
        self.assertEqual(self.fish("tributary apply -f ten", place), {"tenants.yaml"})
        self.assertEqual(self.fish("tributary status --data ", place), {"tributary-data/"})
        self.assertEqual(self.zsh("tributary apply -f ten", place), {"tenants.yaml"})
        self.assertEqual(self.zsh("tributary status --data ", place), {"tributary-data"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    options, rest = parser.parse_known_args()
    BIN = pathlib.Path(options.bin).resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
