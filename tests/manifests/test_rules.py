"""Every pod of every kustomization keeps the rules, and every rule speaks when it is broken."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duplexforge.autokicker.parse import quantity
from duplexforge.config import GROUPS
from duplexforge.config.load import variables as names_of
from tests.manifests import rules
from tests.manifests.kustomize import Object, pod_specs
from tests.manifests.rules import RULES, SETTINGS, Rule
from tests.manifests.tree import K8S, ROOT, deployments, everything, rendered, title, variables, workloads

WORKLOADS = workloads(deployments())
GPU, TRAIN = K8S / "examples" / "emiliapipe", K8S / "examples" / "train"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", WORKLOADS)
def test_rule(name: str, rule: Rule) -> None:
    assert list(rule(WORKLOADS[name])) == []


@pytest.mark.parametrize("folder", deployments(), ids=title)
def test_grace_period(folder: Path) -> None:
    objects = rendered(folder)
    for one in objects:
        for spec in pod_specs(one):
            assert list(rules.grace(one, variables(objects, spec["containers"][0]))) == [], one["metadata"]["name"]


def test_a_wrong_grace_period_is_seen() -> None:
    one = broken(lambda pod, container, one: pod.update(terminationGracePeriodSeconds=30))
    assert list(rules.grace(one, {"DRAIN_SECONDS": "25"})) == ["the grace period is not DRAIN_SECONDS (25) + 30"]


# -- each rule, broken -------------------------------------------------------------------------------------------------

Change = Callable[[Any, Any, Any], object]


def broken(change: Change, folder: Path = GPU, kind: str = "Deployment") -> Object:
    """The pipeline's Deployment, or the Job of ``folder``, after ``change(pod, container, object)``."""
    (one,) = [copy.deepcopy(found) for found in rendered(folder) if found["kind"] == kind]
    (spec,) = pod_specs(one)
    change(spec, spec["containers"][0], one)
    return one


MUTANTS: list[tuple[Rule, str, Change]] = [
    (rules.restricted, "root", lambda pod, c, one: pod["securityContext"].pop("runAsNonRoot")),
    (rules.restricted, "root", lambda pod, c, one: c["securityContext"].update(runAsUser=0)),
    (rules.restricted, "seccomp", lambda pod, c, one: pod["securityContext"].pop("seccompProfile")),
    (rules.restricted, "host's", lambda pod, c, one: pod.update(hostNetwork=True)),
    (rules.restricted, "gain", lambda pod, c, one: c["securityContext"].pop("allowPrivilegeEscalation")),
    (rules.restricted, "write its root", lambda pod, c, one: c["securityContext"].pop("readOnlyRootFilesystem")),
    (rules.restricted, "capabilities", lambda pod, c, one: c["securityContext"].pop("capabilities")),
    (rules.restricted, "node's", lambda pod, c, one: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    (rules.accounts, "namespace's", lambda pod, c, one: pod.pop("serviceAccountName")),
    (rules.accounts, "token", lambda pod, c, one: pod.update(automountServiceAccountToken=True)),
    (rules.accounts, "Services", lambda pod, c, one: pod.pop("enableServiceLinks")),
    (rules.probes, "startupProbe", lambda pod, c, one: c.pop("startupProbe")),
    (rules.probes, "livenessProbe", lambda pod, c, one: c["livenessProbe"]["httpGet"].update(path="/healthz")),
    (rules.probes, "port", lambda pod, c, one: c["command"].remove("8080")),
    (rules.probes, "time to start", lambda pod, c, one: c["startupProbe"].update(failureThreshold=3)),
    (rules.resources, "ephemeral", lambda pod, c, one: c["resources"]["requests"].pop("ephemeral-storage")),
    (rules.resources, "limit of memory", lambda pod, c, one: c["resources"]["limits"].pop("memory")),
    (rules.resources, "GPUs", lambda pod, c, one: c["resources"]["requests"].update(cpu="8")),
    (rules.scratch, "without a size", lambda pod, c, one: pod["volumes"].append({"name": "x", "emptyDir": {}})),
    (rules.scratch, "evicted", lambda pod, c, one: c["resources"]["limits"].update({"ephemeral-storage": "1Gi"})),
    (rules.scratch, "memory with files", lambda pod, c, one: c["resources"]["limits"].update(memory="33Gi")),
    (rules.scratch, "/dev/shm", lambda pod, c, one: c["volumeMounts"].pop()),
    (rules.scratch, "elsewhere", lambda pod, c, one: c["env"].clear()),
    (rules.command, "shell", lambda pod, c, one: c.update(command=["sh", "-c", "duplexforge process | tee log"])),
    (rules.command, "init", lambda pod, c, one: c.update(command=["duplexforge", "process"])),
    (rules.image, "version", lambda pod, c, one: c.update(image="duplexforge-gpu:latest")),
    (rules.image, "version", lambda pod, c, one: c.update(image="registry:5000/duplexforge-gpu")),
    (rules.labels, "lacks", lambda pod, c, one: one["metadata"]["labels"].pop("app.kubernetes.io/part-of")),
    (rules.labels, "selector", lambda pod, c, one: one["spec"]["selector"]["matchLabels"].update(a="b")),
    (rules.labels, "lowprio", lambda pod, c, one: one["spec"]["template"]["metadata"]["labels"].pop("lowprio")),
    (rules.replicas, "left out", lambda pod, c, one: one["spec"].update(replicas=1)),
    (rules.replicas, "update", lambda pod, c, one: one["spec"].pop("strategy")),
    (rules.jobs, "cured", lambda pod, c, one: one["spec"]["podFailurePolicy"]["rules"].pop(1)),
    (rules.jobs, "node that goes", lambda pod, c, one: one["spec"]["podFailurePolicy"]["rules"].pop(0)),
    (rules.jobs, "kubelet", lambda pod, c, one: pod.update(restartPolicy="OnFailure")),
    (rules.jobs, "one size", lambda pod, c, one: one["spec"].update(parallelism=3)),
    (rules.jobs, "one size", lambda pod, c, one: one["spec"]["template"]["metadata"].pop("annotations")),
    (rules.jobs, "first one", lambda pod, c, one: pod.pop("subdomain")),
    (rules.jobs, "kicked one", lambda pod, c, one: one["spec"]["podFailurePolicy"]["rules"].pop(2)),
    (rules.jobs, "before it has ended", lambda pod, c, one: one["spec"].pop("podReplacementPolicy")),
    (rules.environment, "no setting", lambda pod, c, one: c["env"].append({"name": "WORKERS_PER_CPU", "value": "1"})),
    (rules.environment, "plain", lambda pod, c, one: c["env"].append({"name": "HF_TOKEN", "value": "x"})),
    (rules.environment, "whole Secret", lambda pod, c, one: c["envFrom"].append({"secretRef": {"name": "x"}})),
]


@pytest.mark.parametrize(("rule", "word", "change"), MUTANTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_broken_rule_is_seen(rule: Rule, word: str, change: Change) -> None:
    where = (TRAIN, "Job") if rule is rules.jobs else (GPU, "Deployment")
    assert any(word in sentence for sentence in rule(broken(change, *where)))


def test_every_rule_was_broken_once() -> None:
    assert {rule for rule, _, _ in MUTANTS} == set(RULES)


# -- settings ----------------------------------------------------------------------------------------------------------


def groups(role: str) -> set[str]:
    """Every variable that a role reads."""
    return {
        variable
        for group in GROUPS[role]
        for name, field in group.model_fields.items()
        for variable in names_of(name, field.validation_alias)
    }


# ConfigMaps that are files.
NO_SETTINGS = {"seed-sources", "train-recipe", "duplexforge-dashboard"}


def test_config_maps_hold_settings_that_their_role_reads() -> None:
    for name, one in everything().items():
        component = one["metadata"].get("labels", {}).get("app.kubernetes.io/component", "")
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] not in NO_SETTINGS:
            known = groups(component) if component in GROUPS else SETTINGS
            assert set(one["data"]) <= known, name
            assert all(isinstance(value, str) for value in one["data"].values()), name


def test_the_recipe_is_one_that_the_program_takes(tmp_path: Path) -> None:
    from duplexforge.training import recipe, trainers

    (text,) = {one["data"]["recipe.toml"] for one in everything().values() if one["metadata"]["name"] == "train-recipe"}
    (tmp_path / "recipe.toml").write_text(text)
    found = recipe.load(tmp_path / "recipe.toml")
    (job,) = [one for one in rendered(TRAIN) if one["kind"] == "Job"]
    (spec,) = pod_specs(job)
    words = spec["containers"][0]["command"]
    assert found.trainer in trainers.TRAINERS
    assert found.trainer == words[words.index("--", 3) + 1]
    # Where the data come to lie, and a disk that can be written.
    assert spec["initContainers"][0]["command"][-1] == str(found.data.folder)
    assert str(found.output).startswith("/scratch/")
    assert found.loop.batch_size % (8 * int(job["spec"]["completions"])) == 0, "a batch is shared evenly by the GPUs"


@pytest.mark.parametrize("folder", deployments(), ids=title)
def test_the_program_takes_the_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from duplexforge import config

    objects = rendered(folder)
    for one in objects:
        for spec in pod_specs(one):
            role = one["metadata"]["labels"]["app.kubernetes.io/component"]
            with monkeypatch.context() as environment:
                for name in SETTINGS:
                    environment.delenv(name, raising=False)
                for name, value in variables(objects, spec["containers"][0]).items():
                    environment.setenv(name, value if isinstance(value, str) else "https://example.invalid/given-later")
                config.load(role)


def test_volumes_hold_what_the_settings_allow() -> None:
    for folder in deployments():
        objects = rendered(folder)
        for one in objects:
            for spec in pod_specs(one):
                env = variables(objects, spec["containers"][0])
                size = max(
                    quantity(volume["emptyDir"]["sizeLimit"]) for volume in spec["volumes"] if "emptyDir" in volume
                )
                name = one["metadata"]["name"]
                if name == "download":
                    # One under way, one ahead, and those that broke off.
                    assert (2 + int(env["KEEP_PARTIALS"])) * int(env["DOWNLOAD_MAX_BYTES"]) <= size, folder
                if name == "upload":
                    assert 2 * int(env["UPLOADS_AT_ONCE"]) * int(env["SHARD_BYTES"]) <= size, folder


def test_the_pipeline_has_its_published_size() -> None:
    objects = rendered(GPU)
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"]
    (container,) = pod_specs(deployment)[0]["containers"]
    limits, env = container["resources"]["limits"], variables(objects, container)
    assert (limits["nvidia.com/gpu"], limits["cpu"], limits["memory"]) == ("8", "32", "512Gi")
    assert (env["WORKERS_PER_GPU"], env["BATCH_SIZE"], env["SEPARATION_CHUNKS"]) == ("3", "40", "18")


def test_the_workers_ports_are_those_that_they_open() -> None:
    from duplexforge.service import _child_port

    for folder in deployments():
        objects = rendered(folder)
        for one in objects:
            for spec in pod_specs(one) if one["kind"] == "Deployment" else ():
                (container,) = spec["containers"]
                gpus = int(container["resources"]["limits"].get("nvidia.com/gpu", "0"))
                if gpus:
                    slots = gpus * int(variables(objects, container)["WORKERS_PER_GPU"])
                    ports = {
                        port["name"]: port["containerPort"] for port in container["ports"] if port["name"] != "http"
                    }
                    assert ports == {f"worker-{slot}": _child_port(8080, slot) for slot in range(slots)}


# -- the whole -----------------------------------------------------------------------------------------------------------


def test_no_secret_and_no_account_stands_in_the_tree() -> None:
    files = [path for path in K8S.rglob("*") if path.is_file()] + list((ROOT / "examples").glob("*.yaml"))
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b\d{12}\b", text), f"{path}: an account's number"
        assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{12,}|\bhf_[A-Za-z0-9]{8,}|-----BEGIN", text), f"{path}: a key"
        assert "kind: Secret" not in text, path


@pytest.mark.parametrize("text", ["arn:aws:iam::123456789012:role/x", "AKIAABCDEFGHIJKLMNOP", "hf_abcdefghij"])
def test_a_canary_would_be_seen(text: str) -> None:
    assert re.search(r"\b\d{12}\b|\b(AKIA|ASIA)[A-Z0-9]{12,}|\bhf_[A-Za-z0-9]{8,}|-----BEGIN", text)


@pytest.mark.parametrize("folder", deployments(), ids=title)
def test_whatever_is_referred_to_is_there_or_is_said_to_be_made_by_hand(folder: Path) -> None:
    objects = rendered(folder)
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    by_hand = {("Secret", "duplexforge-store"), ("Secret", "duplexforge-hub"), ("ConfigMap", "duplexforge-queues")}
    for one in objects:
        text = json.dumps(one)
        wanted = {("Secret", name) for name in re.findall(r'"secretKeyRef": {"[^}]*?"?name": "([^"]+)"', text)}
        wanted |= {
            ("ConfigMap", name) for name in re.findall(r'"configMap\w*": {"(?:key": "[^"]+", ")?name": "([^"]+)"', text)
        }
        wanted |= {("ServiceAccount", name) for name in re.findall(r'"serviceAccountName": "([^"]+)"', text)}
        wanted |= {("PriorityClass", name) for name in re.findall(r'"priorityClassName": "([^"]+)"', text)}
        wanted |= {("PersistentVolumeClaim", name) for name in re.findall(r'"claimName": "([^"]+)"', text)}
        assert wanted <= there | by_hand, one["metadata"]["name"]


@pytest.mark.parametrize("folder", deployments(), ids=title)
def test_what_is_made_by_hand_is_told_in_the_tree(folder: Path) -> None:
    comments = "\n".join(path.read_text(encoding="utf-8") for path in K8S.rglob("kustomization.yaml"))
    text = json.dumps(rendered(folder))
    for name in ("duplexforge-store", "duplexforge-hub", "duplexforge-queues"):
        if name in text:
            assert re.search(rf"kubectl create (secret generic|configmap) {name} ", comments), name


@pytest.mark.parametrize("folder", deployments(), ids=title)
def test_one_version_everywhere(folder: Path) -> None:
    from duplexforge import __version__

    for one in rendered(folder):
        for spec in pod_specs(one):
            assert {container["image"].partition(":")[2] for container in spec["containers"]} == {__version__}


def test_the_probe_buys_no_nodes() -> None:
    # The cluster autoscaler does not count pods below -10 (its --expendable-pods-priority-cutoff).
    (one,) = [found for found in everything().values() if found["kind"] == "PriorityClass"]
    assert one["value"] < -10
    assert one["preemptionPolicy"] == "Never"
    assert one["globalDefault"] is False


@pytest.mark.parametrize("name", [name for name in WORKLOADS if "CronJob" in name])
def test_jobs_do_not_try_again_what_cannot_be_cured(name: str) -> None:
    from duplexforge import errors

    job = WORKLOADS[name]["spec"]["jobTemplate"]["spec"]
    codes = {
        code for rule in job["podFailurePolicy"]["rules"] for code in rule.get("onExitCodes", {}).get("values", ())
    }
    again = errors.RetryLater.exit_code
    known = {one.exit_code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "exit_code")}
    assert codes <= known
    assert again not in codes
    assert {errors.UsageError.exit_code, errors.ConfigError.exit_code, errors.InputError.exit_code} <= codes
    assert job["template"]["spec"]["restartPolicy"] == "Never"
