"""ASR batching: clips of several episodes in windows as long as they are, against one 30 s window a segment.

Both sides read the same seeded segments of the same episodes with a timed stand-in for the network: an encoder pass takes
a fixed time plus a time for each second of window that it computes, decoding a batch a fixed time, and it sleeps for
them; so the ratio says how calls and windows are used and nothing about any network. Spectrograms are really computed on
both sides. Ours is the stage `transcribe` with its batcher. The peer was written for this comparison after the published
pipeline's order of work: one episode after the other, each segment's language asked for in a pass of its own, then
batches of 16 in the order of the segments, every window 30 s.
"""

from __future__ import annotations

from harness import Figure, arguments, compare, report  # isort: skip

import sys
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor

from Emilia.config import load_config
from Emilia.models.whisper_mel import HOP, LONGEST, RATE, Heard, LogMel, lengths, shortest
from Emilia.recording import Asr, Audio, Recording, Segment, Waveform, WaveformWriter
from Emilia.stages.transcribe import Hypothesis, Transcribe

SEED = 20261
BATCH = 16
PER_ENCODING = 0.003
PER_SECOND = 0.0005
PER_DECODING = 0.025
BEFORE = 0.1
"""Seconds between the episodes' arrivals at this stage."""


class Clip(NamedTuple):
    """A clip's text, which its samples decide, and the seconds of its window."""

    text: str
    window: float


class StandIn:
    """A recogniser that takes the time of a network."""

    languages: frozenset[str] | None = None

    def __init__(self, windows: list[int]) -> None:
        self.models: dict[str, str] = {}
        self._log_mel = LogMel(FeatureExtractor.get_mel_filters(RATE, 400, 80))
        self._windows = windows
        self.passes, self.seconds, self.busy = 0, 0.0, 0.0

    def load(self, device: str) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to close."""

    def window(self, samples: int) -> int:
        """Frames of the window."""
        return shortest(self._windows, samples)

    def prepare(self, clip: Audio) -> Clip:
        """The spectrogram, and the text."""
        heard: Heard = self._log_mel.heard(clip, self.window(len(clip)))
        return Clip(f"{len(clip)} samples, {zlib.crc32(clip.tobytes())}", heard.parts.shape[2] * HOP / RATE)

    def encode(self, clips: Sequence[Clip]) -> None:
        """Take the time of one encoder pass."""
        began = time.perf_counter()
        seconds = sum(clip.window for clip in clips)
        time.sleep(PER_ENCODING + PER_SECOND * seconds)
        self.passes += len(clips)
        self.seconds += seconds
        self.busy += time.perf_counter() - began

    def decode(self) -> None:
        """Take the time of decoding one batch."""
        began = time.perf_counter()
        time.sleep(PER_DECODING)
        self.busy += time.perf_counter() - began

    def recognise(self, clips: list[Clip], languages: Sequence[str | None]) -> list[Hypothesis]:
        """The texts, after one call."""
        self.encode(clips)
        self.decode()
        return [
            Hypothesis(clip.text, language or "en", Asr(), passes=1.0, computed=clip.window)
            for clip, language in zip(clips, languages, strict=True)
        ]


class Done(NamedTuple):
    """Texts by episode, and what the network did."""

    texts: list[list[str]]
    passes: float
    fill: float
    idle: float


def episodes(wave: Waveform, count: int, segments: int) -> list[Recording]:
    """``count`` episodes of ``segments`` segments: 3 to 30 s, 9 s on the average."""
    rng = np.random.default_rng(SEED)
    made = []
    for number in range(count):
        drawn = 3 + rng.exponential(6.5, 3 * segments)
        seconds = drawn[drawn <= 30][:segments]
        starts = rng.uniform(0, wave.seconds - 30, segments)
        recording = Recording(wave.path, f"ep{number}", wave.path, wave.path, "en", narrow=wave)
        recording.segments = [
            Segment(float(start), float(start + length), "S00", index)
            for index, (start, length) in enumerate(zip(starts, seconds, strict=True))
        ]
        made.append(recording)
    return made


def spoken(recordings: Sequence[Recording]) -> float:
    """Seconds of all segments."""
    return sum(segment.end - segment.start for recording in recordings for segment in recording.pieces())


def ours(recordings: Sequence[Recording]) -> Done:
    """The stage, with a thread an episode."""
    stage = Transcribe(load_config(None, overrides={"transcribe.batch": BATCH}))
    network = StandIn(lengths(stage.options.step, 80))
    stage._recogniser = network

    def one(number: int, recording: Recording) -> None:
        with stage.coming():
            time.sleep(BEFORE * number)
            stage.run(recording, lambda _share: None)

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(recordings)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    idle = stage.idle_share() or 0.0
    stage.close()
    return _done(recordings, network, idle)


def peer(recordings: Sequence[Recording]) -> Done:
    """One 30 s window a segment, first in first out, languages in a pass of their own."""
    network = StandIn([LONGEST])
    began = time.perf_counter()
    for number, recording in enumerate(recordings):
        time.sleep(max(0.0, began + BEFORE * number - time.perf_counter()))
        wave, segments = recording.narrow_rate(), recording.pieces()
        for segment in segments:
            network.encode([network.prepare(wave.seconds_of(segment.start, segment.end))])
        for first in range(0, len(segments), BATCH):
            batch = segments[first : first + BATCH]
            clips = [network.prepare(wave.seconds_of(segment.start, segment.end)) for segment in batch]
            for segment, found in zip(batch, network.recognise(clips, ["en"] * len(clips)), strict=True):
                segment.text = found.text
    return _done(recordings, network, 1 - network.busy / (time.perf_counter() - began))


def _done(recordings: Sequence[Recording], network: StandIn, idle: float) -> Done:
    texts = [[segment.text for segment in recording.pieces()] for recording in recordings]
    count = sum(map(len, texts))
    # The language passes compute windows of their own; fill is that of the passes that read the text.
    computed = network.seconds * count / network.passes
    return Done(texts, network.passes / count, spoken(recordings) / computed, idle)


def check(left: Done, right: Done) -> str:
    """Both read the same."""
    if left.texts != right.texts:
        raise AssertionError("the texts differ")
    return f"the same text of all {sum(map(len, left.texts))} segments"


def main() -> int:
    """Measure and print."""
    given = arguments(__doc__).parse_args()
    count, segments = (4, 40) if given.quick else (6, 120)
    with TemporaryDirectory() as folder:
        rng = np.random.default_rng(SEED)
        with WaveformWriter(Path(folder) / "noise.f32", RATE) as writer:
            writer.write((0.1 * rng.standard_normal(300 * RATE)).astype(np.float32))
            wave = writer.done()
        results: list[tuple[Done, Done]] = []

        def checked(left: Done, right: Done) -> str:
            results.append((left, right))
            return check(left, right)

        comparison = compare(
            "ASR batching",
            lambda: ours(episodes(wave, count, segments)),
            lambda: peer(episodes(wave, count, segments)),
            check=checked,
            peer_name="written here after the published order: FIFO, batch 16, 30 s windows, languages apart",
            clock="wall",
            repetitions=given.repetitions,
        )
    report(
        f"ASR batching: {count} episodes of {segments} segments, 3 to 30 s",
        [comparison],
        _figures(results, given.quick),
        as_json=given.json,
        packages=["faster-whisper", "numpy"],
        seed=SEED,
        notes=[
            f"stand-in network, slept: {1000 * PER_ENCODING:g} ms an encoding and {1000 * PER_SECOND:g} ms a second of "
            f"window, {1000 * PER_DECODING:g} ms a decoding; an episode arrives every {BEFORE:g} s; batch {BATCH}"
        ],
    )
    return 0


def _figures(results: Sequence[tuple[Done, Done]], quick: bool) -> list[Figure]:
    left, right = ([pair[side] for pair in results[1:]] for side in (0, 1))
    fill, passes = left[0].fill, left[0].passes
    idle = float(np.median([one.idle for one in left]))
    return [
        Figure("fill, ours", fill, "", "goal >= 0.95", fill >= 0.95),
        Figure("fill, peer", right[0].fill),
        Figure("encoder passes a segment, ours", passes, "", "goal 1.0", passes == 1.0),
        Figure("encoder passes a segment, peer", right[0].passes),
        # A short run is mostly its beginning, in which the first episode waits for the second.
        Figure("idle share while clips wait, ours", idle, "", "goal <= 0.05", None if quick else idle <= 0.05),
        Figure("idle share, peer", float(np.median([one.idle for one in right]))),
    ]


if __name__ == "__main__":
    sys.exit(main())
