"""Spectrograms as an MDX-Net takes and gives them, in torch, on the CPU or a GPU.

Input and output are ``[batch, 4, dim_f, dim_t]``: left real, left imaginary, right real, right imaginary, of a short-time
Fourier transform with a periodic Hann window and centred frames, lowest ``dim_f`` bins. Our audio is mono, so one
transform fills both channels, and one inverse transform serves the mean of both channels of the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from Emilia.models.windows import Grid
from Emilia.options import MdxOptions

if TYPE_CHECKING:
    import torch

__all__ = ["Spectrograms"]

# Frames at a time on the CPU: what is in work stays in the cache, and the sums do not depend on the number of windows.
_TILE = 32


class Spectrograms:
    """The transforms for one geometry on one device; with ``options.denoise`` every window goes in with both signs.

    ``half`` makes float16 of what the network gets; ``left`` takes its left channel alone, as the published pipeline
    does, instead of the mean. Buffers are kept between calls, so one thread may use it at a time.
    """

    def __init__(self, options: MdxOptions, device: str, *, half: bool = False, left: bool = False) -> None:
        import torch

        self._options, self.grid = options, Grid.of(options)
        self._signs = 2 if options.denoise else 1
        self._tile = options.dim_t if device.startswith("cuda") else _TILE
        self._dtype = torch.float16 if half else torch.float32
        self._device = torch.device(device)
        self._hann = torch.hann_window(options.n_fft, device=self._device)
        self._synthesis = self._hann / self._overlapped(torch.square(self._hann))
        # Half the difference of the answers to both signs, or the one answer, of each channel.
        channels = [1.0, 0.0] if left else [0.5, 0.5]
        signs = [1.0] if self._signs == 1 else [0.5, -0.5]
        self._mix = torch.tensor([[sign * channel for sign in signs for channel in channels]], device=self._device)
        self._input = torch.empty(0, dtype=self._dtype, device=self._device)

    def _overlapped(self, window: torch.Tensor) -> torch.Tensor:
        """The sum of ``window`` and its copies every hop, at each of its samples: the normaliser inside a window."""
        import torch

        hop, size = self._options.hop, self._options.n_fft
        total = torch.zeros(hop, device=window.device)
        for first in range(0, size, hop):
            part = window[first : first + hop]
            total[: len(part)] += part
        return total.repeat(-(-size // hop))[:size]

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """The network's input for windows ``[n, span + n_fft]``, which carry half an FFT of context at both ends.

        ``[n * signs, 4, dim_f, dim_t]``: a window, then its negative, then the next window. Valid until the next call.
        """
        import torch

        options, windows = self._options, len(samples)
        shape = (windows, self._signs, 2, 2, options.dim_f, options.dim_t)
        if self._input.shape != shape:
            self._input = torch.empty(shape, dtype=self._dtype, device=self._device)
        frames = samples.unfold(-1, options.n_fft, options.hop)
        left, right = self._input[:, 0, 0], self._input[:, 0, 1]
        for first in range(0, options.dim_t, self._tile):
            tile = slice(first, first + self._tile)
            spectrum = torch.view_as_real(torch.fft.rfft(frames[:, tile] * self._hann))
            left[..., tile] = spectrum[:, :, : options.dim_f].permute(0, 3, 2, 1)
        right.copy_(left)
        if self._signs == 2:
            torch.neg(self._input[:, 0], out=self._input[:, 1])
        return self._input.view(-1, 4, options.dim_f, options.dim_t)

    def back(self, answers: torch.Tensor) -> torch.Tensor:
        """The usable samples ``[n, usable]`` of the network's answers to ``forward``'s n windows, float32."""
        import torch

        options = self._options
        windows, bins = len(answers) // self._signs, options.n_fft // 2 + 1
        by_source = answers.view(windows, 2 * self._signs, -1).to(torch.float32)
        mean = torch.matmul(self._mix, by_source).view(windows, 2, options.dim_f, options.dim_t)
        rows = options.dim_t + -(-options.n_fft // options.hop) - 1
        total = torch.zeros((windows, rows, options.hop), device=self._device)
        # Bins above dim_f stay zero.
        spectrum = torch.zeros((windows, self._tile, bins), dtype=torch.complex64, device=self._device)
        for first in range(0, options.dim_t, self._tile):
            part = mean[..., first : first + self._tile]
            count = part.shape[-1]
            # Whole complex numbers change places in a third of the time that their halves take.
            spectrum[:, :count, : options.dim_f] = torch.complex(part[:, 0], part[:, 1]).transpose(1, 2)
            self._overlap_add(total, torch.fft.irfft(spectrum[:, :count], n=options.n_fft), first)
        return total.view(windows, -1)[:, options.n_fft : options.n_fft + self.grid.usable]

    def _overlap_add(self, total: torch.Tensor, frames: torch.Tensor, row: int) -> None:
        """Add ``frames`` [n, t, n_fft], weighted, to ``total`` [n, rows, hop] from ``row`` on, one row a frame."""
        hop, count = self._options.hop, frames.shape[1]
        for shift, first in enumerate(range(0, self._options.n_fft, hop)):
            part = frames[..., first : first + hop]
            place = total[:, row + shift : row + shift + count, : part.shape[-1]]
            place.addcmul_(part, self._synthesis[first : first + hop])
