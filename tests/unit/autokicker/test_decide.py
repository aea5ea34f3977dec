"""The decision as a table: what is seen, what is remembered, what comes out and in which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.autokicker.decide import Action, decide
from duplexforge.autokicker.memory import Memory, derive, next_look
from duplexforge.autokicker.world import Observation
from tests.unit.autokicker.made import GPU, LACKS, NOW, guest, many, node, ours, pod, seen
from tests.unit.autokicker.virtual import settings as wanted

FULL = (*many(8, "a"), *many(8, "b", 8))
PROBE = pod("probe", namespace="factory", unschedulable=True, message=LACKS)


def done(view: Observation, memory: Memory | None = None, **config: Any) -> Action:
    return decide(view, memory or Memory(), wanted(**config))[0]


CASES: dict[str, tuple[Observation, dict[str, Any], str, int]] = {
    "nothing there yet": (seen(), {}, "grow", 1),
    "full with its probe": (seen((*FULL, PROBE)), {}, "hold", 17),
    "full without a probe": (seen(FULL), {}, "grow", 17),
    "no probe wanted and full": (seen(FULL), {"probe": False}, "hold", 16),
    "no probe wanted and room": (seen(FULL[:10]), {"probe": False}, "grow", 11),
    "no probe, three at once": (seen(FULL[:10]), {"probe": False, "growth_step": 3}, "grow", 13),
    "two probes": (seen(FULL), {"buffer": 2}, "grow", 18),
    "too many pending": (seen((*FULL, PROBE), replicas=40), {}, "trim", 17),
    "a limit": (seen(FULL[:10]), {"max_replicas": 10}, "hold", 10),
    "above the limit": (seen(FULL), {"max_replicas": 10}, "trim", 10),
    "a person's limit": (seen(FULL[:10], most=10), {}, "hold", 10),
    "a person's least": (seen(FULL[:2], least=5), {}, "grow", 5),
    "paused by a person": (seen(FULL, paused=True), {}, "passive", 16),
    "beside an HPA": (seen(FULL, rival="HPA cpu"), {}, "passive", 16),
    "little work": (seen(FULL[:3], open_tasks=3), {}, "hold", 3),
    "much work": (seen(FULL[:3], open_tasks=400), {}, "grow", 4),
    "a queue that cannot be read": (seen(FULL[:3], unsure="the queue cannot be read"), {}, "hold", 3),
    "more tasks a replica": (seen(FULL[:3], open_tasks=40), {"tasks_per_replica": 20}, "hold", 3),
    "a rolling update": (seen(FULL, rolling=True), {}, "hold", 16),
    "the controller still stops some": (seen(FULL, replicas=12), {}, "hold", 12),
    "one guest": (seen((*FULL, PROBE), [guest("g", 3)]), {}, "yield", 13),
    "one guest, kept by the baseline": (seen(FULL, [guest("g", 3)]), {"baseline": 15}, "yield", 15),
    "one guest, all kept": (seen((*FULL, PROBE), [guest("g", 3)]), {"baseline": 16}, "trim", 16),
    "one guest, all or nothing": (seen((*FULL, PROBE), [guest("g", 3)]), {"policy": "all", "baseline": 1}, "yield", 1),
    "a guest of our kind": (seen((*FULL, PROBE), kin=(guest("g", 3),)), {}, "hold", 17),
    "a guest that has room": (seen((*FULL[:15], PROBE), [guest("g", 1)]), {}, "trim", 15),
}


@pytest.mark.parametrize("name", CASES)
def test_the_table(name: str) -> None:
    view, config, word, replicas = CASES[name]
    action = done(view, **config)
    assert (action.word, action.replicas) == (word, replicas), action.reason
    assert action.reason


UNBOUND = "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
IGNORED = {
    "no gpu": (guest("g", 0), "asks for no nvidia.com/gpu"),
    "gated": (guest("g", 1, unschedulable=False), "has not found it unschedulable"),
    "nominated": (guest("g", 1, nominated="a"), "is being served already"),
    "devices by claim": (guest("g", 1, unknown="it claims devices by resource claims"), "we cannot tell"),
    "volume": (guest("g", 1, message=UNBOUND), "does not wait for"),
    "half a gang": (guest("g", 1, gang="x", gang_size=2), "its gang has 1 of 2 pods"),
}  # fmt: skip
BEYOND = {
    "nine": (guest("g", 9), "larger than the node"),
    "selector": (guest("g", 1, selector={"zone": "moon"}), "nodeSelector"),
}


@pytest.mark.parametrize("name", IGNORED)
def test_nobody_to_yield_to(name: str) -> None:
    pod, why = IGNORED[name]
    action = done(seen((*FULL, PROBE), [pod]))
    assert action.word == "hold"
    assert why in next(one.why for one in action.verdicts)


@pytest.mark.parametrize("name", BEYOND)
def test_nobody_that_can_be_helped(name: str) -> None:
    pod, why = BEYOND[name]
    action = done(seen((*FULL, PROBE), [pod]))
    assert action.word == "hold"
    assert [one.word for one in action.verdicts] == ["beyond"]
    assert why in action.verdicts[0].why


def test_another_schedulers_words_are_no_reason_to_ignore_a_pod() -> None:
    assert done(seen(FULL, [guest("g", 1, message="queue is over its quota")])).word == "yield"


def test_quiet_after_a_guest_then_growth() -> None:
    view = seen(FULL[:15])
    early, late = Memory(guest_at=NOW - 59), Memory(guest_at=NOW - 61)
    assert done(view, early).word == "hold"
    assert done(view, late).word == "grow"
    assert done(view, early, policy="all").word == "grow"
    assert next_look(early, NOW, 30, 60) == pytest.approx(1)


def test_a_place_is_kept_for_short_pods() -> None:
    _, memory = decide(seen(FULL[:15], [pod("short", node="b", since=NOW - 5)]), Memory(), wanted())
    later = replace(seen(FULL[:15]), now=NOW + 1)
    action, memory = decide(later, memory, wanted())
    assert action.word == "hold"
    assert "short pods come and go" in action.reason
    assert decide(replace(later, now=NOW + 70), memory, wanted())[0].word == "grow"


def test_a_restart_learns_from_the_cluster_that_a_guest_has_waited() -> None:
    waited = pod("g", node="a", created=NOW - 30, since=NOW - 10)
    straight = pod("s", node="a", created=NOW - 5, since=NOW - 5)
    assert derive(seen((), [waited, straight]), GPU).guest_at == NOW - 10
    assert derive(seen((), [straight]), GPU).guest_at is None


def escalated(view: Observation, seconds: float, **config: Any) -> tuple[list[Action], Memory]:
    """The decisions of some time in which the cluster does as it is told, and the guest takes nothing."""
    actions, memory = [], Memory()
    for step in range(int(seconds / 5)):
        view = replace(view, now=NOW + 5 * step)
        action, memory = decide(view, memory, wanted(**config))
        actions.append(action)
        names = {pod.uid for pod in action.victims}
        left = tuple(pod for pod in view.ours if pod.uid not in names)
        view = replace(view, ours=left, target=replace(view.target, replicas=action.replicas))
    return actions, memory


def test_it_escalates_step_by_step_to_all_of_ours_and_then_gives_up() -> None:
    actions, memory = escalated(seen(FULL, [guest("g", 2)]), 400)
    stopped = [len(action.victims) for action in actions if action.victims]
    assert stopped == [2, 2, 12], "one node, the other, everything"
    assert "g" in memory.abandoned
    assert "grow" in [action.word for action in actions[-60:]], "and the factory goes on"
    assert "all of ours were gone" in actions[-1].verdicts[0].why


def test_escalation_waits_for_its_grace() -> None:
    actions, _ = escalated(seen(FULL, [guest("g", 2)]), 25, escalation_seconds=30)
    assert [len(action.victims) for action in actions] == [2, 0, 0, 0, 0]


def test_without_a_view_of_nodes_room_is_made_where_ours_are() -> None:
    hidden = seen(FULL, [guest("g", 4)], complete=False)
    action = done(replace(hidden, nodes=None))
    assert (action.word, len(action.victims), len({pod.node for pod in action.victims})) == ("yield", 4, 1)
    assert done(replace(seen(FULL, [guest("g", 9)], complete=False), nodes=None)).word != "yield"
    astray = guest("g", 1, message="0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.")
    assert done(replace(seen(FULL, [astray], complete=False), nodes=None)).word != "yield"


def test_without_a_view_of_nodes_the_rest_of_a_node_is_hoped_to_be_free() -> None:
    hidden = replace(seen(many(6, "a"), [guest("g", 8)], complete=False), nodes=None)
    assert len(done(hidden).victims) == 6
    assert done(hidden, node_gpus=4).word != "yield"


def test_without_a_view_a_guest_gets_time_and_then_more() -> None:
    actions, memory = escalated(replace(seen(FULL, [guest("g", 2)], complete=False), nodes=None), 400)
    stopped = [len(action.victims) for action in actions if action.victims]
    assert stopped[0] == 2
    assert sum(stopped) == 16
    assert "g" in memory.abandoned


@settings(max_examples=150)
@given(
    st.integers(0, 8), st.integers(0, 8), st.integers(0, 5), st.lists(st.integers(0, 10), max_size=4),
    st.integers(0, 4), st.integers(0, 20), st.sampled_from(["just-enough", "all"]), st.booleans(),
)  # fmt: skip
def test_rules_that_always_hold(
    left: int, right: int, pending: int, guests: list[int], baseline: int, most: int, policy: str, visible: bool
) -> None:
    mine = (
        *many(left, "a"),
        *many(right, "b", left),
        *(replace(PROBE, uid=f"p{n}", name=f"p{n}") for n in range(pending)),
    )
    view = seen(mine, [guest(f"g{number}", gpus) for number, gpus in enumerate(guests)])
    view = view if visible else replace(view, nodes=None, complete=False)
    config = wanted(policy=policy, baseline=baseline, max_replicas=most)
    action, memory = decide(view, Memory(), config)
    assert decide(view, Memory(), config)[0] == action, "the same input, the same answer"
    placed = left + right
    if action.word == "grow":
        assert not any(one.word in ("helped", "served") for one in action.verdicts) or action.replicas <= baseline
        assert action.replicas <= max(placed + 1 + (16 - placed if visible else 0), baseline)
    if action.word in ("hold", "grow", "trim") and not action.victims:
        assert action.replicas >= min(placed, view.target.replicas), "nobody who runs is stopped without being named"
    if action.victims:
        assert action.replicas == placed - len(action.victims) or policy == "all"
        assert {pod.uid for pod in action.victims} <= {pod.uid for pod in view.placed}
    if policy == "just-enough":
        assert action.replicas >= min(baseline, view.target.replicas)
    again = replace(view, target=replace(view.target, replicas=action.replicas))
    assert decide(again, memory, config)[0].replicas == action.replicas, (
        "it does not change its mind while nothing changes"
    )


def test_it_does_not_grow_on_nodes_that_ours_may_not_use() -> None:
    view = seen(many(8, "a"), nodes=[node("a"), node("b", cordoned=True)])
    assert done(view, probe=False).word == "hold"
    assert ours("x", "a").node == "a"
