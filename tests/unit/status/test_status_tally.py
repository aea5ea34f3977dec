"""The tally: whatever comes, goes or is written again, its sums are those of what is there, and nothing is read twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duplexforge.records import Ended, Hours, Manifest
from duplexforge.status.overview import Done, Reason
from duplexforge.status.tally import Tally

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()


def manifest(episode: str, hours: float = 1.0, *, ago: float = 60.0, **fields: object) -> Manifest:
    """A manifest that was committed ``ago`` seconds before NOW."""
    return Manifest.model_validate(
        {
            "episode_id": episode, "language": "en", "outcome": "ok", "attempt": "a1", "folder": "f/", "files": [],
            "segments": 1, "speakers": 1, "flagged": 0, "hours": Hours(source=hours), "audio_key": "k",
            "config_hash": "c", "seconds": {"transcribe": 2.0},
            "committed_at": datetime.fromtimestamp(NOW - ago, UTC).isoformat(), **fields,
        }
    )  # fmt: skip


def failure(name: str, reason: str = "gone", message: str = "it is gone") -> Ended:
    return Ended(id=name, outcome="failed", attempt=1, reason=reason, message=message, ended_at="2026")


@dataclass
class Records:
    """A store of manifests and failures by key, None for damaged ones; counts what is read."""

    manifests: dict[str, Manifest | None] = field(default_factory=dict)
    failures: dict[str, tuple[str, Ended | None]] = field(default_factory=dict)
    reads: Counter[str] = field(default_factory=Counter)

    def read_manifests(self, keys: Iterable[str]) -> Iterator[tuple[str, Manifest | None]]:
        for key in keys:
            self.reads[key] += 1
            if key in self.manifests:
                yield key, self.manifests[key]

    def read_failures(self, keys: Iterable[str]) -> Iterator[tuple[str, Ended | None]]:
        for key in keys:
            self.reads[key] += 1
            yield key, self.failures[key][1]

    def bring(self, tally: Tally, *, listed: Iterable[str] = (), now: float = 0.0) -> None:
        """One look: ``listed`` are folders without a manifest."""
        for key, (tag, _) in self.failures.items():
            tally.saw(key, tag)
        tally.failed(self.read_failures)
        tally.manifests([*self.manifests, *listed], self.read_manifests, now)


@pytest.fixture
def tally() -> Iterator[Tally]:
    with closing(Tally()) as made:
        yield made


def test_windows_and_languages(tally: Tally) -> None:
    records = Records({
        "1": manifest("1", 1.0, ago=10),
        "2": manifest("2", 2.0, ago=3599),
        "3": manifest("3", 4.0, ago=3601),
        "4": manifest("4", 8.0, ago=86401, language="de"),
        "5": manifest("5", 16.0, committed_at="yesterday", language="de"),
    })  # fmt: skip
    records.bring(tally)
    assert tally.done(NOW) == {"de": Done(2, 24.0), "en": Done(3, 7.0, 2, 3.0, 3, 7.0)}
    assert list(tally.done(NOW)) == ["de", "en"]
    assert tally.seconds() == {"transcribe": 10.0}
    assert tally.outcomes() == {"ok": 5}


def test_nothing_is_read_twice_and_what_is_new_is_read(tally: Tally) -> None:
    records = Records({"1": manifest("1")}, {"t/download_failed/x.task": ("e1", failure("x"))})
    for _ in range(3):
        records.bring(tally)
    assert set(records.reads.values()) == {1}
    records.manifests["2"] = manifest("2")
    records.bring(tally)
    assert records.reads == {"1": 1, "2": 1, "t/download_failed/x.task": 1}
    assert tally.done(NOW)["en"].episodes == 2


def test_what_is_purged_is_subtracted(tally: Tally) -> None:
    records = Records({"1": manifest("1"), "2": manifest("2")})
    records.bring(tally)
    del records.manifests["1"]
    records.bring(tally)
    assert tally.done(NOW)["en"].episodes == 1
    assert tally.seconds() == {"transcribe": 2.0}


def test_a_failure_that_was_revived_and_failed_again_is_read_again(tally: Tally) -> None:
    key = "tasks/processing_failed/x.task"
    records = Records(failures={key: ("e1", failure("x", "corrupt"))})
    records.bring(tally)
    records.failures[key] = ("e2", failure("x", "expired", "the worker\nvanished"))
    records.bring(tally)
    assert tally.reasons() == (Reason("processing", "expired", 1, "x", "the worker vanished"),)
    records.failures.clear()
    records.bring(tally)
    assert tally.reasons() == ()


def test_reasons_are_counted_by_stage_with_the_first_as_example(tally: Tally) -> None:
    found = [("download", "b", "gone"), ("download", "a", "gone"), ("download", "c", "bug"), ("upload", "d", "gone")]
    records = Records(
        failures={f"t/{stage}_failed/{name}.task": ("e", failure(name, why)) for stage, name, why in found}
    )
    records.bring(tally)
    assert [(one.stage, one.reason, one.count, one.example) for one in tally.reasons()] == [
        ("download", "gone", 2, "a"), ("download", "bug", 1, "c"), ("upload", "gone", 1, "d"),
    ]  # fmt: skip


def test_damaged_records_are_counted_and_read_again_when_they_may_have_been_mended(tally: Tally) -> None:
    records = Records({"1": None}, {"t/download_failed/x.task": ("e", None)})
    records.bring(tally, now=100.0)
    assert tally.damaged == 1
    assert tally.reasons()[0].reason == "unreadable"
    records.manifests["1"] = manifest("1")
    records.bring(tally, now=101.0)
    assert (tally.damaged, tally.done(NOW)["en"].episodes) == (0, 1)


def test_folders_without_a_manifest_are_looked_at_less_and_less(tally: Tally) -> None:
    """An episode that is being processed is found at once; what was left behind by a crash costs almost nothing."""
    records = Records()
    for second in range(0, 36_000, 15):
        records.bring(tally, listed=["left-behind"], now=float(second))
    assert 10 < records.reads["left-behind"] < 60
    records.bring(tally, listed=["new"], now=36_000.0)
    records.manifests["new"] = manifest("new")
    records.bring(tally, now=36_001.0)
    assert tally.done(NOW)["en"].episodes == 1


def test_numbers_that_are_none_do_not_spoil_the_sums(tally: Tally) -> None:
    records = Records({"1": manifest("1"), "2": manifest("2", math.nan, seconds={"transcribe": math.inf, "x": 1.0})})
    records.bring(tally)
    assert tally.done(NOW)["en"].hours == 1.0
    assert tally.seconds() == {"transcribe": 2.0, "x": 1.0}


def test_many_pages(tally: Tally) -> None:
    records = Records({f"{number:05d}": manifest(f"{number}", 0.5) for number in range(2500)})
    records.bring(tally)
    assert tally.done(NOW)["en"] == Done(2500, 1250.0, 2500, 1250.0, 2500, 1250.0)
    assert tally.unsaved == 2500


def test_secrets_in_messages_are_not_kept(tally: Tally) -> None:
    message = "cannot fetch https://example.org/a.mp3?X-Amz-Signature=0123456789abcdef"
    Records(failures={"t/download_failed/x.task": ("e", failure("x", message=message))}).bring(tally)
    assert "0123456789abcdef" not in tally.reasons()[0].message


LANGUAGES, OUTCOMES = ("en", "de"), ("ok", "no_speech")
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(0, 8), st.sampled_from(LANGUAGES), st.sampled_from(OUTCOMES)),
        st.tuples(st.just("damage"), st.integers(0, 8), st.none(), st.none()),
        st.tuples(st.just("purge"), st.integers(0, 8), st.none(), st.none()),
        st.tuples(st.just("look"), st.none(), st.none(), st.none()),
        st.tuples(st.just("save"), st.none(), st.none(), st.none()),
    ),
    max_size=30,
)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60, print_blob=True)
@given(changes=CHANGES)
def test_sums_are_those_of_what_is_there(changes: list[tuple[str, int | None, str | None, str | None]]) -> None:
    """Against a reckoning from scratch, through any history; saving and loading in between changes nothing."""
    records, tally, clock = Records(), Tally(), 0.0
    for word, number, language, outcome in [*changes, ("look", None, None, None)]:
        key = str(number)
        # A committed manifest is never written again.
        if word == "commit" and records.manifests.get(key) is None:
            records.manifests[key] = manifest(key, 1.0, language=language, outcome=outcome)
        elif word == "damage":
            records.manifests.setdefault(key, None)
        elif word == "purge":
            # Gone for one look at least: nobody processes an episode again in that moment.
            records.manifests.pop(key, None)
            records.bring(tally, now=clock)
        elif word == "save":
            rows = list(tally.rows())
            tally.close()
            tally = Tally()
            tally.load(rows)
        clock += 10_000.0
        if word == "look":
            records.bring(tally, now=clock)
    good = [one for one in records.manifests.values() if one is not None]
    assert {name: done.episodes for name, done in tally.done(NOW).items()} == Counter(one.language for one in good)
    assert tally.outcomes() == Counter(one.outcome for one in good)
    assert tally.damaged == len(records.manifests) - len(good)
    tally.close()


@pytest.mark.parametrize(
    "rows",
    [
        [["episodes", "k"]], [["nonsense", 1]], [[]], [["episodes", "k", 1.0, "en", "ok", 1.0, "{"]], [["episodes"]],
        [["failures", "k", {}, "s", "i", "r", "m"]], [["episodes", "k", 1.0, "en", "ok", 1.0, None]],
    ],
)  # fmt: skip
def test_rows_that_make_no_sense_are_refused(tally: Tally, rows: list[list[object]]) -> None:
    with pytest.raises(ValueError):
        tally.load(rows)
