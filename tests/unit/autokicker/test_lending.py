"""Jobs that are lent: a gang goes whole or not at all, for guests whom nothing less can help, and comes back whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as rules_of
from hypothesis import strategies as st

from duplexforge.autokicker import parse
from duplexforge.autokicker.decide import decide
from duplexforge.autokicker.lending import lend
from duplexforge.autokicker.memory import Memory
from duplexforge.autokicker.world import Lent, Observation, Pod
from tests.servers.kube import objects
from tests.servers.kube import rules as kube
from tests.servers.kube.client import KubeServer
from tests.servers.kube.kinds import JOBS, PODS
from tests.servers.kube.model import Cluster
from tests.unit.autokicker import made
from tests.unit.autokicker.processes import Running, call, command, until
from tests.unit.autokicker.virtual import Driver, factory, settings

JOB = "/apis/batch/v1/namespaces/factory/jobs/train"


def member(job: str, number: int, place: str, gpus: float = 8, **changes: Any) -> Pod:
    """A pod of a Job of ours."""
    labels = {"lowprio": "true", parse.JOB_NAME: job}
    return made.pod(f"{job}-{number}", gpus, **{"namespace": "factory", "node": place, "labels": labels, **changes})


def gang(name: str, places: str, *, gpus: float = 8, **changes: Any) -> Lent:
    """A Job with a pod on each of ``places`` (a letter a node, a dot for none)."""
    pods = tuple(member(name, n, "" if one == "." else one, gpus) for n, one in enumerate(places))
    template = replace(made.pod("template", gpus), namespace="factory")
    return Lent(name, len(places), template, uid=name, **{"pods": pods, **changes})


def seen(*jobs: Lent, **given: Any) -> Observation:
    """What the autokicker sees, with these Jobs."""
    kin = tuple(pod for job in jobs for pod in job.pods)
    return made.seen(**{"kin": kin, "lent": jobs, **given})


def put_off(name: str = "train", size: int = 2, *, at: float = made.NOW - 500, gpus: float = 8) -> Lent:
    """A Job that an autokicker has suspended."""
    return replace(gang(name, "." * size, gpus=gpus), pods=(), suspended=True, put_off=at)


# -- going -----------------------------------------------------------------------------------------------------------------


def test_a_job_goes_whole_for_whom_the_replicas_cannot_help() -> None:
    job = gang("train", "ab")
    loan, memory = lend(seen(job, others=[made.guest("g", 4)]), Memory(), settings())
    assert loan.suspend == (job,)
    assert "makes way for research/g" in loan.reason
    assert memory.guest_at == made.NOW
    assert loan.action.word == "hold"


def test_replicas_go_first() -> None:
    job = gang("train", "a")
    mine = made.many(8, "b")
    loan, _ = lend(seen(job, mine=mine, others=[made.guest("g", 4)]), Memory(), settings())
    assert (loan.suspend, loan.action.word, len(loan.action.victims)) == ((), "yield", 4)


def test_replicas_and_a_job_go_together_where_both_must() -> None:
    job = gang("train", "a")
    first, second = made.guest("g-1", 8), made.guest("g-2", 8)
    group = [replace(one, gang="g", gang_size=2) for one in (first, second)]
    loan, _ = lend(seen(job, mine=made.many(8, "b"), others=group), Memory(), settings())
    assert loan.suspend == (job,)
    assert len(loan.action.victims) == 8


def test_the_job_with_the_fewest_pods_goes_and_no_other() -> None:
    large, small, other = gang("large", "ab"), gang("small", "c"), gang("other", "d", gpus=2)
    nodes = [made.node(name) for name in "abcd"]
    observed = seen(large, small, other, nodes=nodes, others=[made.guest("g", 8)])
    assert {job.name for job in lend(observed, Memory(), settings())[0].suspend} in ({"small"}, {"other"})
    both = seen(gang("x", "a"), gang("y", "b"), others=[replace(made.guest(f"g{n}", 8), gang="g") for n in range(2)])
    assert {job.name for job in lend(both, Memory(), settings())[0].suspend} == {"x", "y"}


@pytest.mark.parametrize(
    "guest",
    [made.guest("nine", 9), made.guest("elsewhere", 4, selector={"zone": "x"}), made.guest("none", 0)],
    ids=lambda pod: pod.name,
)
def test_nobody_goes_in_vain(guest: Pod) -> None:
    observed = seen(gang("train", "ab"), others=[guest])
    loan, _ = lend(observed, Memory(), settings())
    assert (loan.suspend, loan.resume) == ((), ())


def test_a_gang_that_cannot_fit_costs_nobody_anything() -> None:
    group = [replace(made.guest(f"g{n}", 8), gang="g") for n in range(3)]
    assert lend(seen(gang("train", "ab"), others=group), Memory(), settings())[0].suspend == ()


def test_without_nodes_paused_or_beside_an_hpa_nothing_is_suspended() -> None:
    job, guest = gang("train", "ab"), made.guest("g", 4)
    for changes in ({"nodes": None, "complete": False}, {"complete": False}, {"paused": True}, {"rival": "HPA x"}):
        observed = seen(job, others=[guest])
        target = {"paused": True} if "paused" in changes else {}
        fields = {name: value for name, value in changes.items() if name != "paused"}
        observed = replace(observed, target=replace(observed.target, **target), **fields)
        loan, _ = lend(observed, Memory(), settings())
        assert (loan.suspend, loan.resume) == ((), ()), changes


def test_many_jobs_are_tried_one_by_one_then_all() -> None:
    jobs = [gang(f"j{n}", "ab"[n % 2], gpus=1) for n in range(8)]
    one = lend(seen(*jobs, others=[made.guest("g", 5)]), Memory(), settings())[0]
    assert len(one.suspend) == 1
    all_of_them = lend(seen(*jobs, others=[made.guest("g", 8)]), Memory(), settings())[0]
    assert len(all_of_them.suspend) == 8


# -- coming back -------------------------------------------------------------------------------------------------------


def test_it_comes_back_when_all_of_it_fits() -> None:
    loan, _ = lend(seen(put_off()), Memory(), settings())
    assert [job.name for job in loan.resume] == ["train"]
    assert loan.action.word == "hold", "the replicas grow when its pods have their places"


def test_not_in_part_not_while_somebody_waits_and_not_at_once() -> None:
    taken = made.pod("other", 1, node="a")
    waiting = made.guest("g", 4)
    assert lend(seen(put_off(), others=[taken]), Memory(), settings())[0].resume == ()
    assert lend(seen(put_off(), others=[waiting]), Memory(), settings())[0].resume == ()
    recent = Memory(guest_at=made.NOW - 10)
    assert lend(seen(put_off()), recent, settings())[0].resume == ()
    assert lend(seen(put_off()), Memory(guest_at=made.NOW - 61), settings())[0].resume


def test_a_pending_replica_goes_before_it_comes() -> None:
    probe = made.ours("probe", "", ready=False, running=False)
    loan, _ = lend(seen(put_off(), mine=[probe]), Memory(), settings())
    assert (loan.resume, loan.action.word, loan.action.replicas) == ((), "trim", 0)


def test_replicas_make_way_for_it() -> None:
    mine = made.many(8, "a")
    loan, _ = lend(seen(put_off(), mine=mine), Memory(), settings())
    assert (loan.resume, loan.action.word, loan.action.replicas) == ((), "trim", 0)
    assert len(loan.action.victims) == 8
    # Those who leave are waited for.
    leaving = [replace(pod, leaving=made.NOW + 30) for pod in mine]
    loan, _ = lend(seen(put_off(), mine=leaving, replicas=0), Memory(), settings())
    assert (loan.resume, loan.action.word) == ((), "hold")
    # No more than may go.
    assert lend(seen(put_off(), mine=mine, least=3), Memory(), settings())[0].action.word != "trim"


def test_who_was_suspended_by_a_person_stays_so() -> None:
    job = replace(put_off(), put_off=None)
    loan, _ = lend(seen(job), Memory(), settings())
    assert loan.resume == ()
    assert loan.action.word == "grow"


def test_who_waited_longest_comes_back_first() -> None:
    jobs = [put_off("late", at=made.NOW - 100), put_off("early", at=made.NOW - 200)]
    assert [job.name for job in lend(seen(*jobs), Memory(), settings())[0].resume] == ["early"]


# -- in part -------------------------------------------------------------------------------------------------------------


def test_a_gang_in_part_is_waited_for_and_then_put_off() -> None:
    young = gang("train", "a.")
    young = replace(young, pods=tuple(replace(pod, created=made.NOW - 5) for pod in young.pods))
    loan, _ = lend(seen(young), Memory(), settings())
    assert (loan.suspend, loan.action.word) == ((), "hold"), "no probe beside it"
    loan, _ = lend(seen(gang("train", "a.")), Memory(), settings())
    assert [job.name for job in loan.suspend] == ["train"]
    assert "1 of its 2 pods found room" in loan.reason


def test_pods_that_are_started_again_are_no_reason() -> None:
    # A pod has ended, and the controller waits a little before it makes another one.
    job = replace(gang("train", "ab"), started=made.NOW - 9000)
    assert lend(seen(replace(job, pods=job.pods[:1])), Memory(), settings())[0].suspend == ()


@rules_of(max_examples=100, deadline=None)
@given(
    places=st.lists(st.sampled_from("ab."), min_size=1, max_size=3),
    suspended=st.booleans(),
    replicas=st.integers(0, 8),
    wanted=st.lists(st.integers(1, 9), max_size=2),
    quiet=st.sampled_from([None, 1.0, 500.0]),
)
def test_whatever_is_seen(
    places: list[str], suspended: bool, replicas: int, wanted: list[int], quiet: float | None
) -> None:
    job = gang("train", "".join(places), gpus=4)
    if suspended:
        job = replace(job, pods=(), suspended=True, put_off=made.NOW - 500)
    others = [made.guest(f"g{n}", gpus) for n, gpus in enumerate(wanted)]
    memory = Memory(guest_at=None if quiet is None else made.NOW - quiet)
    observed = seen(job, mine=made.many(replicas, "b"), others=others)
    loan, _ = lend(observed, memory, settings())
    assert lend(observed, memory, settings())[0] == loan
    assert not (loan.suspend and loan.resume)
    assert all(not one.suspended and one.placed for one in loan.suspend) or not loan.action.victims
    assert all(one.suspended for one in loan.resume)
    if loan.resume:
        assert loan.action.replicas <= len(observed.placed)
    alone, _ = decide(replace(observed, lent=()), memory, settings())
    if not loan.suspend and alone.word == "yield":
        assert loan.action == alone, "guests get from the replicas what they always got"


# -- reading -------------------------------------------------------------------------------------------------------------


def test_a_job_is_read_as_the_api_writes_it() -> None:
    found = objects.job(size=3, gpus=4)
    found["metadata"] |= {"resourceVersion": "7", "annotations": {parse.PUT_OFF: "2026-01-03T00:00:00Z"}}
    found["status"] = {"succeeded": 1, "startTime": "2026-01-03T00:00:05Z"}
    job = parse.lent(found)
    assert job
    assert (job.name, job.size, job.version, job.suspended) == ("train", 2, "7", False)
    assert job.started - (job.put_off or 0) == 5
    assert job.template.requests["nvidia.com/gpu"] == 4


@pytest.mark.parametrize("why", ["ended", "failed", "kueue", "not lent"])
def test_jobs_that_are_not_its_affair(why: str) -> None:
    found = objects.job()
    if why in ("ended", "failed"):
        kind = {"ended": "Complete", "failed": "Failed"}[why]
        found["status"] = {"conditions": [{"type": kind, "status": "True"}]}
    elif why == "kueue":
        found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "q"
    else:
        del found["metadata"]["labels"]["duplexforge.io/lent"]
    assert parse.lent(found) is None


# -- over time, on the model ---------------------------------------------------------------------------------------------


def gpus_of(cluster: Cluster, name: str) -> int:
    """What the pods of a Job hold."""
    return sum(
        kube.gpus(pod) for pod in cluster.store.listed(PODS)
        if pod["metadata"]["labels"].get(parse.JOB_NAME) == name and pod["spec"].get("nodeName")
    )  # fmt: skip


@pytest.fixture
def day() -> Driver:
    """Two nodes; a training Job on both of them."""
    driver = factory(replicas=0, stop=3.0)
    driver.cluster.load(objects.job(size=2, sim={"stop": 5.0}))
    return driver


def test_a_guest_comes_and_goes_and_the_run_with_it(day: Driver) -> None:
    day.run(30)
    assert gpus_of(day.cluster, "train") == 16
    day.cluster.plan(40, objects.guest("guest", gpus=4, sim={"run": 100}))
    day.run(60)
    ran = day.cluster.timeline.ran("guest")
    assert ran is not None
    assert ran <= 47, "the pods' five seconds, and a moment"
    assert gpus_of(day.cluster, "train") == 0, "a gang with a hole in it holds nothing"
    day.run(400)
    assert gpus_of(day.cluster, "train") == 16
    assert [bool(loan.resume) for _, loan in day.loans] == [False, True]
    assert day.loans[1][0] > 140, "not while the guest runs"


def test_replicas_fill_what_is_left_and_make_way_again(day: Driver) -> None:
    day.cluster.plan(40, objects.guest("guest", gpus=8, sim={"run": 200}))
    day.run(200)
    # One node is the guest's; the run needs two, so the replicas have the other.
    seen_now = day.see()
    assert len(seen_now.placed) == 8
    day.run(500)
    assert gpus_of(day.cluster, "train") == 16
    assert not day.see().placed


def test_short_guests_do_not_make_it_flutter(day: Driver) -> None:
    for number in range(10):
        day.cluster.plan(40 + 30 * number, objects.guest(f"short-{number}", gpus=2, sim={"run": 10}))
    day.run(1000)
    assert len([loan for _, loan in day.loans if loan.suspend]) == 1
    assert gpus_of(day.cluster, "train") == 16
    times = [at for at, _ in day.loans]
    assert all(later - earlier > 60 for earlier, later in pairwise(times))


def test_a_run_that_ends_is_left_alone() -> None:
    driver = factory()
    driver.cluster.load(objects.job(size=2, sim={"run": 50.0}))
    driver.run(300)
    (job,) = driver.cluster.store.listed(JOBS)
    assert job["status"]["conditions"] == [{"type": "Complete", "status": "True"}]
    assert driver.loans == []
    assert len(driver.see().placed) == 16


def test_a_run_that_finds_room_in_part_waits_for_all_of_it() -> None:
    driver = factory(replicas=0)
    driver.cluster.load(objects.guest("tenant", gpus=1, sim={"run": 300}), objects.job(size=2))
    driver.run(250)
    assert gpus_of(driver.cluster, "train") == 0, "it holds nothing while it cannot work"
    assert len(driver.see().placed) == 15
    driver.run(700)
    assert gpus_of(driver.cluster, "train") == 16


# -- the real process ----------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[KubeServer]:
    """One node, and a run on it."""
    with KubeServer() as running:
        running.create(objects.node("node-a", gpus=8), objects.deployment(sim={"stop": 0.3, "load": 0.1}))
        running.create(objects.job(size=2, gpus=4, sim={"stop": 0.3}))
        yield running


def _holding(server: KubeServer) -> int:
    """Pods of the Job that have a node."""
    pods = call(server, "GET", "/api/v1/namespaces/factory/pods")["items"]
    return sum(1 for pod in pods if parse.JOB_NAME in pod["metadata"]["labels"] and pod["spec"].get("nodeName"))


def test_the_process_suspends_and_resumes(server: KubeServer, tmp_path: Path) -> None:
    kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")

    def suspended() -> bool:
        return bool(call(server, "GET", JOB)["spec"].get("suspend"))

    with Running(tmp_path, kubeconfig) as kicker:
        until(lambda: _holding(server) == 2)
        server.create(objects.guest("guest", gpus=2, sim={"run": 3.0}))
        until(suspended)
        assert parse.PUT_OFF in call(server, "GET", JOB)["metadata"]["annotations"]
        until(lambda: server.timeline().ran("guest") is not None)
        until(lambda: not suspended() and _holding(server) == 2, seconds=40)
        assert parse.PUT_OFF not in call(server, "GET", JOB)["metadata"].get("annotations", {})
        assert kicker.stop() == 0
    reasons = [event["reason"] for event in server.control("events")]
    assert "Yielding" in reasons
    assert "Resuming" in reasons


def test_explain_tells_of_jobs(server: KubeServer, tmp_path: Path) -> None:
    kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
    until(lambda: _holding(server) == 2)
    server.create(objects.guest("guest", gpus=2))
    # Only what the scheduler has refused waits for room.
    guest = "/api/v1/namespaces/research/pods/guest"
    until(lambda: call(server, "GET", guest).get("status", {}).get("conditions"))
    told = command(tmp_path, kubeconfig, "--explain")
    assert told.returncode == 0, told.stderr
    assert "It would suspend the Job train: makes way for research/guest" in told.stdout
    assert not call(server, "GET", JOB)["spec"].get("suspend")
