#!/usr/bin/env python3
"""Renders every overlay of k8s/ and holds it against the published API of Kubernetes 1.30.

    kubernetes_test.py --bin build/release/bin

Unknown keys, wrong types, missing keys and wrong choices are refused, as an API server with strict fields
does; it checks more (formats, relations between fields), which is not tried here. The custom resources of the
Prometheus Operator and of KEDA are held against the definitions that they publish, and those of Strimzi against
what its published generator makes of its published model. Needs python3-yaml, Go, Maven and Java (kubernetes_tools.sh).
"""

import argparse
import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
OVERLAYS = sorted(path.parent for path in (TOP / "k8s" / "overlays").glob("*/kustomization.yaml"))
SERVICES = ("control", "extractor", "loader", "transformer")
BIN = None


def some(**properties):
    return {"type": "object", "properties": properties, "required": list(properties)}


class Api:
    def __init__(self, fields, swagger, definitions):
        self.types = {}
        self.definitions = {
            (f"{definition['spec']['group']}/{version['name']}", definition["spec"]["names"]["kind"]):
            version["schema"]["openAPIV3Schema"] for definition in definitions for version in definition["spec"]["versions"]}
        for named in fields["types"]:
            schema = self._schema(named)
            # The older document knows what is required, of the types that it knows.
            schema["required"] = swagger["definitions"].get(named["name"], {}).get("required", [])
            self.types[named["name"]] = schema

    def _schema(self, of_type):
        """As JSON Schema says it; {} is anything."""
        if "namedType" in of_type:
            return {"$ref": of_type["namedType"]}
        if "list" in of_type:
            return {"type": "array", "items": self._schema(of_type["list"]["elementType"])}
        if "map" in of_type:
            parts = of_type["map"]
            schema = {"type": "object",
                      "properties": {field["name"]: self._schema(field["type"]) for field in parts.get("fields", [])}}
            if "elementType" in parts:
                schema["additionalProperties"] = self._schema(parts["elementType"])
            return schema
        scalar = of_type.get("scalar")
        return {} if scalar in (None, "untyped") else {"type": "number" if scalar == "numeric" else scalar}

    def of_kind(self, version, kind):
        metadata = {"$ref": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
        if (version, kind) in self.definitions:
            schema = self.definitions[version, kind]
            return some(**{**schema["properties"], "metadata": metadata, "status": {}}) | {"required": ["spec", "metadata"]}
        group, _, version = ("/" + version).rpartition("/")
        group = group.strip("/").split(".")[0] or "core"
        return self.types.get(f"io.k8s.api.{group}.{version}.{kind}")

    def problems(self, thing):
        schema = self.of_kind(thing["apiVersion"], thing["kind"])
        if schema is None:
            return [f"unknown kind {thing['apiVersion']} {thing['kind']}"]
        return list(self._problems(schema, thing, f"{thing['kind']}/{thing['metadata']['name']}"))

    def _problems(self, schema, value, where):
        if "$ref" in schema:
            schema = self.types[schema["$ref"]]
        kind = schema.get("type")
        wanted = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int,
                  "number": (int, float), None: object}[kind]
        if not isinstance(value, wanted) or (kind in ("integer", "number") and isinstance(value, bool)):
            yield f"{where}: {value!r} is no {kind}"
        elif "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} is none of {schema['enum']}"
        elif kind == "array":
            for i, item in enumerate(value):
                yield from self._problems(schema["items"], item, f"{where}[{i}]")
        elif kind == "object":
            for name in schema.get("required", []):
                if name not in value:
                    yield f"{where}: {name} is missing"
            properties, more = schema.get("properties", {}), schema.get("additionalProperties")
            if schema.get("x-kubernetes-preserve-unknown-fields"):
                more = {}
            for name, item in value.items():
                if name in properties or more is not None:
                    yield from self._problems(properties.get(name, more), item, f"{where}.{name}")
                else:
                    yield f"{where}: unknown key {name}"


def labels_of(pod):
    return pod["spec"]["template"]["metadata"]["labels"]


def selects(selector, labels):
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
                          for expression in selector.get("matchExpressions", []))


class KubernetesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        tools = subprocess.run(["bash", str(pathlib.Path(__file__).with_name("kubernetes_tools.sh"))], text=True,
                               stdout=subprocess.PIPE, check=True).stdout.split("\n")
        def load(path):
            return yaml.load(path.read_text(), yaml.CSafeLoader)
        cls.api = Api(load(pathlib.Path(tools[1])), json.loads(pathlib.Path(tools[2]).read_text()),
                      [load(path) for path in sorted(pathlib.Path(tools[3]).glob("*.yaml"))])
        cls.rendered = {}
        for overlay in OVERLAYS:
            text = subprocess.run([tools[0], "build", str(overlay)], text=True, stdout=subprocess.PIPE,
                                  check=True).stdout
            cls.rendered[overlay.name] = list(yaml.safe_load_all(text))

    def each(self, *kinds):
        return [(things, thing) for things in self.rendered.values() for thing in things
                if not kinds or thing["kind"] in kinds]

    def about(self, thing):
        return self.subTest(kind=thing["kind"], name=thing["metadata"]["name"])

    def test_there_are_three_overlays_of_four_services(self):
        self.assertEqual({"small", "production", "autoscaled"}, set(self.rendered))
        for things in self.rendered.values():
            sets = sorted(thing["metadata"]["name"] for thing in things if thing["kind"] == "StatefulSet")
            self.assertEqual(list(SERVICES), sets)

    def test_everything_is_as_the_api_says(self):
        for _, thing in self.each():
            with self.about(thing):
                self.assertEqual([], self.api.problems(thing))
        for path in sorted((TOP / "k8s").glob("kafka/*.yaml")) + [TOP / "k8s" / "prometheus" / "prometheus.yaml"]:
            for thing in yaml.safe_load_all(path.read_text()):
                with self.about(thing):
                    self.assertEqual([], self.api.problems(thing))

    def test_what_the_api_does_not_know_is_refused(self):
        good = next(thing for thing in self.rendered["small"] if thing["kind"] == "StatefulSet")
        def container(thing):
            return thing["spec"]["template"]["spec"]["containers"][0]
        def rename(thing, old, new):
            thing[new] = thing.pop(old)
        wrong = {
            "unknown key livenesProbe": lambda thing: rename(container(thing), "livenessProbe", "livenesProbe"),
            "'one' is no number": lambda thing: thing["spec"].update(replicas="one"),
            "name is missing": lambda thing: container(thing).pop("name"),
            "unknown kind": lambda thing: thing.update(apiVersion="apps/v2"),
        }
        for problem, spoil in wrong.items():
            with self.subTest(problem):
                thing = copy.deepcopy(good)
                spoil(thing)
                self.assertRegex("\n".join(self.api.problems(thing)), problem)
        user = next(thing for thing in self.rendered["small"] if thing["kind"] == "KafkaUser")
        user = copy.deepcopy(user)
        user["spec"]["authorization"]["acls"][0]["operations"] = ["Reed"]
        self.assertRegex("\n".join(self.api.problems(user)), "none of")
        for kind, spoil in {
                "KafkaTopic": lambda spec: rename(spec, "partitions", "partitionss"),
                "PodMonitor": lambda spec: rename(spec["podMetricsEndpoints"][0], "interval", "intervall"),
                "PrometheusRule": lambda spec: rename(spec["groups"][0]["rules"][0], "expr", "expression"),
                "ScaledObject": lambda spec: rename(spec["triggers"][0], "metadata", "metadatas")}.items():
            with self.subTest(kind):
                thing = copy.deepcopy(next(thing for _, thing in self.each(kind)))
                spoil(thing["spec"])
                self.assertRegex("\n".join(self.api.problems(thing)), "unknown key (partitionss|intervall|expression|metadatas)")

    def test_pods_are_restricted_probed_and_sized(self):
        for _, thing in self.each("StatefulSet"):
            with self.about(thing):
                pod = thing["spec"]["template"]["spec"]
                self.assertFalse(pod["automountServiceAccountToken"])
                self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                self.assertEqual("RuntimeDefault", pod["securityContext"]["seccompProfile"]["type"])
                self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], 45)
                self.assertLessEqual({kind for volume in pod["volumes"] for kind in volume} - {"name"},
                                     {"configMap", "secret", "emptyDir"})
                for constraint in pod["topologySpreadConstraints"]:
                    self.assertTrue(selects(constraint["labelSelector"], labels_of(thing)))
                self.assertEqual(1, len(pod["containers"]))
                container = pod["containers"][0]
                context = container["securityContext"]
                self.assertFalse(context["allowPrivilegeEscalation"])
                self.assertTrue(context["readOnlyRootFilesystem"])
                self.assertEqual(["ALL"], context["capabilities"]["drop"])
                self.assertEqual("/livez", container["livenessProbe"]["httpGet"]["path"])
                self.assertEqual("/readyz", container["readinessProbe"]["httpGet"]["path"])
                self.assertEqual({"cpu", "memory"}, set(container["resources"]["requests"]))
                self.assertIn("memory", container["resources"]["limits"])
                self.assertRegex(container["image"], r":\d+\.\d+\.\d+$")

    def test_production_has_what_the_plan_says_with_one_member_away(self):
        flags = re.search(r"`tributary (plan [^`]*)`", (TOP / "k8s/overlays/production/kustomization.yaml").read_text())[1]
        plan = json.loads(subprocess.run([BIN / "tributary", *flags.split(), "--json"], text=True, check=True,
                                         stdout=subprocess.PIPE).stdout)
        self.assertEqual(64, plan["partitions"])
        sets = {thing["metadata"]["name"]: thing["spec"] for thing in self.rendered["production"]
                if thing["kind"] == "StatefulSet"}
        units = {"Mi": 2**20 / 1e6, "Gi": 2**30 / 1e6}
        for wanted in plan["services"]:
            with self.subTest(wanted["service"]):
                spec = sets[wanted["service"]]
                requests = spec["template"]["spec"]["containers"][0]["resources"]["requests"]
                storage = spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
                left = max(spec["replicas"] - 1, 1)
                for given, each in ((requests["memory"], wanted["memory_megabytes"]), (storage, wanted["disk_megabytes"])):
                    self.assertGreaterEqual(int(given[:-2]) * units[given[-2:]], each * wanted["replicas"] / left)
                self.assertTrue(requests["cpu"].endswith("m"))
                self.assertGreaterEqual(int(requests["cpu"][:-1]) / 1000, wanted["cores"] / left)

    def test_scaling_is_of_services_that_may_have_members_by_a_metric_that_exists(self):
        recorded = (TOP / "k8s" / "monitoring" / "rules.yaml").read_text()
        scaled = [thing for _, thing in self.each("ScaledObject")]
        self.assertEqual(["loader", "transformer"], sorted(thing["metadata"]["name"] for thing in scaled))
        for thing in scaled:
            with self.about(thing):
                name = thing["metadata"]["name"]
                self.assertEqual({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
                                 thing["spec"]["scaleTargetRef"])
                query = thing["spec"]["triggers"][0]["metadata"]["query"]
                self.assertTrue(query.endswith(f'{{stage="{name}"}}'), query)
                self.assertIn(f"record: {query.split('{')[0]}\n", recorded)
                target = next(other for other in self.rendered["autoscaled"]
                              if other["kind"] == "StatefulSet" and other["metadata"]["name"] == name)
                self.assertNotIn("replicas", target["spec"])

    def test_what_is_named_exists(self):
        for things, thing in self.each("StatefulSet"):
            with self.about(thing):
                pod = thing["spec"]["template"]["spec"]
                volumes = {volume["name"] for volume in pod["volumes"]}
                volumes |= {claim["metadata"]["name"] for claim in thing["spec"]["volumeClaimTemplates"]}
                ports = {port["name"] for port in pod["containers"][0]["ports"]}
                self.assertEqual(volumes, {mount["name"] for mount in pod["containers"][0]["volumeMounts"]})
                self.assertIn("admin", ports)
                maps = {other["metadata"]["name"] for other in things if other["kind"] == "ConfigMap"}
                used = {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
                used |= {source["configMapRef"]["name"] for source in pod["containers"][0]["envFrom"]}
                self.assertLessEqual(used, maps)
                self.assertIn(thing["spec"]["serviceName"],
                              {other["metadata"]["name"] for other in things if other["kind"] == "Service"})

    def test_every_selector_finds_its_pods(self):
        for things, thing in self.each("PodDisruptionBudget", "Service", "NetworkPolicy", "PodMonitor", "StatefulSet"):
            with self.about(thing):
                spec = thing["spec"]
                selector = spec.get("podSelector", spec.get("selector"))
                if thing["kind"] == "Service":
                    selector = {"matchLabels": selector}
                pods = [pod["metadata"]["name"] for pod in things
                        if pod["kind"] == "StatefulSet" and selects(selector, labels_of(pod))]
                if thing["kind"] in ("NetworkPolicy", "PodMonitor"):
                    self.assertGreater(len(pods), 0)
                else:
                    self.assertEqual([thing["metadata"]["name"]], pods)

    def test_the_network_is_closed_and_no_secret_is_in_a_file(self):
        for things in self.rendered.values():
            policies = {thing["metadata"]["name"]: thing["spec"] for thing in things
                        if thing["kind"] == "NetworkPolicy"}
            self.assertEqual(["Ingress", "Egress"], policies["deny-all"]["policyTypes"])
            self.assertEqual({"podSelector", "policyTypes"}, set(policies["deny-all"]))
            for thing in things:
                if thing["kind"] == "StatefulSet":
                    self.assertTrue(selects(policies["deny-all"]["podSelector"], labels_of(thing)))
            # Brokers and operators, in the same namespace, need one another and the API server.
            strimzi = {"strimzi.io/cluster": "tributary", "app.kubernetes.io/part-of": "strimzi-tributary",
                       "app.kubernetes.io/name": "kafka"}
            self.assertEqual([], [name for name, policy in policies.items() if selects(policy["podSelector"], strimzi)])
            out = policies["allow-https-out"]["podSelector"]
            self.assertFalse(selects(out, {"app.kubernetes.io/name": "transformer"}))
            self.assertEqual([], [thing for thing in things if thing["kind"] == "Secret"])
            spaces = [thing["metadata"]["labels"] for thing in things if thing["kind"] == "Namespace"]
            self.assertEqual(["restricted"], [labels["pod-security.kubernetes.io/enforce"] for labels in spaces])

    def test_topics_and_users_are_those_of_the_services(self):
        names = set(re.findall(r"^\| `tributary\.(\w+)`|`(\w+)`", (TOP / "services" / "README.md").read_text()))
        words = {word for pair in names for word in pair}
        for things in self.rendered.values():
            topics = {thing["metadata"]["name"]: thing["spec"] for thing in things if thing["kind"] == "KafkaTopic"}
            self.assertEqual(8, len(topics))
            self.assertEqual(1, len({spec["partitions"] for spec in topics.values()}))
            environment = next(thing["data"] for thing in things if thing["kind"] == "ConfigMap"
                               and thing["metadata"]["name"].startswith("tributary-environment"))
            for name, spec in topics.items():
                self.assertIn(name.removeprefix("tributary."), words)
                self.assertEqual(environment["TRIBUTARY_LOG_PARTITIONS"], str(spec["partitions"]))
                self.assertEqual(environment["TRIBUTARY_LOG_REPLICATION_FACTOR"], str(spec["replicas"]))
                self.assertEqual("retention.ms" in spec["config"], spec["config"]["cleanup.policy"] == "delete")
            users = {thing["metadata"]["name"]: thing["spec"]["authorization"]["acls"] for thing in things
                     if thing["kind"] == "KafkaUser"}
            self.assertEqual({f"tributary-{service}" for service in SERVICES}, set(users))
            for user, acls in users.items():
                groups = [acl["resource"]["name"] for acl in acls if acl["resource"]["type"] == "group"]
                self.assertEqual([user.replace("-", ".")], groups)
                self.assertLessEqual({acl["resource"]["name"] for acl in acls if acl["resource"]["type"] == "topic"},
                                     set(topics) | {"tributary."})
            writers = sorted(user for user, acls in users.items() for acl in acls
                             if acl["resource"]["name"] == "tributary.changes" and "Write" in acl["operations"])
            self.assertEqual(["tributary-extractor"], writers)

    def test_the_services_accept_their_configuration(self):
        for things, thing in self.each("StatefulSet"):
            with self.about(thing):
                maps = {other["metadata"]["name"].rsplit("-", 1)[0]: other["data"]
                        for other in things if other["kind"] == "ConfigMap"}
                result = subprocess.run(
                    [BIN / thing["metadata"]["name"], "--config", "/dev/stdin", "--check"], text=True, check=False,
                    input=maps["tributary-config"]["tributary.yaml"],
                    env={**os.environ, **maps["tributary-environment"]}, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT)
                self.assertEqual(0, result.returncode, result.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=lambda text: pathlib.Path(text).resolve())
    options, rest = parser.parse_known_args()
    BIN = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
