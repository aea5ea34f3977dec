"""The recorder, and the assertions over it: each must fail on a timeline that breaks its rule."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.servers.kube.model import Cluster
from tests.servers.kube.objects import deployment, guest, node, pod_group
from tests.servers.kube.timeline import Moment, Seen, Timeline


def _ours(name: str, on: str = "node-a", *, leaving: bool = False) -> Seen:
    return Seen(name, on, 1, "Running" if on else "Pending", bool(on), leaving)


def _line(*moments: Moment, end: float = 100.0) -> Timeline:
    return Timeline(moments=list(moments), end=end)


def _moment(at: float, ours: list[Seen], curable: tuple[str, ...] = (), free: int = 0) -> Moment:
    waiting = tuple(Seen(name, "", 1, "Pending", False, False) for name in curable)
    return Moment(at, tuple(ours), waiting, curable, len(ours), free)


CALM = [_ours("a"), _ours("probe", "")]


def test_a_guest_that_waits_too_long_is_a_breach() -> None:
    """Up to the allowance it is none; two waits are not added up."""
    line = _line(_moment(0, CALM), _moment(10, CALM, ("guest",)), _moment(14, CALM))
    assert line.breaches(yields_in=4, settles_in=0) == []
    assert line.breaches(yields_in=3.9, settles_in=0) == ["guest waited 4.0 s from 10.0 s on for what our pods held"]
    twice = _line(*line.moments, _moment(20, CALM, ("guest",)), _moment(23, CALM))
    assert twice.breaches(yields_in=4, settles_in=0) == []


def test_more_than_one_of_ours_waiting_is_a_breach() -> None:
    """But while a guest waits it is another rule's matter."""
    crowd = [_ours("a", ""), _ours("b", "")]
    line = _line(_moment(0, CALM), _moment(10, crowd), _moment(12, CALM))
    assert line.breaches(yields_in=1, settles_in=1) == ["more than one of ours waited for 2.0 s from 10.0 s on"]
    assert line.breaches(yields_in=1, settles_in=2) == []


def test_no_probe_where_one_should_be_is_a_breach() -> None:
    """Only while no GPU is free: where one is, a probe would run. Free ones for too long are a breach too."""
    line = _line(_moment(0, CALM), _moment(10, [_ours("a")]), _moment(40, [], free=1), _moment(70, CALM))
    assert line.breaches(yields_in=1, settles_in=1) == []
    assert line.breaches(yields_in=1, settles_in=1, probe_in=29) == ["no probe for 30.0 s from 10.0 s on"]
    assert line.breaches(yields_in=1, settles_in=1, idle_in=29) == ["GPUs idle for 30.0 s from 40.0 s on"]


def test_a_kill_is_a_pod_with_a_node_that_was_told_to_stop_or_is_gone() -> None:
    """Each counts once, where it was and when; one that only waited is none."""
    line = _line(
        _moment(0, [_ours("a"), _ours("b", "node-b"), _ours("c", "")]),
        _moment(5, [_ours("a", leaving=True), _ours("b", "node-b")], ("guest",)),
        _moment(6, []),
    )
    assert line.kills() == {"a": (5, "node-a"), "b": (6, "node-b")}
    assert line.needless() == []
    calm = _line(_moment(0, CALM), _moment(5, []))
    assert calm.needless() == ["a on node-a was told to stop at 5.0 s for nobody"]


def test_a_timeline_survives_the_wire_and_can_be_cut() -> None:
    """As the control page tells it; ``after`` begins with how things stood."""
    line = _line(_moment(0, CALM), _moment(5, CALM, ("guest",)), _moment(9, []))
    again = Timeline.from_json(json.loads(json.dumps(line.to_json())))
    assert again.moments == line.moments
    assert [moment.at for moment in line.after(7).moments] == [7, 9]
    assert line.after(7).moments[0].curable == ("guest",)


def test_seconds_are_counted_between_changes() -> None:
    """Who held how many GPUs for how long."""
    cluster = Cluster()
    cluster.load(node("node-a"), deployment(replicas=3))
    cluster.plan(10, guest("guest", gpus=2, sim={"run": 5}))
    cluster.advance(20)
    assert cluster.timeline.gpu_seconds() == {"ours": 60, "others": 10, "idle": 90}
    assert cluster.timeline.waited("guest") == 0


def _curable(*things: dict[str, object]) -> tuple[str, ...]:
    cluster = Cluster()
    cluster.load(node("node-a"), node("node-b"), deployment(replicas=16))
    cluster.load(*things)
    return cluster.timeline.moments[-1].curable


def test_who_waits_for_what_ours_hold() -> None:
    """Nobody for whom even all of ours gone would not do; a group as a whole."""
    assert _curable(guest("guest", gpus=8)) == ("guest",)
    assert _curable(guest("guest", gpus=9)) == ()
    assert _curable(guest("guest", gpus=0, cpu="63")) == ()
    assert _curable(guest("guest", nodeSelector={"a": "b"})) == ()
    members = [guest(f"member-{n}", gpus=8, group="gang", size=2) for n in range(2)]
    assert _curable(pod_group("gang", 2), *members) == ("member-0", "member-1")
    assert _curable(pod_group("gang", 2), members[0]) == ()
    three = [guest(f"member-{n}", gpus=8, group="gang", size=3) for n in range(3)]
    assert _curable(pod_group("gang", 3), *three) == ()


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=30), st.integers(1, 50))
def test_breaches_grow_with_the_time_that_is_not_allowed(steps: list[tuple[int, bool]], allowed: int) -> None:
    """Against a plain loop over seconds: a guest waits longer than allowed exactly if some run of seconds says so."""
    at, moments, seconds = 0, [], ""
    for length, waits in steps:
        moments.append(_moment(at, CALM, ("guest",) if waits else ()))
        seconds += ("x" if waits else ".") * length
        at += length
    longest = max(map(len, seconds.split(".")))
    assert bool(_line(*moments, end=at).breaches(yields_in=allowed, settles_in=0)) == (longest > allowed)
