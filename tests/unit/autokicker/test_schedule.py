"""Whether a pod fits on a node, rule by rule, and against the stand-in's own reading of the same rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.autokicker import parse
from duplexforge.autokicker.decide import copies
from duplexforge.autokicker.schedule import matches, obstacle, places
from duplexforge.autokicker.world import Requirement, Taint, Term, Toleration
from tests.servers.kube import objects, rules
from tests.unit.autokicker.made import GPU, guest, many, node, ours, pod, seen

LABELS = {"gpu": "h100", "size": "8"}


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"),
    [
        ("In", "gpu", ("h100", "a100"), True), ("In", "gpu", ("a100",), False), ("In", "none", ("x",), False),
        ("NotIn", "gpu", ("a100",), True), ("NotIn", "none", ("x",), True), ("NotIn", "gpu", ("h100",), False),
        ("Exists", "gpu", (), True), ("Exists", "none", (), False), ("DoesNotExist", "none", (), True),
        ("DoesNotExist", "gpu", (), False), ("Gt", "size", ("4",), True), ("Gt", "size", ("8",), False),
        ("Lt", "size", ("9",), True), ("Lt", "none", ("9",), False), ("Gt", "gpu", ("1",), False), ("Like", "gpu", (), False),
    ],
)  # fmt: skip
def test_expressions(operator: str, key: str, values: tuple[str, ...], expected: bool) -> None:
    assert matches([Requirement(key, operator, values)], LABELS) is expected


def test_taints_and_tolerations() -> None:
    tainted = node("a", taints=(Taint("team", "speech", "NoSchedule"),))
    assert "untolerated taint team" in obstacle(pod("p"), tainted)
    fine = [
        Toleration("team", "Equal", "speech", "NoSchedule"),
        Toleration("team", "Exists"),
        Toleration(operator="Exists"),
    ]
    wrong = [
        Toleration("team", "Equal", "vision"),
        Toleration("team", "Exists", "", "NoExecute"),
        Toleration("other", "Exists"),
    ]
    assert [obstacle(pod("p", tolerations=(one,)), tainted) for one in fine] == ["", "", ""]
    assert all(obstacle(pod("p", tolerations=(one,)), tainted) for one in wrong)
    assert obstacle(pod("p"), node("a", cordoned=True)) == "cordoned"


def test_affinity_terms_are_alternatives_and_an_empty_one_is_none() -> None:
    here = node("a", labels=LABELS)
    right, wrong = Term((Requirement("gpu", "In", ("h100",)),)), Term((Requirement("gpu", "In", ("a100",)),))
    by_name = Term((), (Requirement("metadata.name", "In", ("a",)),))
    assert obstacle(pod("p", affinity=(wrong, right)), here) == ""
    assert obstacle(pod("p", affinity=(by_name,)), here) == ""
    assert obstacle(pod("p", affinity=(wrong,)), here)
    assert obstacle(pod("p", affinity=(Term(),)), here)


def test_room_is_what_is_allocatable_less_what_is_held_and_promised() -> None:
    going = ours("going", "a", leaving=2000.0)
    view = seen([*many(3, "a"), going], [pod("theirs", 2, node="a"), guest("nominee", 1, nominated="a")], [node("a")])
    assert places(view, soon=False).free["a"][GPU] == 1
    assert places(view, soon=True).free["a"][GPU] == 2


def test_copies_fill_the_room_by_its_scarcest_resource() -> None:
    template = pod("t", 1)
    assert copies(template, places(seen(many(3, "a"), nodes=[node("a"), node("b")]), soon=False)) == 13
    hungry = replace(template, requests={GPU: 1.0, "cpu": 30.0})
    assert copies(hungry, places(seen((), nodes=[node("a"), node("b")]), soon=False)) == 4
    assert copies(replace(template, requests={}), places(seen(), soon=False)) == 0


TOLERATIONS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "key": st.sampled_from(["a", "b"]), "operator": st.sampled_from(["Exists", "Equal"]),
            "value": st.sampled_from(["x", "y"]), "effect": st.sampled_from(["NoSchedule", "NoExecute"]),
        },
    ).filter(lambda one: "key" in one or one.get("operator") == "Exists"),
    max_size=2,
)  # fmt: skip
TAINTS = st.lists(
    st.fixed_dictionaries(
        {"key": st.sampled_from(["a", "b"]), "value": st.sampled_from(["x", "y"]),
         "effect": st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"])}
    ),
    max_size=2,
)  # fmt: skip
EXPRESSIONS = st.lists(
    st.fixed_dictionaries(
        {"key": st.sampled_from(["zone", "gpu"]), "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
         "values": st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2)}
    ),
    min_size=1, max_size=2,
)  # fmt: skip


@given(
    TOLERATIONS, TAINTS, EXPRESSIONS, st.dictionaries(st.sampled_from(["zone", "gpu"]), st.sampled_from(["a", "b"])),
    st.dictionaries(st.sampled_from(["zone"]), st.sampled_from(["a", "b"])), st.booleans(), st.integers(0, 10),
)  # fmt: skip
def test_two_readings_of_the_rules_agree(
    tolerations: list[Any], taints: list[Any], expressions: list[Any], labels: dict[str, str], selector: dict[str, str],
    cordoned: bool, gpus: int,
) -> None:  # fmt: skip
    terms = [{"matchExpressions": expressions}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    made = objects.guest("g", gpus=gpus, tolerations=tolerations, nodeSelector=selector, affinity=affinity)
    made["status"] = {}
    place = objects.node("n", labels=labels, taints=taints, unschedulable=cordoned)
    theirs = rules.obstacle(made, place) or rules.lacking(made, place, {})
    assert bool(obstacle(parse.pod(made), parse.node(place))) == bool(theirs)
