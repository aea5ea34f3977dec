"""The policies in ``examples/policies`` fit the keys of ``layout.py``: what they forbid to replace is never replaced."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from duplexforge.layout import Layout

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "policies"
BUCKET = "arn:aws:s3:::BUCKET/"
LAYOUT = Layout()

CREATED_ONCE = [
    LAYOUT.raw_record("en", "host", "pod-1"),
    LAYOUT.manifest("en", "pod-1"),
    LAYOUT.completed("download", "pod-1"),
    LAYOUT.failed("processing", "pod-1"),
    LAYOUT.batch("en-000000"),
    LAYOUT.run_record("r", "checkpoints", 5),
    LAYOUT.run_record("r", "exports", 500_000),
    LAYOUT.training_record("speech"),
    LAYOUT.duplex_set("calls") + "manifest.json",
]
WRITTEN_AGAIN = [
    LAYOUT.lease("processing", "pod-1", 2),  # renewed
    LAYOUT.ledger("en-000000"),  # repaired, or purged
    LAYOUT.todo("download", "pod-1"),  # written by hand, without a condition
    LAYOUT.checkpoint("processing", "pod-1", "abc"),
    LAYOUT.raw_audio("en", "host", "pod-1", "mp3"),  # large files go in parts
    LAYOUT.opt_out(),
    LAYOUT.run_files("r", "exports", 5, "nonce") + "adapter/adapter_config.json",
    LAYOUT.training_files("speech", "nonce") + "speech.json",
    LAYOUT.duplex_set("calls") + "nonce/format.json",
    LAYOUT.pacing("default"),
]


def policy(name: str) -> list[dict[str, Any]]:
    body = json.loads((FOLDER / name).read_text())
    assert body["Version"] == "2012-10-17"
    statements: list[dict[str, Any]] = body["Statement"]
    return statements


def matches(resources: list[str], key: str) -> bool:
    """S3's ``*`` also takes slashes, as fnmatch's does."""
    return any(fnmatchcase(BUCKET + key, resource) for resource in resources)


def test_commits_may_only_be_created() -> None:
    (deny,) = policy("s3-bucket-create-only.json")
    assert deny["Effect"] == "Deny"
    assert deny["Condition"]["Null"] == {"s3:if-none-match": "true"}
    assert [key for key in CREATED_ONCE if not matches(deny["Resource"], key)] == []
    assert [key for key in WRITTEN_AGAIN if matches(deny["Resource"], key)] == []


@pytest.mark.parametrize("key", [*CREATED_ONCE, *WRITTEN_AGAIN])
def test_a_worker_may_do_what_it_must(key: str) -> None:
    listing, objects = policy("s3-worker.json")
    assert matches(objects["Resource"], key)
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"} < set(objects["Action"])
    assert any(fnmatchcase(key, prefix) for prefix in listing["Condition"]["StringLike"]["s3:prefix"])


def test_no_policy_gives_more_than_named_actions() -> None:
    for path in FOLDER.glob("*.json"):
        for statement in policy(path.name):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not [action for action in actions if "*" in action], path.name
