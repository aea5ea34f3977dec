"""Every row of the table in the design, and the traps measured there: the shipped decision on the model, in virtual time."""

from __future__ import annotations

import copy

import pytest

from tests.servers.kube import objects
from tests.servers.kube.kinds import DEPLOYMENTS
from tests.servers.kube.timeline import Timeline
from tests.unit.autokicker.virtual import KEY, REACTION, Driver, factory

STOP = 3.0
# Seen, decided, and the victims gone.
YIELDS_IN = STOP + 2 * REACTION + 0.01


def full(**config: object) -> Driver:
    """Two nodes of 8 GPUs, all ours, and the probe."""
    driver = factory(**{"quiet_seconds": 60.0, "stop": STOP, **config})  # type: ignore[arg-type]
    driver.run(30)
    assert (len(driver.see().placed), len(driver.see().waiting)) == (16, 1)
    return driver


def checked(driver: Driver, until: float = 200) -> Timeline:
    """The timeline after ``until``; both invariants hold all along."""
    driver.run(until)
    timeline = driver.cluster.timeline
    assert timeline.breaches(yields_in=YIELDS_IN, settles_in=2 * REACTION) == []
    assert timeline.needless(allowed=2 * REACTION) == []
    return timeline


@pytest.mark.parametrize("gpus", [1, 4, 8])
def test_as_many_kills_as_gpus_on_one_node(gpus: int) -> None:
    driver = full()
    driver.cluster.plan(40, objects.guest("guest", gpus=gpus, sim={"run": 60}))
    timeline = checked(driver)
    kills = timeline.kills()
    assert len(kills) == gpus
    assert len({node for _, node in kills.values()}) == 1
    assert timeline.waited("guest") <= YIELDS_IN
    assert (len(driver.see().placed), len(driver.see().waiting)) == (16, 1), "all of it is used again"


@pytest.mark.parametrize("kind", ["none", "lower", "never"])
def test_priority_is_no_condition(kind: str) -> None:
    driver = factory()
    driver.cluster.load(objects.priority("low", -1000), objects.priority("never", 1000, "Never"))
    driver.run(30)
    spec = {"none": {}, "lower": {"priorityClassName": "low"}, "never": {"priorityClassName": "never"}}[kind]
    driver.cluster.plan(40, objects.guest("guest", gpus=2, sim={"run": 60}, **spec))
    timeline = checked(driver)
    assert len(timeline.kills()) == 2
    assert timeline.ran("guest") is not None


def test_a_gang_that_cannot_fit_kills_nobody() -> None:
    driver = full()
    for number in range(3):
        driver.cluster.plan(40, objects.guest(f"rank-{number}", gpus=8, group="gang", size=3))
    assert checked(driver).kills() == {}
    assert len(driver.see().placed) == 16


def test_a_gang_that_fits_gets_all_it_needs_at_once() -> None:
    driver = full()
    for number in range(2):
        driver.cluster.plan(40, objects.guest(f"rank-{number}", gpus=8, group="gang", size=2, sim={"run": 20}))
    timeline = checked(driver)
    assert len(timeline.kills()) == 16
    assert max(at for at, _ in timeline.kills().values()) - min(at for at, _ in timeline.kills().values()) < 0.01
    assert timeline.ran("rank-0") is not None


def test_ten_short_pods_cost_one_kill() -> None:
    driver = full()
    for number in range(10):
        driver.cluster.plan(40 + 10 * number, objects.guest(f"short-{number}", sim={"run": 5}))
    timeline = checked(driver, 300)
    assert len(timeline.kills()) == 1
    assert all(timeline.ran(f"short-{number}") is not None for number in range(10))


HOPELESS = {
    "nine gpus": {"gpus": 9},
    "wrong selector": {"gpus": 1, "nodeSelector": {"zone": "moon"}},
    "missing volume": {"gpus": 1, "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]},
    "scheduling gate": {"gpus": 1, "schedulingGates": [{"name": "example.com/hold"}]},
    "200 CPUs": {"gpus": 0, "cpu": "200"},
    "200 CPUs and a GPU": {"gpus": 1, "cpu": "200"},
    "60 CPUs without a GPU": {"gpus": 0, "cpu": "60"},
    "image pull": {"gpus": 0, "sim": {"image": "missing"}},
}


@pytest.mark.parametrize("case", HOPELESS)
@pytest.mark.parametrize("policy", ["just-enough", "all"])
def test_nobody_dies_for_a_pod_that_we_cannot_help(case: str, policy: str) -> None:
    driver = full(policy=policy)
    driver.cluster.plan(40, objects.guest("broken", **HOPELESS[case]))  # type: ignore[arg-type]
    driver.cluster.plan(60, objects.guest("fine", gpus=1, sim={"run": 10}))
    timeline = checked(driver)
    assert [at for at, _ in timeline.kills().values() if at < 59] == []
    assert timeline.ran("fine") is not None
    # With the policy `all` a pod for CPUs alone finds room for once, and keeps it.
    if (policy, case) != ("all", "60 CPUs without a GPU"):
        assert len(driver.see().placed) == 16, "one broken pod does not stop the factory"


def test_a_free_gpu_is_used_before_anybody_dies() -> None:
    driver = factory(max_replicas=15)
    driver.run(30)
    driver.cluster.plan(40, objects.guest("guest", gpus=1, sim={"run": 60}))
    assert checked(driver).kills() == {}


def test_half_a_gang_kills_nobody_until_it_is_whole() -> None:
    driver = full()
    driver.cluster.load(objects.pod_group("gang", 2))
    for number in range(2):
        member = objects.guest(f"rank-{number}", gpus=4, group="gang", size=2, sim={"run": 20})
        driver.cluster.plan(40 + 20 * number, member)
    driver.run(59)
    assert driver.cluster.timeline.kills() == {}
    timeline = checked(driver)
    assert len(timeline.kills()) == 8
    assert timeline.ran("rank-0") is not None


def test_its_own_pod_that_cannot_be_scheduled_kills_nobody() -> None:
    driver = factory(replicas=3)
    driver.cluster.load(objects.guest("fine", gpus=1, sim={"run": 1000}))
    blocked = driver.cluster.store.get(DEPLOYMENTS, KEY)
    changed = copy.deepcopy(blocked)
    changed["spec"]["template"]["spec"]["nodeSelector"] = {"zone": "moon"}
    driver.cluster.store.replace(DEPLOYMENTS, changed)
    driver.run(60)
    assert driver.see().target.replicas == 3
    assert [action.word for _, action in driver.actions] == []


def test_its_own_rolling_update_kills_nobody_and_loses_no_replica() -> None:
    driver = full()
    changed = copy.deepcopy(driver.cluster.store.get(DEPLOYMENTS, KEY))
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "example/image:2"
    driver.cluster.store.replace(DEPLOYMENTS, changed)
    driver.run(200)
    after = [action for at, action in driver.actions if at > 30]
    assert "yield" not in [action.word for action in after]
    assert min((action.replicas for action in after), default=16) >= 16
    assert len(driver.see().placed) == 16


def test_forty_replicas_for_sixteen_gpus_become_seventeen() -> None:
    driver = factory(replicas=40)
    driver.run(30)
    assert driver.see().target.replicas == 17
    assert driver.cluster.timeline.kills() == {}
    assert len(driver.see().waiting) == 1


def test_the_least_lost_work_goes_not_the_youngest() -> None:
    driver = full()
    young = max(driver.see().placed, key=lambda pod: (pod.created, pod.name))
    cheap = min(driver.see().placed, key=lambda pod: (pod.created, pod.name))
    for pod in driver.see().placed:
        cost = "1" if pod.uid == cheap.uid else "500"
        driver._change(*_pod(pod.namespace, pod.name), lambda one, cost=cost: _lost(one, cost))
    driver.cluster.plan(40, objects.guest("guest", gpus=1, sim={"run": 60}))
    assert list(checked(driver).kills()) == [cheap.name]
    assert cheap.name != young.name


def test_scaling_down_past_pending_pods_frees_something() -> None:
    """20 replicas of which 4 are pending: 19 would end a pending one."""
    driver = factory(replicas=20, buffer=4)
    driver.run(30)
    assert len(driver.see().waiting) == 4
    driver.cluster.plan(40, objects.guest("guest", gpus=1, sim={"run": 20}))
    driver.run(45)
    assert len(driver.cluster.timeline.kills()) == 1
    assert driver.cluster.timeline.waited("guest") <= YIELDS_IN


def test_a_nominated_pod_is_being_served_already() -> None:
    driver = factory()
    driver.cluster.load(objects.priority("high", 1000))
    driver.run(30)
    driver.cluster.plan(40, objects.guest("guest", gpus=4, priorityClassName="high", sim={"run": 20}))
    driver.run(60)
    # The scheduler preempts four of ours by itself; the autokicker adds none.
    assert len(driver.cluster.timeline.kills()) == 4
    assert driver.cluster.timeline.ran("guest") is not None


def test_all_goes_down_to_the_baseline_and_comes_back_at_once() -> None:
    driver = full(policy="all", baseline=2)
    driver.cluster.plan(40, objects.guest("guest", gpus=1, sim={"run": 10}))
    timeline = checked_all(driver)
    assert len(timeline.kills()) == 14
    assert (len(driver.see().placed), len(driver.see().waiting)) == (16, 1)


def checked_all(driver: Driver) -> Timeline:
    driver.run(100)
    assert driver.cluster.timeline.breaches(yields_in=YIELDS_IN, settles_in=0.2, probe_in=YIELDS_IN) == []
    return driver.cluster.timeline


def test_invariants_with_a_namespaced_role() -> None:
    """Nodes and other namespaces hidden: the probe finds the room, the scheduler's message the guest."""
    driver = factory(quiet_seconds=10.0)
    driver.see_nodes = False
    driver.run(30)
    assert (len(driver.see().placed), len(driver.see().waiting)) == (16, 1)
    driver.cluster.plan(40, objects.guest("four", gpus=4, sim={"run": 30}))
    driver.cluster.plan(100, objects.guest("nine", gpus=9))
    driver.cluster.plan(120, objects.guest("astray", gpus=1, nodeSelector={"zone": "moon"}))
    timeline = checked(driver, 300)
    assert len(timeline.kills()) == 4
    assert len({node for _, node in timeline.kills().values()}) == 1
    assert len(driver.see().placed) == 16


def test_it_grows_only_as_far_as_there_is_work() -> None:
    driver = factory(idle_seconds=50)
    depth = [5]
    driver.open_tasks = lambda: depth[0]
    driver.run(30)
    assert driver.see().target.replicas == 5
    depth[0] = 0
    driver.turn()
    driver.run(60)
    assert len(driver.see().placed) == 5, "an empty queue ends nobody at once"
    driver.run(90)
    driver.turn()
    driver.run(100)
    assert driver.see().target.replicas == 0


def _pod(namespace: str, name: str) -> tuple[object, tuple[str, str]]:
    from tests.servers.kube.kinds import PODS

    return PODS, (namespace, name)


def _lost(pod: dict, cost: str) -> None:  # type: ignore[type-arg]
    pod["metadata"].setdefault("annotations", {})["duplexforge.io/lost-work-seconds"] = cost
