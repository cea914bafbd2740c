#!/usr/bin/env python3
"""What the images hold, without an engine, and what compose.yaml says.

    images_test.py --bin build/release/bin

docker/collect.sh makes the file system of each image; each program runs in it, with nothing else, as another
user than root. containers.sh builds and runs the images themselves, where there is an engine.
"""

import argparse
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
DOCKER = TOP / "docker"
SERVICES = ("control", "extractor", "transformer", "loader")
PROGRAMS = SERVICES + ("tributary", "simulator")
SIZE_MAX = 150 << 20
VERSION = re.search(r"project\(tributary VERSION (\S+)", (TOP / "CMakeLists.txt").read_text()).group(1)
CANARY = "canary-3f0c7d5e9b21a4"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
BIN = None


def run(*command, **options):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          **options)


def inside(root):
    """The command that runs another one in that file system, as nobody of importance."""
    if os.geteuid() == 0:
        return ["chroot", "--userspec=10001:10001", str(root)]
    return ["unshare", "--map-root-user", "chroot", str(root)]


class ImagesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.directory.name)
        cls.root.chmod(0o755)
        # Where the programs come from there are secrets, and in the environment of whoever builds.
        cls.built = tempfile.TemporaryDirectory()
        for program in PROGRAMS:
            (pathlib.Path(cls.built.name) / program).symlink_to(BIN / program)
        for name in ("api.key", "tributary-data", ".env", "tls.pem"):
            (pathlib.Path(cls.built.name) / name).write_text(CANARY)
        collected = run("bash", str(DOCKER / "collect.sh"), str(cls.root), cls.built.name,
                        env={**os.environ, "TRIBUTARY_SECRET": CANARY})
        assert collected.returncode == 0, collected.stdout

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()
        cls.built.cleanup()

    def test_each_program_runs_alone(self):
        for program in PROGRAMS:
            with self.subTest(program):
                result = run(*inside(self.root / program), f"/usr/bin/{program}", "--help")
                self.assertEqual(0, result.returncode, result.stdout)

    def test_each_service_accepts_the_configuration_of_compose(self):
        for service in SERVICES:
            with self.subTest(service):
                root = self.root / service
                shutil.copy(DOCKER / "tributary.yaml", root / "etc" / "tributary")
                environment = COMPOSE["services"][service]["environment"]
                result = run(*inside(root), f"/usr/bin/{service}", "--config", "/etc/tributary/tributary.yaml",
                             "--check", env={"PATH": os.environ["PATH"], **environment})
                self.assertEqual(0, result.returncode, result.stdout)
                self.assertEqual(f"/etc/tributary/tls/{service}", environment["TRIBUTARY_CONTROL_TLS_DIRECTORY"])

    def test_certificates_are_made_and_found(self):
        result = run(*inside(self.root / "tributary"), "/usr/bin/tributary", "tls", "init", "/etc/tributary/tls")
        self.assertEqual(0, result.returncode, result.stdout)
        made = {path.name for path in (self.root / "tributary" / "etc" / "tributary" / "tls").iterdir()}
        self.assertLessEqual({*SERVICES, "tributary"}, made)

    def test_images_are_small_and_hold_no_shell(self):
        for program in PROGRAMS:
            with self.subTest(program):
                files = [path for path in (self.root / program).rglob("*")
                         if path.is_file() and not path.is_symlink()]
                self.assertLess(sum(path.stat().st_size for path in files), SIZE_MAX)
                names = {path.name for path in files if path.parent.name in ("bin", "sbin")}
                self.assertEqual({program}, names)
                self.assertEqual([], [path for path in files if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)])


    def test_no_secret_is_in_a_layer(self):
        key = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}")
        for program in PROGRAMS:
            for path in (self.root / program).rglob("*"):
                # Another test has made certificates in the file system of `tributary`; they are no part of it.
                if path.is_file() and "etc/tributary" not in str(path):
                    content = path.read_bytes()
                    self.assertNotIn(CANARY.encode(), content, path)
                    # Libraries of TLS hold keys of their own, for their self-tests.
                    if ".so" not in path.name:
                        self.assertIsNone(key.search(content), path)


class ContextTest(unittest.TestCase):
    def test_what_people_keep_beside_the_sources_is_not_sent_to_the_builder(self):
        ignored = (TOP / ".dockerignore").read_text().split()
        for name in ("tributary-data", "**/*.key", "**/*.pem", "**/.env", "**/keys"):
            self.assertIn(name, ignored)


class ComposeTest(unittest.TestCase):
    def test_every_program_has_a_target_that_is_no_root(self):
        stages = re.split(r"^FROM ", (DOCKER / "Dockerfile").read_text(), flags=re.M)[2:]
        self.assertEqual(sorted(f"scratch AS {program}" for program in PROGRAMS),
                         sorted(stage.split("\n", 1)[0] for stage in stages))
        for stage in stages:
            name = stage.split("\n", 1)[0].removeprefix("scratch AS ")
            self.assertIn("\nUSER 10001:10001\n", stage)
            self.assertIn(f'\nENTRYPOINT ["/usr/bin/{name}"]', stage)

    def test_our_containers_may_do_little(self):
        ours = {name: service for name, service in COMPOSE["services"].items()
                if service["image"].startswith("tributary/")}
        self.assertLessEqual({*SERVICES, "tributary"}, set(ours))
        for name, service in ours.items():
            with self.subTest(name):
                self.assertTrue(service["read_only"])
                self.assertEqual(["ALL"], service["cap_drop"])
                self.assertEqual(["no-new-privileges:true"], service["security_opt"])
                self.assertTrue(service["image"].endswith(":" + VERSION), service["image"])

    def test_ports_are_this_machine_s_and_files_exist(self):
        for name, service in COMPOSE["services"].items():
            with self.subTest(name):
                for port in service.get("ports", []):
                    self.assertTrue(port.startswith("127.0.0.1:"), port)
                for volume in service.get("volumes", []):
                    source = volume.split(":")[0]
                    exists = (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
                    self.assertTrue(exists, source)

    def test_prometheus_reads_its_configuration_and_every_service(self):
        self.assertIsNotNone(shutil.which("promtool"), "promtool is missing; ./dev packages test installs it")
        with tempfile.TemporaryDirectory() as directory:
            shutil.copy(DOCKER / "prometheus" / "prometheus.yml", directory)
            shutil.copy(TOP / "k8s" / "monitoring" / "rules.yaml", directory)
            result = run("promtool", "check", "config", "prometheus.yml", cwd=directory)
        self.assertEqual(0, result.returncode, result.stdout)
        result = run("amtool", "check-config", str(DOCKER / "prometheus" / "alertmanager.yml"))
        self.assertEqual(0, result.returncode, result.stdout)
        jobs = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
        self.assertEqual("tributary", jobs[0]["job_name"])
        targets = {target.split(":")[0] for target in jobs[0]["static_configs"][0]["targets"]}
        self.assertEqual(set(SERVICES), targets)

    def test_kubernetes_runs_the_same_version(self):
        for service in SERVICES:
            text = (TOP / "k8s" / "base" / service / "kustomization.yaml").read_text()
            self.assertIn(f"newName: tributary/{service}, newTag: {VERSION}", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=lambda text: pathlib.Path(text).resolve())
    options, rest = parser.parse_known_args()
    BIN = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
