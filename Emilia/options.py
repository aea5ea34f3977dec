"""What can be configured, one frozen dataclass per section of ``config.json``: the meaning and unit of every option.

The values live in the JSON file. Times are seconds and levels dB unless said otherwise; model files and folders are
relative to ``Emilia/models`` unless they are absolute.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "DiarizeOptions",
    "EventsOptions",
    "ExportOptions",
    "MdxOptions",
    "OnnxOptions",
    "PipelineOptions",
    "PocketsphinxOptions",
    "PyannoteOptions",
    "ScoreOptions",
    "SegmentOptions",
    "SeparateOptions",
    "StandardizeOptions",
    "TranscribeOptions",
    "VadOptions",
]


@dataclass(frozen=True)
class PipelineOptions:
    """``order`` of the stages; ``compat`` reproduces the published pipeline's rules, defects included; ``episodes`` may be
    under way at once, each in another stage.
    """

    compat: bool
    order: tuple[str, ...]
    episodes: int


@dataclass(frozen=True)
class StandardizeOptions:
    """Decoding and level.

    ``rate`` and ``narrow_rate`` (Hz) of the two waveforms; ``loudness`` target in LUFS with at most ``max_gain`` dB of
    amplification; ``ceiling`` dBFS that all but ``1 - peak_share`` of the 10 ms blocks stay below, the rest is limited
    softly; shorter than ``min_seconds`` is the outcome ``too_short``; more than ``max_hours`` is refused.
    """

    engine: str
    rate: int
    narrow_rate: int
    loudness: float
    max_gain: float
    ceiling: float
    peak_share: float
    min_seconds: float
    max_hours: float


@dataclass(frozen=True)
class EventsOptions:
    """What else is heard: laughter, applause, music. ``engine`` ``none`` does not listen.

    ``folder`` holds the network as published, ``device`` (empty: the pipeline's) is where it runs. Every ``hop`` seconds
    are told by a window of ``window`` seconds around them; a class is heard from the probability ``threshold`` on, and
    the same event is one where at most ``gap`` seconds lie between. ``batch`` windows go in a call.
    """

    engine: str
    device: str
    folder: str
    window: float
    hop: float
    threshold: float
    gap: float
    batch: int


@dataclass(frozen=True)
class SeparateOptions:
    """``engine`` ``none`` keeps the mix. ``device`` (empty: the pipeline's) is where the network runs. With ``gate``
    above 0, stretches whose pauses are that many dB below the speech are clean and keep the mix.
    """

    engine: str
    device: str
    gate: float


@dataclass(frozen=True)
class MdxOptions:
    """An MDX-Net as an ONNX file: input and output ``[batch, 4, dim_f, dim_t]`` at ``rate`` Hz stereo.

    ``n_fft`` and ``hop`` (samples) of its spectrogram, of which the lowest ``dim_f`` bins and ``dim_t`` frames are a
    window. ``stem`` is what it predicts: ``other`` (the voice is the mix without it) or ``vocals``. ``denoise`` takes
    half the difference of the answers to the window and to its negative. ``overlap`` samples are cross-faded between
    windows, ``batch`` windows go in a call. ``chunk`` and ``margin`` seconds are the published blocks, used under
    ``compat``.
    """

    model: str
    stem: str
    rate: int
    n_fft: int
    hop: int
    dim_f: int
    dim_t: int
    denoise: bool
    overlap: int
    batch: int
    chunk: float
    margin: float


@dataclass(frozen=True)
class OnnxOptions:
    """Limits of onnxruntime on a GPU: ``memory_gb`` GiB (0: none) and at most the share ``memory_share`` (0..1) of the
    card for its arena.
    """

    memory_gb: float
    memory_share: float


@dataclass(frozen=True)
class VadOptions:
    """Voice activity: speech begins at probability ``threshold`` and ends below ``release`` for ``min_silence``;
    shorter than ``min_speech`` is dropped; ``pad`` is added on both sides.
    """

    engine: str
    threshold: float
    release: float
    min_speech: float
    min_silence: float
    pad: float


@dataclass(frozen=True)
class DiarizeOptions:
    """Speaker turns by clustering.

    Speech is taken in blocks of ``block`` seconds, cut into chunks of ``chunk`` seconds, grouped into
    ``start_clusters`` voices at most. Two voices are one person up to the squared distance ``distance`` plus
    ``distance_short`` over the seconds of the shorter one, twice that for a voice with less than ``min_speaker``
    seconds. A change of speaker costs ``switch`` (nats) and lasts ``min_turn`` at least; pauses of one speaker up to
    ``bridge`` stay inside the turn.
    """

    engine: str
    block: float
    chunk: float
    start_clusters: int
    distance: float
    distance_short: float
    switch: float
    min_turn: float
    min_speaker: float
    bridge: float


@dataclass(frozen=True)
class PyannoteOptions:
    """pyannote.audio's speaker diarization, ``variant`` ``3.1`` (agglomerative clustering by centroids) or
    ``community-1`` (VBx).

    ``folder`` holds ``segmentation/`` and ``embedding/`` (and ``plda/`` for VBx), each a checkpoint as published.
    Audio is taken in blocks of ``block`` seconds; speakers of different blocks are one person up to the cosine
    distance ``link``. ``segmentation_batch`` and ``embedding_batch`` are chunks a call. ``threshold``,
    ``min_cluster_size`` (3.1), ``fa``, ``fb`` (community-1) and ``min_duration_off`` are the published constants.
    As published, community-1 has its own folder and the ``threshold`` 0.6.
    """

    variant: str
    folder: str
    block: float
    link: float
    segmentation_batch: int
    embedding_batch: int
    threshold: float
    min_cluster_size: int
    fa: float
    fb: float
    min_duration_off: float


@dataclass(frozen=True)
class SegmentOptions:
    """Cutting and merging: rows over ``split_over`` are split at their longest silences, and silences of ``merge_gap``
    are given up in every row; pieces under ``min_seconds`` are merged with a neighbour of the same speaker within
    ``merge_gap``; nothing is longer than ``max_seconds``; ``pad`` is added where the neighbours leave room.
    """

    split_over: float
    min_seconds: float
    max_seconds: float
    merge_gap: float
    pad: float


@dataclass(frozen=True)
class TranscribeOptions:
    """Recognition and its checks.

    ``whisper_model`` is a CTranslate2 model folder; ``beam`` and ``batch`` are its search width and clips a call.
    ``window`` ``clip`` gives the network a window as long as the clip, rounded up in steps by the factor ``step``;
    ``full`` always 30 s. A doubtful text is decoded again at each of ``temperatures`` in turn, up to the first that is
    not; Whisper's engine says what they mean to it. ``words`` asks for the times of the words. ``languages`` limits the
    result (empty: all); a detected language replaces the expected one at ``language_certain``. A text is doubted over
    ``max_compression``, under ``min_logprob``, or over ``max_no_speech``; under ``min_characters`` it is flagged;
    seconds per character further than ``rate_iqr`` interquartile ranges outside the quartiles are odd once there are
    ``rate_segments`` segments.
    """

    engine: str
    whisper_model: str
    beam: int
    batch: int
    window: str
    step: float
    temperatures: tuple[float, ...]
    words: bool
    languages: tuple[str, ...]
    language_certain: float
    max_compression: float
    min_logprob: float
    max_no_speech: float
    min_characters: int
    rate_segments: int
    rate_iqr: float


@dataclass(frozen=True)
class PocketsphinxOptions:
    """Search limits of the small recogniser, named as its own options are."""

    maxhmmpf: int
    beam: float
    wbeam: float
    bestpath: bool
    fwdflat: bool


@dataclass(frozen=True)
class ScoreOptions:
    """DNSMOS: ``model`` file (else the one of the speechmos package), ``device`` (empty: the pipeline's), ``hop``
    between windows, ``batch`` windows a call, ``min_mos`` below which a segment is flagged.
    """

    engine: str
    device: str
    model: str
    hop: float
    batch: int
    min_mos: float


@dataclass(frozen=True)
class ExportOptions:
    """``engine`` ``mp3`` or ``opus`` (at ``bitrate`` bit/s) or ``flac``."""

    engine: str
    bitrate: int
