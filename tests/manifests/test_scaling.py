"""Who scales what: KEDA on queues that exist, one writer of each Deployment's replicas, nothing stopped while it works."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from duplexforge.roles import STAGE_OF
from tests.manifests.kustomize import Object, pod_specs
from tests.manifests.test_monitoring import samples
from tests.manifests.tree import CASES, K8S, deployments, rendered, title, variables

FOLDERS = [folder for folder in deployments() if any(one["kind"] == "ScaledObject" for one in rendered(folder))]


def named(things: list[Object], kind: str, name: str) -> Object:
    """The object of a kind and name."""
    (found,) = [one for one in things if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def scalers(folder: Path) -> list[Object]:
    """The ScaledObjects of a kustomization."""
    return [one for one in rendered(folder) if one["kind"] == "ScaledObject"]


def writers(things: list[Object]) -> list[str]:
    """The Deployments whose replicas something sets, once for each that does."""
    found = [one["spec"]["scaleTargetRef"]["name"] for one in things if "scaleTargetRef" in (one.get("spec") or {})]
    for one in things:
        if one["kind"] == "Deployment" and one["metadata"]["name"] == "autokicker":
            found.append(variables(things, pod_specs(one)[0]["containers"][0])["TARGET_DEPLOYMENT"])
    return found


@pytest.mark.parametrize("folder", deployments(), ids=title)
def test_one_writer_of_replicas(folder: Path) -> None:
    found = writers(rendered(folder))
    assert len(set(found)) == len(found), "two would fight over the replicas"


def test_keda_beside_the_autokicker_would_be_seen() -> None:
    both = rendered(K8S / "overlays" / "r2") + scalers(CASES / "by-keda")
    assert sorted(writers(both)) == ["emiliapipe", "emiliapipe"]


def test_every_way_to_scale_is_rendered_somewhere() -> None:
    kinds = {
        (one["spec"]["scaleTargetRef"]["name"], trigger["type"])
        for folder in FOLDERS for one in scalers(folder) for trigger in one["spec"]["triggers"]
    }  # fmt: skip
    assert kinds == {
        ("download", "aws-sqs-queue"), ("upload", "aws-sqs-queue"),
        ("download", "metrics-api"), ("upload", "metrics-api"), ("emiliapipe", "metrics-api"),
    }  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS, ids=title)
def test_scalers_aim_at_what_is_there_and_leave_work_alone(folder: Path) -> None:
    things = rendered(folder)
    for one in scalers(folder):
        spec = one["spec"]
        target = named(things, "Deployment", spec["scaleTargetRef"]["name"])
        env = variables(things, pod_specs(target)[0]["containers"][0])
        assert spec["minReplicaCount"] < spec["maxReplicaCount"]
        # A task without a sign of life for so long has lost its lease: no task that lives is longer in one step.
        assert spec["cooldownPeriod"] >= 4 * float(env["STALL_SECONDS"])
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] >= 4 * float(env["STALL_SECONDS"])


@pytest.mark.parametrize("folder", FOLDERS, ids=title)
def test_triggers_read_a_queue_that_is_there(folder: Path) -> None:
    things = rendered(folder)
    for one in scalers(folder):
        target = named(things, "Deployment", one["spec"]["scaleTargetRef"]["name"])
        labels = target["metadata"]["labels"]
        stage = STAGE_OF[labels["app.kubernetes.io/component"]]
        env = variables(things, pod_specs(target)[0]["containers"][0])
        for trigger in one["spec"]["triggers"]:
            told = trigger["metadata"]
            if trigger["type"] == "aws-sqs-queue":
                assert told["queueURLFromEnv"] in env
                assert told["queueURLFromEnv"] == {"download": "AWS_QUEUE_DOWNLOAD", "upload": "SQS_QUEUE_URL"}[stage]
                assert told["awsRegion"] == env["AWS_REGION"]
                named(things, "TriggerAuthentication", trigger["authenticationRef"]["name"])
            else:
                assert_status_answers(things, told["url"])
                match = re.fullmatch(r'(\w+)\{stage="(\w+)",state="(\w+)"\}', told["valueLocation"])
                assert match, told["valueLocation"]
                assert match[1] in samples()
                assert (match[2], match[3]) == (stage, trigger["name"])


def assert_status_answers(things: list[Object], url: str) -> None:
    """The address is that of the status Service, which serves the metrics."""
    parts = urlsplit(url)
    name, namespace, kind = str(parts.hostname).split(".")
    service = named(things, "Service", name)
    assert (kind, parts.path) == ("svc", "/metrics")
    assert service["metadata"]["namespace"] == namespace
    assert parts.port in {port["port"] for port in service["spec"]["ports"]}
    pods = named(things, "Deployment", "status")["spec"]["template"]
    assert service["spec"]["selector"].items() <= pods["metadata"]["labels"].items()
    opened = {port["name"] for port in pods["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= opened


@pytest.mark.parametrize("folder", FOLDERS, ids=title)
def test_a_formula_adds_up_what_its_triggers_tell(folder: Path) -> None:
    for one in scalers(folder):
        triggers = one["spec"]["triggers"]
        if len(triggers) > 1:
            assert one["spec"]["advanced"]["scalingModifiers"]["formula"].split(" + ") == [t["name"] for t in triggers]


def test_status_tells_the_queues_as_the_triggers_ask() -> None:
    from duplexforge import metrics

    name, _, labels = metrics.STATUS["tasks"]
    assert (name, list(labels)) == ("duplexforge_queue_tasks", ["stage", "state"])
