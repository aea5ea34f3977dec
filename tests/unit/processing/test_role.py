"""The processing role on a folder store: what is committed, what is refused, and what a loser leaves behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from duplexforge import config
from duplexforge.config import ProcessSettings, QueueSettings, StoreSettings
from duplexforge.errors import ConfigError, DeviceLost, InputError, LeaseLost, ModelError, RetryLater, StoreError
from duplexforge.layout import Layout
from duplexforge.processing import emilia
from duplexforge.processing.role import ProcessStep
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import AudioRecord, Manifest, ProcessTask
from duplexforge.storage import Store, open_store
from duplexforge.worker import Worker
from tests.servers.s3_client import S3Server

KEYS = Layout()
AUDIO = "raw_audio/en/shows/ep1.mp3"
TASK = ProcessTask(id="ep1", episode_id="ep1", language="en", audio_key=AUDIO)


class Steady:
    """Progress of a worker that nobody disturbs; ``lost`` makes the last look before the commit fail."""

    def __init__(self, *, lost: bool = False) -> None:
        self.lost = lost
        self.beats: list[str] = []
        self.waits: list[str] = []

    def beat(self, what: str = "", fraction: float = 0.0) -> None:
        self.beats.append(what)

    def wait(self, what: str = "", fraction: float = 0.0) -> None:
        self.waits.append(what)

    def check_lease(self) -> None:
        if self.lost:
            raise LeaseLost("taken over")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(config.load("status", store_url=f"file://{tmp_path}/store")[StoreSettings])
    store.put(AUDIO, b"some audio")
    return store


@pytest.fixture
def step(store: Store, toy_emilia: Path) -> ProcessStep:
    return ProcessStep(store, KEYS, ProcessSettings(emilia_path=str(toy_emilia)))


def attempt(
    step: ProcessStep, folder: Path, name: str, *, lost: bool = False, task: ProcessTask = TASK
) -> dict[str, object]:
    """Fetch and work as one attempt would."""
    folder.mkdir()
    return step.work(task, step.fetch(task, folder), name, Steady(lost=lost))


def keys(store: Store, prefix: str) -> list[str]:
    return [meta.key for meta in store.list(prefix)]


def test_commit_names_every_file_of_the_attempt(store: Store, step: ProcessStep, tmp_path: Path) -> None:
    assert not step.done(TASK)
    attempt(step, tmp_path / "one", "a1-aaaa")
    assert step.done(TASK)
    manifest = Manifest.model_validate_json(store.get("processed/en/ep1/manifest.json"))
    assert manifest.folder == "processed/en/ep1/a1-aaaa/"
    for entry in manifest.files:
        body = store.get(manifest.folder + entry.name)
        assert (len(body), hashlib.sha256(body).hexdigest()) == (entry.size, entry.sha256)
    assert [entry.name for entry in manifest.files] == ["all_segments.json", "ep1_000000.mp3", "ep1_000001.mp3"]
    assert (manifest.segments, manifest.speakers, manifest.flagged, manifest.flags) == (2, 2, 1, {"low_mos": 1})
    assert manifest.hours.source == 0.5


def test_second_attempt_loses_and_leaves_nothing(store: Store, step: ProcessStep, tmp_path: Path) -> None:
    attempt(step, tmp_path / "one", "a1-aaaa")
    before = {key: store.get(key) for key in keys(store, "processed/")}
    assert attempt(step, tmp_path / "two", "a2-bbbb") == {"outcome": "committed by another attempt"}
    assert {key: store.get(key) for key in keys(store, "processed/")} == before


def test_lost_lease_commits_nothing(store: Store, step: ProcessStep, tmp_path: Path) -> None:
    with pytest.raises(LeaseLost):
        attempt(step, tmp_path / "one", "a1-aaaa", lost=True)
    assert keys(store, "processed/") == []


def test_lost_answer_to_the_commit_loses_no_file(s3_server: S3Server, toy_emilia: Path, tmp_path: Path) -> None:
    bucket = s3_server.fresh_bucket()
    store = open_store(s3_server.settings(bucket), attempts=1)
    store.put(AUDIO, b"some audio")
    step = ProcessStep(store, KEYS, ProcessSettings(emilia_path=str(toy_emilia)))
    s3_server.arm("lost", method="PUT", match=f"{bucket}/processed/en/ep1/manifest.json")
    with pytest.raises(StoreError):
        attempt(step, tmp_path / "one", "a1-aaaa")
    manifest = Manifest.model_validate_json(store.get("processed/en/ep1/manifest.json"))
    for entry in manifest.files:
        assert hashlib.sha256(store.get(manifest.folder + entry.name)).hexdigest() == entry.sha256


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        (b"corrupt", InputError, "corrupt"),
        (b"full disk", RetryLater, "machine"),
        (b"gated", ModelError, "model_missing"),
        (b"broken card", DeviceLost, "device_lost"),
    ],
)
def test_errors_of_the_pipeline_have_their_class(
    store: Store, step: ProcessStep, tmp_path: Path, body: bytes, error: type[Exception], reason: str
) -> None:
    store.put(AUDIO, body)
    with pytest.raises(error) as caught:
        attempt(step, tmp_path / "one", "a1-aaaa")
    assert getattr(caught.value, "reason", None) == reason
    assert keys(store, "processed/") == []


def test_missing_and_changed_audio(store: Store, step: ProcessStep, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not in the store") as caught:
        attempt(step, tmp_path / "one", "a1", task=TASK.model_copy(update={"audio_key": "raw_audio/en/shows/no.mp3"}))
    assert caught.value.reason == "input_missing"
    record = AudioRecord(
        episode_id="ep1", language="en", source="shows", audio_key=AUDIO, url="file:///x", sha256="0" * 64, size=10,
        collected_at="2026-01-01",
    )  # fmt: skip
    store.put("raw_audio/en/shows/ep1.json", record.to_bytes())
    with pytest.raises(RetryLater, match="checksum"):
        attempt(
            step, tmp_path / "two", "a1", task=TASK.model_copy(update={"record_key": "raw_audio/en/shows/ep1.json"})
        )


def test_audio_that_may_not_be_read_fails_alone(s3_server: S3Server, toy_emilia: Path, tmp_path: Path) -> None:
    bucket = s3_server.fresh_bucket()
    store = open_store(s3_server.settings(bucket), attempts=1)
    store.put(AUDIO, b"some audio")
    step = ProcessStep(store, KEYS, ProcessSettings(emilia_path=str(toy_emilia)))
    s3_server.control(deny=[f"{bucket}/{AUDIO}"])
    try:
        with pytest.raises(InputError) as caught:
            attempt(step, tmp_path / "one", "a1-aaaa")
    finally:
        s3_server.control(deny=[])
    assert caught.value.reason == "denied"


def test_hostile_episode_id_ends_as_bad_record(step: ProcessStep) -> None:
    with pytest.raises(InputError) as caught:
        step.done(TASK.model_copy(update={"episode_id": "../../etc"}))
    assert caught.value.reason == "bad_record"


def test_worker_runs_hand_written_tasks(store: Store, step: ProcessStep) -> None:
    body = {"episode_id": "ep1", "language": "en", "audio_key": AUDIO}
    store.put("tasks/processing_todo/by-hand.task", json.dumps(body).encode())
    store.put("tasks/processing_todo/nonsense.task", b"{]")
    queue = PrefixQueue(store, KEYS, "processing", ProcessTask, QueueSettings(lease_seconds=30))
    tally = Worker(queue, step, QueueSettings(), drain=True).run()
    assert tally.completed == 1
    assert step.done(TASK)
    assert [(record.id, record.reason) for record in queue.dead()] == [("nonsense", "bad_record")]


def test_language_setting_wins_over_the_task(store: Store, toy_emilia: Path, tmp_path: Path) -> None:
    for setting, expected in ((None, "en"), ("de", "de")):
        step = ProcessStep(store, KEYS, ProcessSettings(emilia_path=str(toy_emilia), asr_language=setting))
        (tmp_path / f"for-{expected}").mkdir()
        fetched = step.fetch(TASK, tmp_path / f"for-{expected}")
        task = TASK.model_copy(update={"episode_id": f"ep-{expected}"})
        step.work(task, fetched, "a1-aaaa", Steady())
        body = json.loads(store.get(f"processed/en/ep-{expected}/a1-aaaa/all_segments.json"))
        assert body == {"language": expected}


def test_package_is_refused_in_words(tmp_path: Path, toy_emilia: Path) -> None:
    with pytest.raises(ConfigError, match="EMILIA_PATH"):
        emilia.package(ProcessSettings(emilia_path=str(tmp_path / "nowhere")))
    init = toy_emilia / "__init__.py"
    init.write_text(init.read_text().replace("API_VERSION = 1", "API_VERSION = 99"))
    with pytest.raises(ConfigError, match="API version 99"):
        emilia.package(ProcessSettings(emilia_path=str(toy_emilia)))


def test_unknown_preset_is_a_configuration_error(store: Store, toy_emilia: Path) -> None:
    with pytest.raises(ConfigError, match="no preset"):
        ProcessStep(store, KEYS, ProcessSettings(emilia_path=str(toy_emilia), emilia_preset="turbo"))


def test_the_wait_for_another_episode_is_no_progress(step: ProcessStep, tmp_path: Path) -> None:
    shown = Steady()
    (tmp_path / "one").mkdir()
    step.work(TASK, step.fetch(TASK, tmp_path / "one"), "a1-aaaa", shown)
    assert (shown.waits, shown.beats) == (["waiting"], ["cut", "cut"])


def test_a_checkpoint_waits_for_the_next_attempt_and_goes_with_the_commit(
    store: Store, step: ProcessStep, tmp_path: Path
) -> None:
    store.put(AUDIO, b"resume")
    with pytest.raises(RetryLater):
        attempt(step, tmp_path / "one", "a1-aaaa")
    (kept,) = keys(store, "tasks/")
    assert kept.startswith("tasks/processing_checkpoints/ep1.c0ffee-")
    attempt(step, tmp_path / "two", "a2-bbbb")
    assert keys(store, "tasks/") == []
    assert step.done(TASK)


def test_a_checkpoint_of_other_audio_is_not_used(store: Store, step: ProcessStep, tmp_path: Path) -> None:
    for number, body in enumerate((b"resume one", b"resume two"), 1):
        store.put(AUDIO, body)
        with pytest.raises(RetryLater):
            attempt(step, tmp_path / str(number), f"a{number}-aaaa")
    assert len(keys(store, "tasks/processing_checkpoints/")) == 2


def test_settings_replace_options_of_the_preset(toy_emilia: Path) -> None:
    wanted = ProcessSettings(
        emilia_path=str(toy_emilia), episodes_at_once=3, batch_size=8, dnsmos_device="cpu", ort_cuda_mem_limit_gb=4.0
    )
    assert emilia.overrides(wanted) == {
        "pipeline.episodes": 3, "transcribe.batch": 8, "score.device": "cpu", "onnx.memory_gb": 4.0
    }  # fmt: skip
    assert emilia.overrides(ProcessSettings()) == {}
    assert emilia.load_pipeline(wanted).config.pipeline.episodes == 3


def test_every_setting_names_an_option_that_there_is() -> None:
    every = ProcessSettings(
        episodes_at_once=2, batch_size=8, separation_chunks=20.0, separation_device="cpu", dnsmos_device="cpu",
        ort_cuda_mem_limit_gb=4.0, ort_cuda_mem_limit_fraction=0.5,
    )  # fmt: skip
    wanted = emilia.overrides(every)
    assert len(wanted) == 7
    config = emilia.package(ProcessSettings()).load_config(None, preset="emilia", overrides=wanted)
    assert (config.mdx.chunk, config.onnx.memory_share) == (20.0, 0.5)
