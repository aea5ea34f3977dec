"""A published folder is opened by ``load_dataset(path)`` with nothing else, and gives every segment back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from duplexforge import config
from duplexforge.records import Hours, LedgerEntry
from duplexforge.uploading.card import render
from duplexforge.uploading.plan import seed_uploads
from duplexforge.uploading.targets import LocalTarget
from tests.unit.uploading import read_dataset
from tests.unit.uploading.conftest import Site
from tests.unit.uploading.corpus import measured, put_episode


def opened(folder: Path, cache: Path, *configs: str) -> tuple[list[str], list[list[Any]]]:
    """Config names and samples, read by a process that has no network and an empty cache."""
    environment = config.child_environment(
        HF_HOME=str(cache), HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(Path(read_dataset.__file__)), str(folder), *configs],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[0], lines[1:]


def front(text: str) -> dict[str, Any]:
    """The front matter of a card."""
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_two_languages_with_empty_flags_first(memory: Site, tmp_path: Path) -> None:
    # The first samples have no flags, no scores, no title: inference from them would give null types.
    put_episode(memory.store, memory.layout, "a", segments=8, title=None, licence=None)
    put_episode(memory.store, memory.layout, "b.dotted", segments=3, changes=[{}, measured(1)])
    put_episode(memory.store, memory.layout, "c", segments=2, changes=[measured(0)], language="no")
    put_episode(memory.store, memory.layout, "d", segments=1, kind="flac", language="no")
    seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=1)
    target = tmp_path / "data set"
    assert memory.worker(LocalTarget(target)).run().completed == 4
    configs, found = opened(target, tmp_path / "cache", "default", "en", "no")
    assert configs == ["default", "en", "no"]
    assert len(front((target / "README.md").read_text())["dataset_info"]) == 3
    keys = {name: sorted(key for config, key, *_ in found if config == name) for name in configs}
    assert len(keys["en"]) == 11
    assert len(keys["no"]) == 3
    assert keys["default"] == sorted(keys["en"] + keys["no"])
    source = {}
    for language, episode in (("en", "a"), ("en", "b.dotted"), ("no", "c"), ("no", "d")):
        where = memory.layout.attempt(language, episode, "a1-nonce")
        for one in json.loads(memory.store.get(f"{where}all_segments.json")):
            source[one["segment_id"]] = one
    for _, key, entry, seconds in found:
        one = source[entry["segment_id"]]
        assert key.replace("~", ".") == entry["segment_id"]
        for name in ("text", "speaker", "start", "end", "flags", "dnsmos", "overlap", "asr", "language", "sha256"):
            assert entry[name] == one[name], name
        assert entry["extra"] == [{"name": name, "value": value} for name, value in one["extra"].items()]
        assert seconds == pytest.approx(0.25, abs=0.08)


def test_one_language_is_the_default(memory: Site, tmp_path: Path) -> None:
    put_episode(memory.store, memory.layout, "a", segments=2)
    seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=10**9)
    memory.worker(LocalTarget(tmp_path / "out")).run()
    configs, found = opened(tmp_path / "out", tmp_path / "cache")
    assert configs == ["en"]
    assert [key for _, key, *_ in found] == ["a_000000", "a_000001"]
    _, plain = opened(tmp_path / "out", tmp_path / "cache2", "--bytes")
    assert [line[1:] for line in plain] == [line[1:] for line in found]


# -- the card alone ----------------------------------------------------------------------------------------------------


def published(batch: str, **changes: Any) -> LedgerEntry:
    """A ledger entry."""
    language = batch.split("-", 1)[0]
    fields = {
        "batch": batch, "language": language, "shard": f"data/{language}/train-{batch[-6:]}", "episodes": ["a"],
        "samples": 10, "hours": Hours(source=2, published=1, flagged=0.5, no_speech=0.5), "size": 1, "sha256": "0",
        "target": "folder", "published_at": "then", "licences": {"CC-BY-4.0": 10},
    }  # fmt: skip
    return LedgerEntry(**{**fields, **changes})


def test_card_sums_by_language() -> None:
    text = render([published("en-000001"), published("de-000000"), published("en-000000", flags={"odd": 3}, flagged=3)])
    assert "| en | 2 | 2 | 20 | 3 | 4.00 | 2.00 | 1.00 | 1.00 |" in text
    assert "| all | 3 | 3 | 30 | 3 | 6.00 | 3.00 | 1.50 | 1.50 |" in text
    assert "| `odd` | see the pipeline that made it | 3 |" in text
    head = front(text)
    assert head["language"] == ["de", "en"]
    assert head["license"] == "cc-by-4.0"
    assert [one.get("default", False) for one in head["configs"]] == [True, False, False]


def test_card_does_not_depend_on_order_or_repetition() -> None:
    entries = [published("en-000000"), published("en-000001"), published("de-000000")]
    assert render(entries) == render([*reversed(entries), entries[1]])


@pytest.mark.parametrize(
    ("licences", "stated"),
    [
        ({"CC BY 4.0": 1}, {"license": "cc-by-4.0"}),
        ({"Creative Commons Attribution licence (reuse allowed)": 1}, {"license": "other"}),
        ({"a": 1, "b": 1}, {}),
        ({"": 1}, {}),
        ({}, {}),
    ],
)
def test_card_states_a_licence_only_when_there_is_one(licences: dict[str, int], stated: dict[str, str]) -> None:
    head = front(render([published("en-000000", licences=licences)]))
    assert {name: value for name, value in head.items() if name == "license"} == stated


def test_card_survives_hostile_licences() -> None:
    text = render([published("en-000000", licences={"x | [y](javascript:z) <script>\n---\nlicense: mit": 1, "b": 2})])
    assert "<script>" not in text
    assert "\n---\nlicense: mit" not in text.split("---\n", 2)[2]
    assert "license" not in front(text)


def test_card_of_unknown_language_and_norwegian() -> None:
    head = front(render([published("unknown-000000"), published("no-000000")]))
    assert head["language"] == ["no"]
    assert [one["config_name"] for one in head["configs"]] == ["default", "no", "unknown"]
    assert "language" not in front(render([published("unknown-000000")]))
