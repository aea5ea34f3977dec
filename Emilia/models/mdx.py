"""MDX-Net separation (UVR-MDX-NET-Inst_HQ_3 and its like), as an ONNX file.

The network predicts a stem from the spectrogram of a window of some six seconds. ``denoise`` takes half the difference
of its answers to the window and to its negative, which cancels what it adds of its own. Here windows overlap and are
cross-faded, their ends hear what really comes before and after, and only stretches that need it are separated. Under
``compat`` the windows are the published ones (:func:`Emilia.models.windows.published`, mirrored at their ends as
``torch.stft`` does), everything is separated, of the answer the left channel is taken, and the voice is resampled there
and back.

The recording is streamed: memory does not depend on its length. On the CPU every window is computed by itself, so
``batch`` changes nothing; on a GPU it may change the last bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np

from Emilia.config import Config
from Emilia.errors import BadConfig
from Emilia.models.cuda import in_batches
from Emilia.models.gate import unclean
from Emilia.models.onnx import Network
from Emilia.models.stft import Spectrograms
from Emilia.models.streams import Mix, Overlap, Track
from Emilia.models.weights import fingerprint, resolve
from Emilia.models.windows import Grid, Window, faded, overlapping, published
from Emilia.recording import Audio, Recording, Span, Waveform, ms
from Emilia.spans import union
from Emilia.stage import Progress

__all__ = ["MdxNet"]

# Share of the stage's time that the gate takes at most, for its progress.
_GATE = 0.02


class _Heard(NamedTuple):
    """A window and its samples, with half an FFT of context at both ends."""

    window: Window
    samples: Audio


class MdxNet:
    """The separator ``mdx``."""

    def __init__(self, config: Config) -> None:
        self._options, self._onnx, self._gate = config.mdx, config.onnx, config.separate.gate
        self._device, self._compat = config.separate.device, config.pipeline.compat
        if self._options.stem not in ("other", "vocals"):
            raise BadConfig(f"mdx.stem cannot be {self._options.stem!r}; the choices are 'other' and 'vocals'.")
        self._grid = Grid.of(self._options)
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:
        """Open the network on ``separate.device`` or else on ``device``; raises ``ModelMissing`` and, for a network of
        another shape than configured, ``BadConfig``.
        """
        device = self._device or device
        path = resolve(self._options.model)
        self._network = Network(path, device, self._onnx)
        wanted = (4, self._options.dim_f, self._options.dim_t)
        if self._network.shape[1:] != wanted:
            raise BadConfig(f"{path.name} takes windows of {self._network.shape[1:]}, but mdx says {wanted}.")
        self._where = device if self._network.cuda else "cpu"
        self._spectrograms = Spectrograms(self._options, self._where, half=self._network.half, left=self._compat)
        self.models = {"mdx": fingerprint(path)}

    def close(self) -> None:
        """Free the network and the buffers."""
        del self._network, self._spectrograms

    def separate(self, recording: Recording, progress: Progress) -> None:
        """Replace both waveforms by the voice alone, in new scratch files; those of the mix are removed.

        ``recording.separated`` says where; where it is empty the waveforms are left as they are.
        """
        wide, narrow = recording.full_rate(), recording.narrow_rate()
        rate, frames = self._options.rate, Mix(wide, self._options.rate, 0).frames
        windows = self._windows(wide, frames, lambda share: progress(share * _GATE))
        spans = union(Span(ms(w.start / rate), ms(min(w.stop / rate, wide.seconds))) for w in windows)
        recording.separated = spans
        recording.facts["separated_seconds"] = ms(sum(span.length for span in spans))
        if not windows:
            return
        voices = [recording.scratch / f"{wave.path.stem}-voice.f32" for wave in (wide, narrow)]
        with (
            closing(Track(wide, voices[0], rate, alone=self._compat)) as first,
            closing(Track(narrow, voices[1], rate, alone=self._compat)) as second,
        ):
            # Reading and writing both count, since hours without a window are only read and written.
            def moved() -> None:
                progress(_GATE + (1 - _GATE) * (mix.share + sink.at / frames) / 2)

            mix, sink = Mix(wide, rate, self._back(), moved), Overlap([first, second], rate, moved)
            self._stream(mix, windows, sink)
            recording.wave, recording.narrow = first.done(), second.done()
        for wave in (wide, narrow):
            # Gigabytes that nobody reads any more; a file from elsewhere is not ours to remove.
            if wave.path.parent == recording.scratch:
                wave.path.unlink()

    def _back(self) -> int:
        # The first window of a published block begins before the last one of the block before.
        return round(self._options.margin * self._options.rate) if self._compat else 0

    def _windows(self, wide: Waveform, total: int, progress: Progress) -> list[Window]:
        options, rate = self._options, self._options.rate
        if self._compat:
            return published(total, round(options.chunk * rate), round(options.margin * rate), self._grid)
        spans = [(0, total)]
        if self._gate > 0:
            found = unclean(wide, self._gate, progress)
            spans = [(round(span.start * rate), round(span.end * rate)) for span in found]
        return overlapping(spans, total, self._grid, options.overlap)

    def _stream(self, mix: Mix, windows: Sequence[Window], sink: Overlap) -> None:
        """Separate all ``windows`` of ``mix`` into ``sink``."""
        # One by one on the CPU: there a batch saves nothing, and sums in another order would change the last bits.
        batch = self._options.batch if self._network.cuda else 1
        for heard, pieces in in_batches(self._heard(mix, windows), batch, self._pieces):
            for (window, _), piece in zip(heard, pieces, strict=True):
                if not self._compat:
                    piece = faded(window, piece, mix.frames, self._options.overlap)
                sink.add(window.start, piece)
        sink.finish(mix.frames)

    def _heard(self, mix: Mix, windows: Sequence[Window]) -> Iterator[_Heard]:
        half, span = self._grid.half, self._grid.span
        for window in windows:
            first = window.at - half
            if not self._compat:
                yield _Heard(window, mix.read(first - half, first + span + half))
                continue
            low, high = max(first, window.low), min(first + span, window.high)
            samples = np.pad(mix.read(low, high), (low - first, first + span - high))
            yield _Heard(window, np.pad(samples, half, mode="reflect"))

    def _pieces(self, heard: Sequence[_Heard]) -> list[Audio]:
        """For each window what it adds from ``start`` to ``stop``: what is not voice, under ``compat`` the voice."""
        size = self._grid.usable
        loud = [samples for _, samples in heard if self._needed(samples)]
        predicted = iter(self._predicted(np.stack(loud)) if loud else ())
        pieces: list[Audio] = []
        for window, samples in heard:
            stem = next(predicted) if self._needed(samples) else np.zeros(size, np.float32)
            if (self._options.stem == "vocals") is not self._compat:
                stem = samples[2 * self._grid.half :][:size] - stem
            pieces.append(stem[window.start - window.at : window.stop - window.at])
        return pieces

    def _needed(self, samples: Audio) -> bool:
        # Silence needs no network: with both signs the answer to it is zero, whatever the network adds of its own.
        return bool(samples.any()) or (self._compat and not self._options.denoise)

    def _predicted(self, samples: Audio) -> Audio:
        """The stem that the network predicts in windows with context."""
        import torch

        with torch.inference_mode():
            windows = torch.from_numpy(samples).to(self._where)
            answers = self._network.run_tensor(self._spectrograms.forward(windows))
            found: Audio = self._spectrograms.back(answers).cpu().numpy()
        return found
