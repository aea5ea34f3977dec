"""Kubernetes' rules on plain objects: quantities, selectors, taints, affinity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.kube import rules
from tests.servers.kube.objects import guest, node

TAINT = {"key": "team", "value": "b", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("2", 2), ("1Ki", 1024), ("512Gi", 512 * 2**30), ("1e3", 1000), ("3k", 3000)]
)
def test_quantities_are_read(text: str, value: float) -> None:
    """Suffixes of both kinds, and exponents."""
    assert rules.quantity(text) == value


@pytest.mark.parametrize("text", ["", "two", "5Qi", "1 Gi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """It is not taken for nothing."""
    with pytest.raises(ValueError, match="no quantity"):
        rules.quantity(text)


def test_requests_count_containers_together_and_init_containers_by_the_largest() -> None:
    """A limit without a request is a request."""
    pod = guest("guest", gpus=2, cpu="3")
    pod["spec"]["containers"].append({"name": "side", "resources": {"limits": {"cpu": "500m"}}})
    pod["spec"]["initContainers"] = [{"name": "first", "resources": {"requests": {"cpu": "9", "memory": "1Gi"}}}]
    found = rules.requests(pod)
    assert (found[rules.GPU], found["cpu"], found["memory"], found["pods"]) == (2, 9, 2**30, 1)


@pytest.mark.parametrize(
    ("tolerations", "obstacle"),
    [
        ([], "untolerated taint"),
        ([{"key": "team", "operator": "Equal", "value": "b", "effect": "NoSchedule"}], ""),
        ([{"key": "team", "value": "c"}], "untolerated taint"),
        ([{"key": "team", "operator": "Exists"}], ""),
        ([{"operator": "Exists"}], ""),
        ([{"operator": "Exists", "effect": "NoExecute"}], "untolerated taint"),
    ],
)
def test_taints(tolerations: list[dict[str, str]], obstacle: str) -> None:
    """A toleration without a key, an effect or a value takes any."""
    found = rules.obstacle(guest("guest", tolerations=tolerations), node("node-a", taints=[TAINT]))
    assert obstacle in found
    assert bool(found) == bool(obstacle)


def test_a_cordoned_node_takes_nobody() -> None:
    """But those who tolerate the cordon, as daemons do."""
    cordoned = node("node-a", unschedulable=True)
    daemon = guest("daemon", tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}])
    assert rules.obstacle(guest("guest"), cordoned) == "node(s) were unschedulable"
    assert rules.obstacle(daemon, cordoned) == ""


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "kind", "operator": "In", "values": ["h100", "h200"]}, True),
        ({"key": "kind", "operator": "NotIn", "values": ["h100"]}, False),
        ({"key": "zone", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "zone", "operator": "DoesNotExist"}, True),
        ({"key": "zone", "operator": "Exists"}, False),
        ({"key": "memory", "operator": "Gt", "values": ["40"]}, True),
        ({"key": "memory", "operator": "Lt", "values": ["40"]}, False),
    ],
)
def test_required_affinity(expression: dict[str, object], fits: bool) -> None:
    """All expressions of one term must hold."""
    rule = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": rule}}
    here = node("node-a", labels={"kind": "h100", "memory": "80"})
    assert (rules.obstacle(guest("guest", affinity=affinity), here) == "") == fits


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("", True), ("app=a", True), ("app==a,lowprio", True), ("app!=a", False), ("app in (a,b)", True),
        ("app in (b), lowprio", False), ("app notin (b)", True), ("!lowprio", False), ("zone!=x", True),
        ("example.com/x notin (y)", True),
    ],
)  # fmt: skip
def test_label_selectors(selector: str, fits: bool) -> None:
    """As clients write them."""
    assert rules.selected(selector, {"app": "a", "lowprio": "true"}) == fits


@pytest.mark.parametrize("selector", ["a b", "=x", "(a)"])
def test_a_selector_that_cannot_be_read_is_refused(selector: str) -> None:
    """It is not taken for one that takes everything."""
    with pytest.raises(ValueError, match="parse"):
        rules.selected(selector, {})


@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")),
)
def test_both_spellings_of_a_selector_agree(wanted: dict[str, str], labels: dict[str, str]) -> None:
    """As text and as an object."""
    text = ",".join(f"{name}={value}" for name, value in wanted.items())
    assert rules.selected(text, labels) == rules.selects({"matchLabels": wanted}, labels)


def test_field_selectors() -> None:
    """A field that is not there is empty."""
    pod = {"metadata": {"name": "a"}, "spec": {}, "status": {"phase": "Pending"}}
    assert rules.fielded("spec.nodeName=,status.phase!=Running,metadata.name==a", pod)
    assert not rules.fielded("spec.nodeName!=", pod)
    with pytest.raises(ValueError, match="field selector"):
        rules.fielded("phase", pod)


@given(st.floats(min_value=0, max_value=4e9))
def test_time_stamps_are_whole_seconds(at: float) -> None:
    """What is read is what was written, without the fraction."""
    assert rules.seconds(rules.stamp(at)) == int(at)
