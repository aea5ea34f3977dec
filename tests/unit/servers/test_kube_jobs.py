"""The stand-in's Job controller: all of a gang or none of it, and an end that is remembered."""

from __future__ import annotations

import copy

from tests.servers.kube import objects
from tests.servers.kube.jobs import INDEX
from tests.servers.kube.kinds import JOBS, PODS, key_of
from tests.servers.kube.model import Cluster

KEY = (objects.NAMESPACE, "train")


def cluster(**job: object) -> Cluster:
    """Two nodes and a Job of two whole nodes."""
    made = Cluster()
    made.load(objects.node("a"), objects.node("b"), objects.job(**job))  # type: ignore[arg-type]
    return made


def indexes(made: Cluster) -> list[str]:
    """The numbers of its pods that have a node."""
    return sorted(pod["metadata"]["labels"][INDEX] for pod in made.pods() if pod["spec"].get("nodeName"))


def suspend(made: Cluster, value: bool) -> None:
    """As a person or the autokicker does."""
    job = copy.deepcopy(made.store.get(JOBS, KEY))
    job["spec"]["suspend"] = value
    made.store.replace(JOBS, job)
    made.settle()


def test_a_suspended_job_has_no_pods_and_a_resumed_one_all_of_them() -> None:
    made = cluster(sim={"stop": 5.0})
    made.advance(10.0)
    assert indexes(made) == ["0", "1"]
    suspend(made, True)
    made.advance(12.0)
    assert all(pod["metadata"].get("deletionTimestamp") for pod in made.pods()), "they have their grace"
    made.advance(20.0)
    assert made.pods() == []
    assert "startTime" not in made.store.get(JOBS, KEY)["status"]
    suspend(made, False)
    made.advance(21.0)
    assert indexes(made) == ["0", "1"]


def test_a_pod_comes_again_when_it_is_gone_and_not_before() -> None:
    made = cluster(sim={"stop": 5.0})
    made.advance(1.0)
    first = next(pod for pod in made.pods() if pod["metadata"]["labels"][INDEX] == "0")
    made.store.delete(PODS, key_of(first))
    made.advance(3.0)
    assert len(made.pods()) == 2
    made.advance(10.0)
    assert indexes(made) == ["0", "1"]


def test_a_job_that_has_done_its_work_is_complete() -> None:
    made = cluster(sim={"run": 5.0})
    made.advance(30.0)
    status = made.store.get(JOBS, KEY)["status"]
    assert status["succeeded"] == 2
    assert status["conditions"] == [{"type": "Complete", "status": "True"}]
    assert made.pods() == []
