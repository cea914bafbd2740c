#!/usr/bin/env python3
"""Writes docs/dependencies.md: what the programs load, and under which licences.

    python3 docs/dependencies.py --bin build/release/bin           # writes it
    python3 docs/dependencies.py --bin build/release/bin --check   # says what it lacks or has too much
    python3 docs/dependencies.py --bin build/release/bin --sbom F  # the same as CycloneDX, versions as installed here

What is loaded is read from the programs themselves. Packages and versions are those of this machine, and
differ from one release to the next: only the libraries are checked."""

import argparse
import json
import pathlib
import re
import subprocess
import sys

PROGRAMS = ["extractor", "transformer", "loader", "control", "tributary", "simulator"]
DOCUMENT = pathlib.Path(__file__).with_name("dependencies.md")

# By the beginning of the file's name: library, what it is for, licence as SPDX has it.
LIBRARIES = {
    "libabsl_": ("Abseil", "statuses (with gRPC)", "Apache-2.0"),
    "libc.": ("glibc", "the system", "LGPL-2.1-or-later"),
    "libm.": ("glibc", "the system", "LGPL-2.1-or-later"),
    "ld-linux": ("glibc", "the system", "LGPL-2.1-or-later"),
    "libgcc_s": ("libgcc", "the compiler's", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "libstdc++": ("libstdc++", "the compiler's", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "libcrypto": ("OpenSSL", "TLS, hashes", "Apache-2.0"),
    "libssl": ("OpenSSL", "TLS, hashes", "Apache-2.0"),
    "libcurl": ("libcurl", "the HTTP client", "curl"),
    "libgpr": ("gRPC", "control's calls", "Apache-2.0"),
    "libgrpc": ("gRPC", "control's calls", "Apache-2.0"),
    "libjemalloc": ("jemalloc", "the allocator", "BSD-2-Clause"),
    "liblmdb": ("LMDB", "local copies, the embedded log", "OLDAP-2.8"),
    "libprometheus-cpp": ("prometheus-cpp", "metrics", "MIT"),
    "libprotobuf": ("Protocol Buffers", "records, configuration", "BSD-3-Clause"),
    "librdkafka": ("librdkafka", "Kafka", "BSD-2-Clause"),
    "libre2": ("RE2", "patterns without backtracking", "BSD-3-Clause"),
    "libsodium": ("libsodium", "sealing credentials", "ISC"),
    "libsqlite3": ("SQLite", "control's database", "blessing"),
    "libyaml-cpp": ("yaml-cpp", "YAML", "MIT"),
}
# In the programs themselves: nothing of them is loaded.
HEADERS = {
    "Boost.Asio": ("the HTTP server's sockets", "BSL-1.0", "libboost1.81-dev"),
    "CLI11": ("the command line", "BSD-3-Clause", "libcli11-dev"),
}


def output(*command):
    return subprocess.run(command, check=False, text=True, capture_output=True).stdout


def needed(program):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", str(program)))


def package_of(soname):
    """Debian's package and its version; a dash where nobody knows."""
    for line in output("ldconfig", "-p").splitlines():
        if line.strip().startswith(soname + " "):
            path = pathlib.Path(line.split("=>")[1].strip()).resolve()
            for name in (str(path), str(path).removeprefix("/usr")):
                owner = output("dpkg-query", "-S", name).split(":")[0]
                if owner:
                    return owner + " " + output("dpkg-query", "-W", "-f", "${Version}", owner)
    return "-"


def rows(bin_directory):
    found = {}
    unknown = set()
    for name in PROGRAMS:
        program = pathlib.Path(bin_directory) / name
        if not program.exists():
            sys.exit(f"{program} is not built")
        for soname in needed(program):
            entry = next((value for key, value in LIBRARIES.items() if soname.startswith(key)), None)
            if entry is None:
                unknown.add(soname)
                continue
            found.setdefault(entry, (set(), set()))
            found[entry][0].add(soname)
            found[entry][1].add(name)
    return found, unknown


def component(library, purpose, licence, package, version, scope):
    """Of CycloneDX. The package's own name and version, so that what watches for vulnerabilities finds it."""
    architecture = output("dpkg-query", "-W", "-f", "${Architecture}", package)
    url = f"pkg:deb/debian/{package}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}&distro=debian"
    kind = {"expression": licence} if " WITH " in licence else {"license": {"id": licence}}
    return {"type": "library", "bom-ref": url, "name": package, "version": version, "purl": url,
            "description": f"{library}: {purpose}", "licenses": [kind], "scope": scope}


def sbom(found, version):
    components = []
    for (library, purpose, licence), (sonames, _) in sorted(found.items()):
        for package in sorted({package_of(soname) for soname in sonames}):
            name, _, package_version = package.partition(" ")
            components.append(component(library, purpose, licence, name, package_version, "required"))
    for library, (purpose, licence, package) in sorted(HEADERS.items()):
        package_version = output("dpkg-query", "-W", "-f", "${Version}", package)
        components.append(component(library, purpose + ", compiled in", licence, package, package_version, "required"))
    unknown = [entry["name"] for entry in components if entry["name"] == "-" or not entry["version"]]
    if unknown:
        sys.exit(f"no Debian package is known of {unknown}: the list would not say what is loaded")
    ours = f"pkg:deb/tributary@{version}"
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "metadata": {"component": {"type": "application", "bom-ref": ours, "name": "tributary", "version": version,
                                       "licenses": [{"license": {"id": "Apache-2.0"}}]}},
            "components": components,
            "dependencies": [{"ref": ours, "dependsOn": [entry["bom-ref"] for entry in components]}]}


def table(found):
    lines = ["| library | for | licence | loaded by | package here |", "|---|---|---|---|---|"]
    for (library, purpose, licence), (sonames, programs) in sorted(found.items()):
        by = "all" if len(programs) == len(PROGRAMS) else ", ".join(p for p in PROGRAMS if p in programs)
        packages = sorted({package_of(soname) for soname in sonames})
        lines.append(f"| {library} | {purpose} | {licence} | {by} | {', '.join(packages)} |")
    for library, (purpose, licence, package) in sorted(HEADERS.items()):
        version = output("dpkg-query", "-W", "-f", "${Version}", package) or "-"
        lines.append(f"| {library} | {purpose} | {licence} | compiled in | {package} {version} |")
    return lines


def told():
    return {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:5]]
            for line in DOCUMENT.read_text().splitlines()
            if line.startswith("| ") and not line.startswith("| library")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--sbom", metavar="FILE")
    options = parser.parse_args()
    found, unknown = rows(options.bin)
    problems = [f"{soname}: no licence is known of it; add it to docs/dependencies.py" for soname in sorted(unknown)]
    lines = table(found)
    if options.sbom:
        if not unknown:
            version = output(f"{options.bin}/loader", "--version").split()[-1]
            pathlib.Path(options.sbom).write_text(json.dumps(sbom(found, version), indent=1) + "\n")
    elif options.check:
        shown = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:5]] for line in lines[2:]}
        known = told()
        for name in sorted(shown.keys() | known.keys()):
            if shown.get(name) != known.get(name):
                problems.append(f"{name}: docs/dependencies.md says {known.get(name)}, the programs {shown.get(name)}")
    else:
        DOCUMENT.write_text(
            "# Dependencies\n\nWhat the programs load, read from the programs by `docs/dependencies.py`; a test checks that\n"
            "it is so. Everything comes from Debian's packages; their versions here are those of the machine on\n"
            "which this was written. The oldest versions that work stand in `libs/cmake/TributaryDependencies.cmake`.\n\n" +
            "\n".join(lines) + "\n\nTo build and to test: g++ or clang, CMake, Ninja, ccache, mold, protoc, GoogleTest,\n"
            "Google Benchmark, Boost.Beast, Python, Kafka with a Java runtime, Prometheus, Go. None of it is in an image.\n")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
