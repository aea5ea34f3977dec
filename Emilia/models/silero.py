"""Silero voice activity detection (v6, the ONNX file that faster-whisper packages), without torch.

faster-whisper's ``get_speech_timestamps`` starts the network anew on every call, which would leave a seam at each
slab of a long recording. Here the network's state and its 64 samples of context travel from slab to slab, so the
probabilities are those of one pass over the whole file, and its hysteresis is applied to the whole sequence.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from Emilia.errors import ModelMissing
from Emilia.options import VadOptions
from Emilia.recording import Span, Waveform, ms
from Emilia.stage import Progress

__all__ = ["SileroVad"]

RATE = 16000
WINDOW = 512
_CONTEXT = 64
# The encoder keeps about 0.1 MB a window while it runs; a slab of 32 s stays small and costs no speed.
_SLAB = 1000 * WINDOW


class SileroVad:
    """Finds where anybody speaks in a 16 kHz waveform."""

    def __init__(self, options: VadOptions) -> None:
        self.options = options
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:  # noqa: ARG002
        """Open the packaged network (CPU, one thread); raises ``ModelMissing``."""
        try:
            from faster_whisper.vad import get_vad_model
        except ImportError as error:
            raise ModelMissing("silero-vad", "install faster-whisper, which packages it.") from error
        self._session = get_vad_model().session
        self.models = {"silero-vad": f"v6 (faster-whisper {version('faster-whisper')})"}

    def close(self) -> None:
        """Nothing to free: the network is small and shared."""

    def speech(self, wave: Waveform, progress: Progress, slab: int = _SLAB) -> list[Span]:
        """Spans of speech in time order; ``slab`` (samples, a multiple of 512) bounds memory and changes nothing
        else.
        """
        probabilities = self._probabilities(wave, progress, slab)
        spans = _hysteresis(probabilities, wave.frames, self.options)
        return _padded(spans, round(self.options.pad * RATE), wave.frames)

    def _probabilities(self, wave: Waveform, progress: Progress, slab: int) -> npt.NDArray[np.float32]:
        state = cell = np.zeros((1, 1, 128), np.float32)
        context = np.zeros(_CONTEXT, np.float32)
        found: list[npt.NDArray[np.float32]] = []
        for start in range(0, wave.frames, slab):
            samples = wave.read(start, start + slab)
            windows = np.pad(samples, (0, -len(samples) % WINDOW)).reshape(-1, WINDOW)
            before = np.concatenate([context[None], windows[:-1, -_CONTEXT:]])
            feed = {"input": np.concatenate([before, windows], axis=1), "h": state, "c": cell}
            output, state, cell = self._session.run(None, feed)
            context = windows[-1, -_CONTEXT:]
            found.append(np.asarray(output, np.float32).reshape(-1))
            progress(min(1.0, (start + slab) / wave.frames))
        return np.concatenate([*found, np.zeros(0, np.float32)])


def _hysteresis(probabilities: npt.NDArray[np.float32], frames: int, options: VadOptions) -> list[tuple[int, int]]:
    """Silero's own rule: on at ``threshold``, off when below ``release`` for ``min_silence``. Samples."""
    least, silence = options.min_speech * RATE, options.min_silence * RATE
    spans: list[tuple[int, int]] = []
    begin: int | None = None
    quiet: int | None = None
    for index, probability in enumerate(probabilities.tolist()):
        at = index * WINDOW
        if probability >= options.threshold:
            quiet = None
            begin = at if begin is None else begin
        elif begin is not None and probability < options.release:
            quiet = at if quiet is None else quiet
            if at - quiet >= silence:
                if quiet - begin > least:
                    spans.append((begin, quiet))
                begin = quiet = None
    if begin is not None and frames - begin > least:
        spans.append((begin, frames))
    return spans


def _padded(spans: list[tuple[int, int]], pad: int, frames: int) -> list[Span]:
    padded: list[Span] = []
    for index, (start, end) in enumerate(spans):
        before = spans[index - 1][1] if index else -2 * pad
        after = spans[index + 1][0] if index + 1 < len(spans) else frames + 2 * pad
        start = max(0, start - min(pad, (start - before) // 2))
        end = min(frames, end + min(pad, (after - end) // 2))
        padded.append(Span(ms(start / RATE), ms(end / RATE)))
    return padded
