"""Whether somebody speaks: Silero's network (v6, the ONNX file that the package faster-whisper brings), as a stream.

One network serves all conversations, and each has a state of its own. The network takes the windows of *one* voice as a row, so
that many windows at once cost a third less than one by one; windows of several voices it cannot take together.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from duplexforge.errors import ModelError
from duplexforge.serving.packets import Floats

__all__ = ["RATE", "SECONDS", "WINDOW", "Listener", "Silero", "silero"]

RATE = 16_000
WINDOW = 512
"""Samples of a window."""
SECONDS = WINDOW / RATE
_CONTEXT = 64
_STATE = (1, 1, 128)
_FILES = "assets/silero_vad*.onnx"
_CURE = "install duplexforge's extra `serve`, which brings faster-whisper and onnxruntime"


class Silero:
    """The network, on one thread; ModelError when it is not installed."""

    def __init__(self) -> None:
        # The package itself would be 0.3 s and 40 MB of imports for one file of it.
        found = find_spec("faster_whisper")
        places = list(found.submodule_search_locations or ()) if found else []
        files = sorted(file for place in places for file in Path(place).glob(_FILES))
        if not files:
            raise ModelError(f"there is no voice activity detection: {_CURE}")
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise ModelError(f"onnxruntime cannot be loaded ({error}): {_CURE}") from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(files[-1]), options, providers=["CPUExecutionProvider"])

    def run(self, windows: Floats, state: Any, cell: Any) -> tuple[Floats, Any, Any]:
        """Probabilities (n) of ``windows`` (n × 576: each behind the last 64 samples of the one before), and the state after."""
        found, state, cell = self._session.run(None, {"input": windows, "h": state, "c": cell})
        return np.asarray(found, np.float32).reshape(-1), state, cell


@functools.cache
def silero() -> Silero:
    """The network that all conversations share, opened once."""
    return Silero()


class Listener:
    """One voice: windows in, probabilities out. However its samples come in pieces, the numbers are the same to within 1e-5."""

    def __init__(self, network: Silero) -> None:
        self._network = network
        self._state = self._cell = np.zeros(_STATE, np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)

    def listen(self, windows: Floats) -> list[float]:
        """The probability of speech in each of ``windows`` (n × 512, float32 in ±1 at 16 kHz), which follow those before."""
        if not len(windows):
            return []
        before = np.concatenate([self._context[None], windows[:-1, -_CONTEXT:]])
        feed = np.concatenate([before, windows], axis=1)
        found, self._state, self._cell = self._network.run(feed, self._state, self._cell)
        self._context = windows[-1, -_CONTEXT:].copy()
        probabilities: list[float] = found.tolist()
        return probabilities
