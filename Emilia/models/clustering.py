"""Speaker turns by clustering of acoustic embeddings: no trained speaker model, for machines that have none.

Voiced audio is taken in blocks of some minutes. In each, chunks of two seconds are grouped by their whitened mean
cepstra (Ward), then the two nearest voices are joined and all boundaries drawn anew (Viterbi over Gaussians with a
cost for every change) until the nearest two are too far apart to be one person; that leaves the number of speakers.
The voices of all blocks are linked by the same rule, and a last pass draws the boundaries with the linked voices.
Overlapped speech goes to the louder voice: this diarizer cannot tell it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.ndimage import maximum_filter1d

from Emilia.config import Config
from Emilia.models.mfcc import HOP, RATE, mfcc_between
from Emilia.models.silero import SileroVad
from Emilia.models.voices import Frames, Voice, best_path, distance
from Emilia.options import DiarizeOptions
from Emilia.recording import Recording, Span, Turn, Waveform, ms
from Emilia.stage import Progress

__all__ = ["Block", "ClusterDiarizer", "cluster", "link"]

_FPS = RATE // HOP
# Boundaries are drawn every 50 ms: finer than the collar of any evaluation, and five times cheaper than every frame.
_STEP = 5
# Frames whose log energy lies further below the loudest within a second say more about the room than the voice.
_ACTIVE = 12.0
_NEARBY = 200
# About this share of the frames of running speech is active.
_ACTIVE_SHARE = 0.6
_LEAST_CHUNK = 30

Labels = npt.NDArray[np.int64]


class Block:
    """Cepstra of some voiced spans, one after the other.

    ``frames`` (n, 19) without the energy, ``active`` (n,) marks the loud ones, ``bounds`` are the first and last
    frame of each span in that sequence.
    """

    def __init__(self, wave: Waveform, spans: Sequence[Span]) -> None:
        cepstra, active = [], []
        self.spans = list(spans)
        self.bounds: list[tuple[int, int]] = []
        at = 0
        for span in spans:
            first = round(span.start * _FPS)
            found = mfcc_between(wave, first, max(first + 1, round(span.end * _FPS)))
            energy = found[:, 0]
            cepstra.append(found[:, 1:])
            active.append(energy > maximum_filter1d(energy, _NEARBY) - _ACTIVE)
            self.bounds.append((at, at + len(found)))
            at += len(found)
        self.frames: Frames = np.concatenate(cepstra).astype(np.float64)
        self.active: npt.NDArray[np.bool_] = np.concatenate(active)

    def voice(self, labels: Labels, label: int) -> Voice | None:
        """The voice of the active frames with ``label``; None when there are none."""
        chosen = self.frames[(labels == label) & self.active]
        return Voice.of(chosen) if len(chosen) else None

    def chunks(self, seconds: float) -> list[tuple[int, int]]:
        """Bounds of pieces of about ``seconds``, never across two spans, that hold enough active frames."""
        found: list[tuple[int, int]] = []
        for start, stop in self.bounds:
            edges = np.linspace(start, stop, max(1, round((stop - start) / _FPS / seconds)) + 1).astype(int).tolist()
            found += pairwise(edges)
        return [(a, b) for a, b in found if self.active[a:b].sum() >= _LEAST_CHUNK]

    def assign(self, voices: Sequence[Voice], switch: float) -> Labels:
        """Index of the voice of every frame; a change costs ``switch``, half of it between two spans."""
        scores = np.stack([voice.log_likelihood(self.frames) for voice in voices], axis=1)
        scores[~self.active] = 0.0
        steps = -(-len(scores) // _STEP)
        scores = np.pad(scores, ((0, steps * _STEP - len(scores)), (0, 0))).reshape(steps, _STEP, -1).sum(axis=1)
        costs = np.full(steps, switch)
        costs[[start // _STEP for start, _ in self.bounds]] = switch / 2
        return np.repeat(best_path(scores, costs), _STEP)[: len(self.frames)]


def cluster(block: Block, options: DiarizeOptions, tick: Callable[[], None]) -> list[Voice]:
    """The voices in a block, at most ``start_clusters``; empty when nothing in it is loud enough to judge."""
    chunks = block.chunks(options.chunk)
    if not chunks:
        return [Voice.of(block.frames)] if len(block.frames) else []
    labels = np.full(len(block.frames), -1, np.int64)
    for (start, stop), label in zip(chunks, _start(block, chunks, options.start_clusters), strict=True):
        labels[start:stop] = label
    voices = _voices(block, labels)
    while True:
        tick()
        for _ in range(2):
            labels = block.assign(voices, options.switch)
            voices = _voices(block, labels)
        pair = _nearest(voices, options)
        if pair is None:
            return voices
        voices = _joined(voices, pair)


def _start(block: Block, chunks: Sequence[tuple[int, int]], most: int) -> Labels:
    voices = [Voice.of(block.frames[a:b][block.active[a:b]]) for a, b in chunks]
    if len(voices) < 2:
        return np.zeros(len(voices), np.int64)
    within = sum(voice.covariance * voice.count for voice in voices) / sum(voice.count for voice in voices)
    means = np.stack([voice.mean for voice in voices])
    whitened = np.linalg.solve(np.linalg.cholesky(within), means.T).T
    # Three chunks a cluster at least: the mean of two seconds says as much about the words as about the speaker.
    wanted = max(2, min(most, len(voices) // 3))
    return np.asarray(fcluster(linkage(whitened, "ward"), wanted, "maxclust"), np.int64) - 1


def _voices(block: Block, labels: Labels) -> list[Voice]:
    found = [block.voice(labels, label) for label in range(int(labels.max()) + 1)]
    voices = [voice for voice in found if voice is not None]
    solid = [voice for voice in voices if voice.count >= _FPS]
    return solid or [max(voices, key=lambda voice: voice.count)]


def _nearest(voices: Sequence[Voice], options: DiarizeOptions) -> tuple[int, int] | None:
    """The pair that is most likely one person, or None when no pair is likely to be."""
    best, pair = 1.0, None
    for right in range(1, len(voices)):
        for left in range(right):
            likeness = _apart(voices[left], voices[right], options)
            if likeness <= best:
                best, pair = likeness, (left, right)
    return pair


def _apart(one: Voice, other: Voice, options: DiarizeOptions) -> float:
    """Distance in units of the greatest that one person's two shares may have: below 1 is one person."""
    frames = min(one.count, other.count)
    # Means over little speech differ by the words alone, in inverse proportion to its length.
    allowed = options.distance + options.distance_short * _FPS / frames
    if frames < options.min_speaker * _FPS * _ACTIVE_SHARE:
        allowed *= 2
    return distance(one, other) / allowed


def _joined(voices: Sequence[Voice], pair: tuple[int, int]) -> list[Voice]:
    left, right = pair
    joined = [*voices[:right], *voices[right + 1 :]]
    joined[left] = voices[left] + voices[right]
    return joined


def link(blocks: Sequence[Sequence[Voice]], options: DiarizeOptions) -> list[list[int]]:
    """For each block's voices the index of the person, equal across blocks."""
    voices = [voice for block in blocks for voice in block]
    count = len(voices)
    owner = np.arange(count)
    # A long episode has hundreds of voices: distances are kept, and only those of a joined voice are taken anew.
    apart = np.full((count, count), np.inf)
    for right in range(1, count):
        for left in range(right):
            apart[left, right] = _apart(voices[left], voices[right], options)
    while count and apart.min() <= 1.0:
        left, right = (int(index) for index in np.unravel_index(apart.argmin(), apart.shape))
        voices[left] = voices[left] + voices[right]
        owner[owner == right] = left
        apart[right, :] = apart[:, right] = np.inf
        for other in set(owner.tolist()) - {left}:
            apart[min(left, other), max(left, other)] = _apart(voices[left], voices[other], options)
    ends = np.cumsum([len(block) for block in blocks]).tolist()
    return [owner[end - len(block) : end].tolist() for end, block in zip(ends, blocks, strict=True)]


class ClusterDiarizer:
    """The diarizer ``clusters``: fills ``recording.voiced`` with Silero's spans and gives each of them to one speaker
    or more.
    """

    marks_overlap = False
    adds: tuple[str, ...] = ("voiced", "turns")

    def __init__(self, config: Config) -> None:
        self.options = config.diarize
        self._detector = SileroVad(config.vad)

    @property
    def models(self) -> dict[str, str]:
        """Name and version of the voice activity model."""
        return self._detector.models

    def load(self, device: str) -> None:
        """Load the voice activity model; raises ``ModelMissing``."""
        self._detector.load(device)

    def close(self) -> None:
        """Free the model."""
        self._detector.close()

    def turns(self, recording: Recording, progress: Progress) -> list[Turn]:
        """Turns that cover exactly the voiced spans, pauses of one speaker up to ``bridge`` included."""
        wave, options = recording.narrow_rate(), self.options
        recording.voiced = self._detector.speech(wave, lambda share: progress(share / 3))
        groups = _groups(recording.voiced, options.block)
        found = []
        for number, spans in enumerate(groups):
            share = (1 + number / len(groups)) / 3
            found.append(cluster(Block(wave, spans), options, lambda share=share: progress(share)))  # type: ignore[misc]
        turns: list[Turn] = []
        for number, (spans, voices, people) in enumerate(zip(groups, found, link(found, options), strict=True)):
            turns += _turns(Block(wave, spans), _people(voices, people), options)
            progress((2 + number / len(groups)) / 3)
        return _bridged(turns, options.bridge)


def _groups(voiced: Sequence[Span], seconds: float) -> list[list[Span]]:
    """Spans in runs of equal voiced length, each at most about ``seconds``."""
    total = sum(span.length for span in voiced)
    count = max(1, int(np.ceil(total / seconds)))
    groups: list[list[Span]] = [[] for _ in range(count)]
    before = 0.0
    for span in voiced:
        groups[min(count - 1, int(before / total * count))].append(span)
        before += span.length
    return [group for group in groups if group]


def _people(voices: Sequence[Voice], people: Sequence[int]) -> dict[int, Voice]:
    merged: dict[int, Voice] = {}
    for voice, person in zip(voices, people, strict=True):
        merged[person] = merged[person] + voice if person in merged else voice
    return merged


def _turns(block: Block, people: dict[int, Voice], options: DiarizeOptions) -> list[Turn]:
    names = sorted(people)
    labels = block.assign([people[name] for name in names], options.switch)
    turns: list[Turn] = []
    for span, (start, stop) in zip(block.spans, block.bounds, strict=True):
        for first, last, label in _runs(labels[start:stop], round(options.min_turn * _FPS)):
            begin = ms(span.start + first / _FPS) if first else span.start
            end = ms(span.start + last / _FPS) if last < stop - start else span.end
            turns.append(Turn(begin, end, f"{names[label]:06d}"))
    return turns


def _runs(labels: Labels, least: int) -> list[tuple[int, int, int]]:
    """Runs ``(first, last, label)`` of one span, none under ``least`` frames long unless the whole span is.

    A change that would leave too short a run on either side is not made; a run is labelled as most of its frames are.
    """
    changes = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    kept = [0]
    for start, stop in pairwise(changes[1:]):
        if stop - start >= least and start - kept[-1] >= least:
            kept.append(start)
    edges = [*kept, len(labels)]
    return [(a, b, int(np.bincount(labels[a:b]).argmax())) for a, b in pairwise(edges)]


def _bridged(turns: Sequence[Turn], bridge: float) -> list[Turn]:
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].speaker == turn.speaker and turn.start - joined[-1].end <= bridge:
            joined[-1] = joined[-1]._replace(end=turn.end)
        else:
            joined.append(turn)
    return joined
