#!/usr/bin/env python3
"""The Debian package: what is in it, whether it works, and what the list of its parts says.

    package_test.py --bin build/release/bin

Packs what is built beside BIN, unpacks it into a directory and runs the programs from there. Needs dpkg-dev, strip,
systemd-analyze and mandoc (Debian packages).
"""

import argparse
import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
SERVICES = ["control", "extractor", "transformer", "loader"]
BIN = None


def run(*command, **options):
    return subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, timeout=240, **options)


class PackageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool in ("cpack", "dpkg-deb", "dpkg-shlibdeps", "strip", "systemd-analyze", "mandoc"):
            assert shutil.which(tool), f"{tool} is missing; ./dev packages test installs it"
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="package-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        build = BIN.parent
        # As ./dev deb does it.
        made = run(sys.executable, "-B", TOP / "docs/dependencies.py", "--bin", BIN, "--sbom", build / "sbom.cdx.json")
        assert made.returncode == 0, made.stdout
        packed = run("cpack", "--config", build / "CPackConfig.cmake", "-B", cls.directory / "cpack",
                     "-D", f"CPACK_OUTPUT_FILE_PREFIX={cls.directory}", cwd=build)
        assert packed.returncode == 0, packed.stdout
        cls.package, = cls.directory.glob("*.deb")
        cls.root = cls.directory / "root"
        assert run("dpkg-deb", "-x", cls.package, cls.root).returncode == 0
        cls.control = cls.directory / "control"
        assert run("dpkg-deb", "-e", cls.package, cls.control).returncode == 0
        cls.fields = dict(re.findall(r"^([A-Z][\w-]+): (.*)$", (cls.control / "control").read_text(), re.M))

    def test_it_says_what_it_is_and_needs(self):
        self.assertEqual(self.fields["Package"], "tributary")
        self.assertRegex(self.fields["Version"], r"^\d+\.\d+\.\d+-1$")
        for library in ("librdkafka1", "libgrpc++1.51", "libsqlite3-0", "libssl3", "liblmdb0", "libjemalloc2"):
            self.assertIn(library.rstrip("0123456789."), self.fields["Depends"])
        self.assertIn("ca-certificates", self.fields["Depends"])
        # Every dependency can be had here, in a version that satisfies.
        for dependency in self.fields["Depends"].split(", "):
            name, version = re.fullmatch(r"(\S+)(?: \((.*)\))?", dependency).groups()
            have = run("dpkg-query", "-W", "-f", "${Version}", name).stdout
            if version:
                self.assertEqual(run("dpkg", "--compare-versions", have, *version.split(" ")).returncode, 0, dependency)

    def test_everything_belongs_to_root_and_nothing_is_writable(self):
        for line in run("dpkg-deb", "-c", self.package).stdout.splitlines():
            mode, owner, *_ = line.split()
            self.assertEqual(owner, "root/root", line)
            self.assertRegex(mode, r"^(drwxr-xr-x|-rwxr-xr-x|-rw-r--r--)$", line)
        sums = dict(reversed(line.split("  ")) for line in (self.control / "md5sums").read_text().splitlines())
        files = {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}
        configuration = {name.strip("/") for name in (self.control / "conffiles").read_text().split()}
        self.assertEqual(configuration, {name for name in files if name.startswith("etc/")})
        self.assertEqual(set(sums) | configuration, files)

    def test_its_scripts_are_scripts(self):
        for name in ("postinst", "prerm", "postrm"):
            script = self.control / name
            self.assertTrue(os.access(script, os.X_OK))
            self.assertEqual(run("sh", "-n", script).returncode, 0)
            # Nothing is done at a remove or upgrade without systemd, and nothing fails.
            self.assertEqual(run("sh", script, "upgrade", "0.0.1").returncode, 0)

    def test_documentation_is_there(self):
        share = self.root / "usr/share"
        pages = sorted(path.name for path in share.glob("man/man?/*"))
        self.assertEqual(len(pages), 7, pages)
        for page in share.glob("man/man?/*.gz"):
            self.assertIn("NAME", re.sub(".\b", "", run("mandoc", "-T", "ascii", page).stdout))
        self.assertIn("_tributary", (share / "bash-completion/completions/tributary").read_text())
        self.assertTrue((share / "zsh/vendor-completions/_tributary").read_text().startswith("#compdef tributary"))
        self.assertTrue((share / "fish/vendor_completions.d/tributary.fish").exists())
        doc = share / "doc/tributary"
        self.assertIn("License: Apache-2.0", (doc / "copyright").read_text())
        self.assertIn("# Changelog", gzip.decompress((doc / "changelog.gz").read_bytes()).decode())
        self.assertIn(f"tributary ({self.fields['Version']})",
                      gzip.decompress((doc / "changelog.Debian.gz").read_bytes()).decode())
        self.assertTrue((share / "tributary/prometheus/rules.yaml").exists())
        self.assertGreaterEqual(len(list((share / "tributary/grafana/dashboards").glob("*.json"))), 4)

    def test_the_programs_run_from_there(self):
        version = self.fields["Version"].removesuffix("-1")
        tributary = self.root / "usr/bin/tributary"
        self.assertIn(f"tributary {version}", run(tributary, "version").stdout)
        self.assertEqual(run("readelf", "-S", tributary).stdout.count(".debug_info"), 0, "it is stripped")
        for service in SERVICES:
            program = self.root / "usr/libexec/tributary" / service
            self.assertEqual(run(program, "--version").stdout.strip(), f"{service} {version}")
            # The configuration as it is installed, in the unit's environment.
            environment = os.environ | dict(
                line.split("=", 1) for line in (self.root / f"etc/tributary/{service}.env").read_text().splitlines()
                if not line.startswith("#"))
            environment["TRIBUTARY_LOG_DATA_DIRECTORY"] = f"/var/lib/tributary/{service}"
            environment["TRIBUTARY_CONTROL_TLS_DIRECTORY"] = f"/etc/tributary/tls/{service}"
            checked = run(program, "--config", self.root / "etc/tributary/tributary.yaml", "--check", env=environment)
            self.assertEqual(checked.returncode, 0, checked.stdout)
        # A sync of a made-up site, from the first row to the end.
        once = run(tributary, "dev", "--once", "--customers", "20", "--json", cwd=self.directory)
        self.assertEqual(once.returncode, 0, once.stdout)
        keys = self.directory / "keys"
        keys.mkdir(exist_ok=True)
        for name in ("chargify", "highlevel"):
            (keys / name).write_text("key\n")
            (keys / name).chmod(0o600)
        shutil.copy(self.root / "usr/share/doc/tributary/examples/tenants.yaml", self.directory)
        valid = run(tributary, "config", "validate", self.directory / "tenants.yaml")
        self.assertEqual(valid.returncode, 0, valid.stdout)

    def test_the_units_are_good_and_closed(self):
        units = self.root / "usr/lib/systemd/system"
        directory = self.directory / "units"
        directory.mkdir()
        # systemd-analyze looks for the programs where the unit says.
        unit = (units / "tributary@.service").read_text()
        for path in re.findall(r"/(?:usr|etc)/[^\s:]+", unit):
            found = self.root / path.replace("%i", "loader").lstrip("/")
            self.assertTrue(found.exists() or "/tls/" in path, path)
        (directory / "tributary.target").write_text((units / "tributary.target").read_text())
        (directory / "tributary@.service").write_text(unit.replace("=/usr/", f"={self.root}/usr/"))
        for service in SERVICES:
            shutil.copy(directory / "tributary@.service", directory / f"tributary@{service}.service")
        target = (directory / "tributary.target")
        for name in [target, *(directory / f"tributary@{service}.service" for service in SERVICES)]:
            checked = run("systemd-analyze", "verify", "--man=no", name,
                          env=os.environ | {"SYSTEMD_UNIT_PATH": f"{directory}:"})
            ours = [line for line in checked.stdout.splitlines() if "tributary" in line]
            self.assertEqual(ours, [], checked.stdout)
        for service in SERVICES:
            self.assertIn(f"tributary@{service}.service", target.read_text())
        # 0 is closed, 10 is open.
        security = run("systemd-analyze", "security", "--offline=yes", "--threshold=15",
                       directory / "tributary@loader.service")
        self.assertEqual(security.returncode, 0, security.stdout)

    def test_the_list_of_parts_is_what_is_loaded(self):
        sbom = json.loads((self.root / "usr/share/doc/tributary/sbom.cdx.json").read_text())
        self.assertEqual((sbom["bomFormat"], sbom["specVersion"]), ("CycloneDX", "1.5"))
        self.assertEqual(sbom["metadata"]["component"]["version"], self.fields["Version"].removesuffix("-1"))
        components = {component["name"]: component for component in sbom["components"]}
        self.assertEqual(len(components), len(sbom["components"]), "each once")
        self.assertEqual(sorted(sbom["dependencies"][0]["dependsOn"]),
                         sorted(component["bom-ref"] for component in sbom["components"]))
        for name, component in components.items():
            self.assertEqual(run("dpkg-query", "-W", "-f", "${Version}", name).stdout, component["version"])
            self.assertTrue(component["purl"].startswith(f"pkg:deb/debian/{name}@"), component["purl"])
            licence, = component["licenses"]
            self.assertTrue(licence.get("expression") or licence["license"]["id"])
        # Whatever the package depends on is in the list.
        for dependency in self.fields["Depends"].split(", "):
            name = dependency.split(" ")[0]
            self.assertTrue(name in components or name == "ca-certificates", name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    options, rest = parser.parse_known_args()
    BIN = pathlib.Path(options.bin).resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
