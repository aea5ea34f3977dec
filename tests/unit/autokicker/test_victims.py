"""The choice of victims against a search through all sets, and the rules that the search does not know."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from duplexforge.autokicker.schedule import places
from duplexforge.autokicker.victims import Group, cheapest, plan, with_forerunners
from duplexforge.autokicker.world import Apart, Observation, Pod, Requirement
from tests.unit.autokicker.made import guest, many, node, ours, seen

PODS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50)), max_size=8)


def group(*pods: Pod, name: str = "") -> Group:
    return Group(name or pods[0].name, pods)


def fits_without(view: Observation, gone: tuple[Pod, ...], pod: Pod) -> bool:
    room = places(view, soon=True)
    for one in gone:
        room.leave(one)
    return any(room.fits(pod, name) for name in room.nodes)


@given(PODS, st.integers(1, 5))
def test_the_set_is_the_smallest_and_of_those_the_cheapest(mine: list[tuple[str, int]], wanted: int) -> None:
    own = [ours(f"own-{number}", place, float(lost)) for number, (place, lost) in enumerate(mine)]
    own = [pod for pod in own if sum(1 for one in own if one.node == pod.node and one.name < pod.name) < 4]
    view = seen(own, [guest("g", wanted)], [node("a", 4), node("b", 4)])
    found = plan([group(guest("g", wanted))], view)
    sets = [
        s for size in range(len(own) + 1) for s in combinations(own, size) if fits_without(view, s, guest("g", wanted))
    ]
    if not sets:
        assert found.hopeless
        assert not found.victims
        return
    best = min((len(one), sum(pod.lost_work for pod in one)) for one in sets)
    assert (len(found.victims), sum(pod.lost_work for pod in found.victims)) == best
    assert fits_without(view, found.victims, guest("g", wanted))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 20)), min_size=1, max_size=6), st.integers(1, 8))
def test_pods_of_several_sizes_are_chosen_exactly(mine: list[tuple[int, int]], wanted: int) -> None:
    own = [ours(f"own-{n}", "a", float(lost), gpus=gpus) for n, (gpus, lost) in enumerate(mine)]

    def enough(pods: tuple[Pod, ...] | list[Pod]) -> bool:
        return sum(pod.requests["nvidia.com/gpu"] for pod in pods) >= wanted

    found = cheapest(own, enough)
    sets = [one for size in range(len(own) + 1) for one in combinations(own, size) if enough(one)]
    assert (found is None) == (not sets)
    if found is not None:
        assert (len(found), sum(p.lost_work for p in found)) == min((len(s), sum(p.lost_work for p in s)) for s in sets)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=5), st.integers(0, 8), st.integers(0, 8))
def test_what_is_planned_fits_together_and_serves_by_rank(wanted: list[int], left: int, right: int) -> None:
    view = seen([*many(left, "a"), *many(right, "b", left)])
    guests = [guest(f"g{number}", gpus, priority=number) for number, gpus in enumerate(wanted)]
    found = plan([group(one) for one in guests], view)
    asked = sum(p.requests["nvidia.com/gpu"] for g in (*found.served, *found.cured) for p in g.pods)
    free = 16 - left - right
    assert asked <= free + len(found.victims)
    assert len(found.served) + len(found.cured) + len(found.hopeless) == len(wanted)
    # Nobody is stopped beyond need: without all of them, fewer would be served.
    assert len(found.victims) <= asked
    first = max(range(len(wanted)), key=lambda number: number)
    assert guests[first] in [p for g in (*found.served, *found.cured) for p in g.pods], "the highest priority is served"


def test_one_node_for_one_pod_the_one_with_the_least_to_lose() -> None:
    view = seen([*(ours(f"a{n}", "a", 100.0) for n in range(8)), *(ours(f"b{n}", "b", 10.0) for n in range(8))])
    found = plan([group(guest("g", 4))], view)
    assert [pod.node for pod in found.victims] == ["b"] * 4


def test_a_gang_all_or_none() -> None:
    view = seen([*many(8, "a"), *many(8, "b", 8)])
    two = group(guest("r0", 8), guest("r1", 8), name="gang")
    three = group(guest("r0", 8), guest("r1", 8), guest("r2", 8), name="gang")
    assert len(plan([two], view).victims) == 16
    assert plan([three], view).victims == ()
    assert plan([three], view).hopeless == (three,)


def test_a_gang_that_cannot_be_helped_does_not_spoil_it_for_others() -> None:
    view = seen([*many(8, "a"), *many(8, "b", 8)])
    gang = group(*(guest(f"r{number}", 8, priority=10) for number in range(3)), name="gang")
    found = plan([gang, group(guest("g", 1))], view)
    assert len(found.victims) == 1


def test_what_is_leaving_in_time_counts_as_room_and_what_hangs_does_not() -> None:
    going = [*many(7, "a"), ours("gone-soon", "a", leaving=1010.0)]
    assert plan([group(guest("g", 1))], seen(going, nodes=[node("a")])).served
    stuck = [*many(7, "a"), ours("hangs", "a", leaving=990.0)]
    assert len(plan([group(guest("g", 1))], seen(stuck, nodes=[node("a")])).victims) == 1


def test_a_refused_node_is_left_out() -> None:
    view = seen([*many(7, "a"), *many(8, "b", 8)])
    found = plan([group(guest("g", 1))], view, refused={"g": frozenset({"a"})})
    assert [pod.node for pod in found.victims] == ["b"]


def test_loading_pods_go_first_because_the_controller_takes_them_first() -> None:
    loading = ours("loading", "b", ready=False)
    chosen = with_forerunners((many(1, "a")[0],), (*many(2, "a"), loading))
    assert [pod.name for pod in chosen] == ["own-00", "loading"]
    # So a place behind a loading pod is cheaper than one behind a ready one.
    view = seen([*many(8, "a"), *many(7, "b", 8), ours("loading", "b", lost=999.0, ready=False)])
    assert [pod.name for pod in plan([group(guest("g", 1))], view).victims] == ["loading"]


def test_anti_affinity_spreads_a_gang_over_nodes() -> None:
    rule = (Apart((Requirement("job", "In", ("x",)),), frozenset({"research"})),)
    ranks = [guest(f"r{number}", 2, labels={"job": "x"}, apart=rule) for number in range(2)]
    found = plan([group(*ranks, name="gang")], seen([*many(8, "a"), *many(8, "b", 8)]))
    assert sorted(pod.node for pod in found.victims) == ["a", "a", "b", "b"]
    three = [*ranks, guest("r2", 2, labels={"job": "x"}, apart=rule)]
    assert plan([group(*three, name="gang")], seen([*many(8, "a"), *many(8, "b", 8)])).hopeless


def test_a_nominated_pods_place_is_taken() -> None:
    view = seen(many(7, "a"), [guest("nominee", 1, nominated="a")], [node("a")])
    assert len(plan([group(guest("g", 1))], view).victims) == 1
