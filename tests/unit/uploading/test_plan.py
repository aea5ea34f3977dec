"""Batches: every episode once, in order, of the right size; whatever is repeated, raced or killed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from duplexforge.errors import InputError
from duplexforge.layout import Layout
from duplexforge.records import FileEntry, Hours, LedgerEntry, Manifest
from duplexforge.storage import Store
from duplexforge.uploading.ledger import BatchId, batch_id, batches
from duplexforge.uploading.plan import Candidate, group, seed_uploads
from tests.unit.uploading.conftest import Site
from tests.unit.uploading.corpus import put_episode


def put_manifest(
    store: Store, layout: Layout, episode: str, *, language: str = "en", size: int = 100, **more: Any
) -> None:
    """A committed episode of which only the manifest exists: planning looks no further."""
    files = more.pop("files", [FileEntry(name=f"{episode}_000000.mp3", size=size, sha256="0" * 64)])
    fields = {"outcome": "ok", "segments": 1, **more}
    manifest = Manifest(
        episode_id=episode, language=language, attempt="a", folder=layout.attempt(language, episode, "a"), files=files,
        speakers=1, flagged=0, hours=Hours(), audio_key="k", config_hash="c", committed_at="then", **fields,
    )  # fmt: skip
    store.put(layout.manifest(language, episode), manifest.to_bytes())


def planned(site: Site) -> dict[str, list[str]]:
    """Episodes by batch, as the definitions say."""
    return {str(batch.id): [line.episode_id for line in batch.lines] for batch in batches(site.store, site.layout)}


def test_who_opted_out_after_processing_is_left_out_and_counted(site: Site) -> None:
    put_manifest(site.store, site.layout, "yt-0", url="https://example.org/0")
    put_manifest(site.store, site.layout, "yt-1", url="https://elsewhere.example/1")
    refuses = {"https://example.org/0": "its host opted out"}
    plan = seed_uploads(
        site.store, site.layout, site.queue(), shard_bytes=1, refuses=lambda manifest: refuses.get(manifest.url or "")
    )
    assert planned(site) == {"en-000000": ["yt-1"]}
    assert plan.left_out == {"opted_out": 1}


def test_batches_by_language_in_order_and_size(site: Site) -> None:
    for number in (4, 2, 0, 3, 1):
        put_manifest(site.store, site.layout, f"yt-{number}", size=100)
    put_manifest(site.store, site.layout, "pod-a", language="de-AT", size=1000)
    plan = seed_uploads(site.store, site.layout, site.queue(), shard_bytes=200)
    assert planned(site) == {
        "de-000000": ["pod-a"],
        "en-000000": ["yt-0", "yt-1"],
        "en-000001": ["yt-2", "yt-3"],
        "en-000002": ["yt-4"],
    }
    assert (plan.episodes, plan.bytes, plan.tasks) == (6, 1500, 4)
    task = site.queue().claim()
    assert task is not None
    assert task.task.batch_key == site.layout.batch(task.task_id)
    task.release()


def test_seeding_again_adds_only_what_is_new(site: Site) -> None:
    put_manifest(site.store, site.layout, "a")
    first = seed_uploads(site.store, site.layout, site.queue(), shard_bytes=1000)
    before = site.store.get(site.layout.batch("en-000000"))
    again = seed_uploads(site.store, site.layout, site.queue(), shard_bytes=1000)
    assert (first.batches, again.batches, again.known, again.tasks) == (["en-000000"], [], 1, 0)
    put_manifest(site.store, site.layout, "A")
    third = seed_uploads(site.store, site.layout, site.queue(), shard_bytes=1000)
    assert (third.batches, third.episodes, third.known) == (["en-000001"], 1, 1)
    assert site.store.get(site.layout.batch("en-000000")) == before


def test_a_partial_batch_waits_unless_flushed(site: Site) -> None:
    for name in "abc":
        put_manifest(site.store, site.layout, name, size=60)
    plan = seed_uploads(site.store, site.layout, site.queue(), shard_bytes=100, flush=False)
    assert (planned(site), plan.waiting) == ({"en-000000": ["a", "b"]}, 1)
    put_manifest(site.store, site.layout, "d", size=60)
    plan = seed_uploads(site.store, site.layout, site.queue(), shard_bytes=100, flush=False)
    assert planned(site)["en-000001"] == ["c", "d"]
    assert (plan.waiting, plan.known) == (0, 2)


def test_a_dry_run_writes_nothing(site: Site) -> None:
    put_manifest(site.store, site.layout, "a")
    plan = seed_uploads(site.store, site.layout, site.queue(), shard_bytes=1, dry_run=True)
    assert (plan.batches, plan.tasks) == (["en-000000"], 0)
    assert planned(site) == {}
    assert site.queue().stats().open == 0
    assert "dry run" in plan.to_text()
    assert json.loads(json.dumps(plan.to_json()))["episodes"] == 1


def test_what_is_left_out_is_counted(site: Site) -> None:
    store, layout = site.store, site.layout
    put_manifest(store, layout, "silent", outcome="no_speech", segments=0, files=[])
    put_manifest(store, layout, "empty", segments=0, files=[])
    both = [FileEntry(name=name, size=1, sha256="0") for name in ("x.mp3", "y.flac")]
    put_manifest(store, layout, "mixed", files=both)
    store.put(layout.manifest("en", "broken"), b"{}")
    store.put(layout.attempt("en", "uncommitted", "a1") + "all_segments.json", b"[]")
    store.put(f"{layout.processed}English/odd/manifest.json", b"{}")
    put_manifest(store, layout, "good")
    put_manifest(store, layout, "good", language="fr")
    plan = seed_uploads(store, layout, site.queue(), shard_bytes=1)
    assert plan.left_out == {
        "no_speech": 1, "no_segments": 1, "mixed_audio": 1, "bad_record": 1, "same id in another language": 1,
    }  # fmt: skip
    assert planned(site) == {"en-000000": ["good"]}
    assert json.loads(json.dumps(plan.to_json()))["left_out"]["mixed_audio"] == 1
    assert "left out: 1 (no_speech)" in plan.to_text()


def test_one_kind_of_audio_in_a_batch(memory: Site) -> None:
    put_episode(memory.store, memory.layout, "a", segments=1)
    put_episode(memory.store, memory.layout, "b", segments=1, kind="flac")
    put_episode(memory.store, memory.layout, "c", segments=1)
    seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=10**9)
    assert planned(memory) == {"en-000000": ["b"], "en-000001": ["a", "c"]}


class Dead(BaseException):
    """The seeder was killed here."""


@dataclass
class Dying(Store):
    """A store whose seeder dies before its ``lives``-th write of a batch or task."""

    inner: Store
    lives: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.inner.url, self.inner._backend)

    def put_if_absent(self, key: str, body: bytes) -> bool:
        if self.lives == 0:
            raise Dead
        self.lives -= 1
        return super().put_if_absent(key, body)


@pytest.mark.parametrize("lives", range(7))
def test_killed_at_any_write_and_seeded_again(memory: Site, lives: int) -> None:
    for name in "abcde":
        put_manifest(memory.store, memory.layout, name, size=100)
    dying = Site(Dying(memory.store, lives), memory.layout, memory.settings)
    try:
        seed_uploads(dying.store, dying.layout, dying.queue(), shard_bytes=200)
    except Dead:
        assert lives < 6
    seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=200)
    assert planned(memory) == {"en-000000": ["a", "b"], "en-000001": ["c", "d"], "en-000002": ["e"]}
    assert memory.queue().stats().waiting == 3


def test_a_published_batch_is_not_queued_again(memory: Site) -> None:
    put_manifest(memory.store, memory.layout, "a")
    plan = seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=1)
    memory.store.delete(memory.layout.todo("upload", "en-000000"))
    entry = LedgerEntry(
        batch="en-000000", language="en", shard="s", episodes=["a"], samples=1, hours=Hours(), size=1, sha256="0",
        target="folder", published_at="then",
    )  # fmt: skip
    memory.store.put(memory.layout.ledger("en-000000"), entry.to_bytes())
    again = seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=1)
    assert (plan.tasks, again.tasks, memory.queue().stats().open) == (1, 0, 0)


@dataclass
class Meeting(Store):
    """A store in which another seeder wins the next number just before this one writes it, ``races`` times."""

    inner: Store
    other: Site
    races: int = 1
    won: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.inner.url, self.inner._backend)

    def put_if_absent(self, key: str, body: bytes) -> bool:
        if "upload_batches" in key and self.races:
            self.races -= 1
            put_manifest(self.inner, self.other.layout, f"late-{self.races}")
            self.won += seed_uploads(self.inner, self.other.layout, self.other.queue(), shard_bytes=1).batches
        return super().put_if_absent(key, body)


def test_the_loser_of_a_number_plans_again(memory: Site) -> None:
    for name in "abc":
        put_manifest(memory.store, memory.layout, name)
    meeting = Meeting(memory.store, memory, races=1)
    plan = seed_uploads(meeting, memory.layout, memory.queue(), shard_bytes=100)
    assert meeting.won == ["en-000000", "en-000001", "en-000002", "en-000003"]
    assert (plan.batches, plan.known, plan.waiting) == ([], 3, 0)
    everything = [episode for found in planned(memory).values() for episode in found]
    assert sorted(everything) == ["a", "b", "c", "late-0"]


def test_seeders_at_once_share_nothing(site: Site) -> None:
    names = [f"e{number:03d}" for number in range(40)]
    for name in names:
        put_manifest(site.store, site.layout, name, language="en" if int(name[1:]) % 3 else "cs", size=100)
    sizes = [100, 250, 300, 450]
    with ThreadPoolExecutor(max_workers=4) as pool:
        plans = list(
            pool.map(lambda size: seed_uploads(site.store, site.layout, site.queue(), shard_bytes=size), sizes)
        )
    found = planned(site)
    assert sorted(episode for batch in found.values() for episode in batch) == names
    for language in ("cs", "en"):
        numbers = [BatchId.read(name).number for name in found if name.startswith(language)]
        assert numbers == list(range(len(numbers)))
    assert sum(plan.episodes for plan in plans) == len(names)
    assert sorted(name for plan in plans for name in plan.batches) == sorted(found)
    assert site.queue().stats().waiting == len(found)
    for plan in plans:
        assert plan.episodes + plan.known + plan.waiting == len(names)


@given(
    some.lists(
        some.tuples(some.sampled_from(["en", "de"]), some.sampled_from(["mp3", "flac"]), some.integers(0, 400)),
        max_size=40,
    ),
    some.integers(1, 1000),
    some.booleans(),
)
def test_grouping_rules(drawn: list[tuple[str, str, int]], size: int, flush: bool) -> None:
    found = [Candidate(language, audio, f"e{number}", weight) for number, (language, audio, weight) in enumerate(drawn)]
    made = group(found, size, flush=flush)
    flat = [one for batch in made for one in batch]
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(found)
    assert flat == sorted(flat)
    for batch in made:
        assert len({(one.language, one.audio) for one in batch}) == 1
        assert sum(one.bytes for one in batch[:-1]) < size
    partial = [batch for batch in made if sum(one.bytes for one in batch) < size]
    assert len({(batch[0].language, batch[0].audio) for batch in partial}) == len(partial)
    if flush:
        assert set(flat) == set(found)
    else:
        assert not partial


@pytest.mark.parametrize(
    "text", ["", "en", "en-1", "en-0000001", "EN-000001", "en-00000a", "xx-yy-000001", "-000001", "en-٠٠٠٠٠١"]
)
def test_what_is_no_batch_id(text: str) -> None:
    with pytest.raises(InputError) as caught:
        BatchId.read(text)
    assert caught.value.reason == "bad_record"


def test_batch_keys() -> None:
    layout = Layout()
    assert batch_id(layout, "tasks/upload_batches/batch_en-000007.jsonl") == BatchId("en", 7)
    assert BatchId.read("en-1000000") == BatchId("en", 1_000_000)
    for key in ("tasks/upload_batches/en-000007.jsonl", "other/batch_en-000007.jsonl", "batch_en-000007.jsonl"):
        with pytest.raises(InputError):
            batch_id(layout, key)


def test_a_broken_definition_stops_the_seeding(memory: Site) -> None:
    memory.store.put(memory.layout.batch("en-000000"), b"not json\n")
    with pytest.raises(InputError, match="en-000000"):
        seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=1)


def test_an_empty_store(site: Site) -> None:
    plan = seed_uploads(site.store, site.layout, site.queue(), shard_bytes=1)
    assert (plan.batches, plan.tasks, plan.known) == ([], 0, 0)
