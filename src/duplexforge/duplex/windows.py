"""Where the windows of a side lie: the whole side first, then, when wanted, pieces of whole chunks with an overlap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from duplexforge.errors import UsageError
from duplexforge.framing import DuplexFormat


@dataclass(frozen=True)
class Windows:
    """Windows of ``length`` chunks, each ``step`` chunks behind the one before; with ``length`` 0 whole sides alone."""

    length: int
    step: int
    user_samples: int

    @classmethod
    def of(cls, seconds: float | None, overlap: float, fmt: DuplexFormat) -> Self:
        """Windows of ``seconds`` that share ``overlap`` seconds, both taken to the nearest chunk; UsageError when it
        cannot be.
        """
        if seconds is None:
            if overlap:
                raise UsageError("--overlap wants --window: whole sides do not overlap")
            return cls(0, 0, fmt.user_samples)
        if not (math.isfinite(seconds) and math.isfinite(overlap) and seconds > 0 and overlap >= 0):
            raise UsageError("--window must be more than 0 seconds, --overlap 0 or more")
        length, shared = (round(value / float(fmt.chunk_seconds)) for value in (seconds, overlap))
        if length < 1:
            raise UsageError(f"--window must be at least one chunk of {float(fmt.chunk_seconds):g} s")
        if shared >= length:
            raise UsageError("--overlap must be less than --window by at least a chunk")
        return cls(length, length - shared, fmt.user_samples)

    def chunks(self, chunks: int) -> Iterator[tuple[int, int]]:
        """First chunk and end of each window of a side of ``chunks`` chunks; the last one may be shorter."""
        yield 0, chunks
        # A window that would hold the whole side is there already.
        if not self.length or chunks <= self.length:
            return
        for start in range(0, chunks, self.step):
            end = min(start + self.length, chunks)
            yield start, end
            if end == chunks:
                return

    def rows(self, session_id: str, chunks: int) -> Iterator[dict[str, Any]]:
        """Rows of the index of a split."""
        for number, (first, end) in enumerate(self.chunks(chunks)):
            yield {
                "session_id": session_id,
                "seq_id": number,
                "start_sample": first * self.user_samples,
                "end_sample": end * self.user_samples,
            }
