"""``timeline`` and ``dataset``: the records that are written, the counts, and what ``load_dataset`` makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.config import child_environment
from duplexforge.converting import convert
from duplexforge.converting.processed import StoreSource
from duplexforge.converting.shapes import ENTRY, RECORD, parquet_schema, record, to_line
from duplexforge.converting.timeline import LONG, Rules, keep
from duplexforge.errors import ConfigError, UsageError
from duplexforge.storage import Store
from tests.unit.converting import made

SOUND = {"event": "applause", "label": "Clapping", "start": 3.75, "end": 4.0, "score": 0.8125}


@pytest.fixture
def store() -> Store:
    """Three recordings, one of them with events, and one without speech."""
    store = made.memory()
    made.commit(store, "yt-dQw4w9WgXcQ", [made.segment("yt-dQw4w9WgXcQ", n) for n in range(4)], events=[SOUND])
    made.commit(store, "file-a", [made.segment("file-a", n, flags=["low_mos"]) for n in range(2)], url="/home/me/a.mp3")
    made.commit(store, "pod-b", [made.segment("pod-b", 0)])
    made.commit(store, "silent", [], outcome="no_speech")
    return store


def source(store: Store) -> StoreSource:
    return StoreSource(store, made.LAYOUT)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# -- one record --------------------------------------------------------------------------------------------------------


def test_a_record_has_every_field_in_order() -> None:
    one = made.episode(made.speech(1, 2.5, text="Grüße"), made.sound(2, 3), listener="ast", episode_id="yt-abc")
    row = record(one, keep(one, Rules()))
    assert list(row) == [field.name for field in RECORD]
    assert row["video_id"] == "abc"
    assert [list(entry) for entry in row["timeline"]] == [[field.name for field in ENTRY]] * 2
    said, heard = row["timeline"]
    assert said == {
        "type": "speech", "start": 1, "end": 2.5, "speaker": "S00", "text": "Grüße", "language": "en",
        "event": None, "label": None, "score": None, "segments": ["S00@1-2.5"], "flags": [],
    }  # fmt: skip
    assert (heard["type"], heard["event"], heard["speaker"], heard["segments"]) == ("event", "laughter", None, [])
    assert json.loads(to_line(row)) == row
    assert "Grüße" in to_line(row).decode()


@settings(deadline=None)
@given(st.permutations([(0.0, 2.0), (1.0, 1.5), (1.0, 3.0), (2.5, 2.75)]), st.integers(0, 4))
def test_the_timeline_is_in_order_of_time(times: list[tuple[float, float]], events: int) -> None:
    entries = [made.sound(*one) if n < events else made.speech(*one, speaker=f"S0{n}") for n, one in enumerate(times)]
    one = made.episode(*entries, made.speech(9, 10))
    row = record(one, keep(one, Rules()))
    found = [(entry["start"], entry["end"]) for entry in row["timeline"]]
    assert found == sorted([*times, (9, 10)])


# -- the timeline command ----------------------------------------------------------------------------------------------


def test_one_line_a_recording_in_order(store: Store, tmp_path: Path) -> None:
    report = convert.timelines(source(store), Rules(merge_threshold=0.5), tmp_path / "deep" / "t.jsonl")
    rows = lines(tmp_path / "deep" / "t.jsonl")
    assert [row["video_id"] for row in rows] == ["file-a", "pod-b", "dQw4w9WgXcQ"]
    assert [row["url"] for row in rows] == [None, "https://example.org/pod-b", "https://example.org/yt-dQw4w9WgXcQ"]
    assert [row["events"] for row in rows] == [None, None, "ast"]
    # The applause lies in the pause between the second and the third segment.
    shape = [(entry["type"], entry["start"], entry["end"]) for entry in rows[2]["timeline"]]
    assert shape == [("speech", 0.0, 3.75), ("event", 3.75, 4.0), ("speech", 4.0, 7.75)]
    assert rows[2]["timeline"][0]["text"] == "words 0 words 1"
    assert rows[2]["speech"] == 7.5
    assert rows[2]["duration"] == 60.0
    assert rows[0]["timeline"][0]["flags"] == ["low_mos"]
    assert (report.episodes, report.written, report.segments, report.entries, report.events) == (4, 3, 7, 4, 1)
    assert report.episodes_left_out == {"no_speech": 1}
    assert report.left_out == {}
    assert report.exit_code == 0
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "t.jsonl"]


def test_the_same_store_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b"):
        convert.timelines(source(store), Rules(merge_threshold=1), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_everything_left_out_is_counted_and_told(store: Store, tmp_path: Path) -> None:
    rules = Rules(merge_threshold=0.5, max_duration=1.0, cut_start=2.0, cut_end=53.0, min_speech_duration=2.0)
    report = convert.timelines(source(store), rules, tmp_path / "t")
    assert report.left_out == {"cut_off": 1, "cut_through": 1, "of_recordings_left_out": 3}
    assert report.episodes_left_out == {"no_speech": 1, "little_speech": 1, "nothing_left": 1}
    assert report.over_max_duration == report.entries == 2
    assert report.segments == report.entries + sum(report.left_out.values())
    text = report.to_text()
    for said in ("4 recordings read, 1 written", "left out: cut_off: 1", "recordings left out: little_speech: 1", LONG):
        assert said in text


def test_a_dry_run_counts_and_writes_nothing(store: Store, tmp_path: Path) -> None:
    real = convert.timelines(source(store), Rules(), tmp_path / "t")
    dry = convert.timelines(source(store), Rules(), tmp_path / "dry" / "t", dry_run=True)
    assert {**dry.to_json(), "dry_run": False, "out": str(tmp_path / "t")} == real.to_json()
    assert "would be written" in dry.to_text()
    assert not (tmp_path / "dry").exists()
    convert.data_set(source(store), Rules(), tmp_path / "dry", shape="parquet", dry_run=True)
    assert not (tmp_path / "dry").exists()


def test_an_unreadable_recording_costs_the_exit_code_and_no_other_recording(store: Store, tmp_path: Path) -> None:
    store.put("processed/en/pod-b/manifest.json", b"{")
    report = convert.timelines(source(store), Rules(), tmp_path / "t")
    assert report.exit_code == 65
    assert [name for name, _, _ in report.unreadable] == ["pod-b"]
    assert len(lines(tmp_path / "t")) == 2
    assert "unreadable: pod-b" in report.to_text()


def test_a_file_that_was_there_stays_when_the_conversion_fails(store: Store, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("before")

    class Broken(StoreSource):
        def episodes(self) -> Any:
            yield from list(super().episodes())[:1]
            raise RuntimeError("the store is gone")

    with pytest.raises(RuntimeError):
        convert.timelines(Broken(store, made.LAYOUT), Rules(), tmp_path / "t")
    assert (tmp_path / "t").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_written_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        convert.timelines(source(store), Rules(), tmp_path / "file" / "t.jsonl")


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no processed episodes"):
        convert.folder_source(tmp_path)


# -- the dataset command -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", convert.FORMATS)
def test_both_formats_say_what_the_timeline_says(store: Store, tmp_path: Path, shape: str) -> None:
    convert.timelines(source(store), Rules(merge_threshold=0.5), tmp_path / "t")
    report = convert.data_set(source(store), Rules(merge_threshold=0.5), tmp_path / "set", shape=shape)
    assert report.written == 3
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["README.md", f"train.{shape}"]
    if shape == "jsonl":
        rows = lines(tmp_path / "set" / "train.jsonl")
    else:
        table = pq.read_table(tmp_path / "set" / "train.parquet")
        assert table.schema.equals(parquet_schema())
        rows = table.to_pylist()
    assert rows == lines(tmp_path / "t")


def test_the_card_names_every_field(store: Store, tmp_path: Path) -> None:
    convert.data_set(source(store), Rules(), tmp_path, shape="jsonl")
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nconfigs:\n")
    assert all(f"| `{field.name}` | {field.meaning} |" in card for field in (*RECORD, *ENTRY))


def test_rows_of_several_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made.memory()
    for n in range(7):
        made.commit(store, f"ep-{n}", [made.segment(f"ep-{n}", 0)])
    monkeypatch.setattr(convert, "_ROW_GROUP", 3)
    convert.data_set(source(store), Rules(), tmp_path, shape="parquet")
    found = pq.read_table(tmp_path / "train.parquet").column("episode_id").to_pylist()
    assert found == [f"ep-{n}" for n in range(7)]


def test_audio_paths_are_relative_to_the_data_set(store: Store, tmp_path: Path) -> None:
    for name in ("pod-b.flac", "en/file-a.wav", "notes.txt"):
        (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "audio" / name).write_bytes(b"")
    report = convert.data_set(source(store), Rules(), tmp_path / "set", shape="jsonl", audio=tmp_path / "audio")
    rows = lines(tmp_path / "set" / "train.jsonl")
    assert [row["audio"] for row in rows] == ["../audio/en/file-a.wav", "../audio/pod-b.flac", None]
    assert report.without_audio == 1
    assert "without a file in the audio folder: 1" in report.to_text()
    with pytest.raises(UsageError, match="no folder"):
        convert.data_set(source(store), Rules(), tmp_path / "set", shape="jsonl", audio=tmp_path / "absent")
    with pytest.raises(UsageError, match="jsonl, parquet"):
        convert.data_set(source(store), Rules(), tmp_path / "set", shape="csv")


READ = """
import json, sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2])
print(json.dumps([rows[n] for n in range(len(rows))]))
"""


@pytest.mark.parametrize("shape", convert.FORMATS)
def test_load_dataset_opens_the_folder_with_nothing_else(store: Store, tmp_path: Path, shape: str) -> None:
    convert.data_set(source(store), Rules(merge_threshold=0.5), tmp_path / "set", shape=shape)
    convert.timelines(source(store), Rules(merge_threshold=0.5), tmp_path / "t")
    command = [sys.executable, "-c", READ, str(tmp_path / "set"), str(tmp_path / "cache")]
    environment = child_environment(HF_HUB_OFFLINE="1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == lines(tmp_path / "t")
