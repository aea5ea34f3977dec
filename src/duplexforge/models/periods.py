"""What a voice will do next, judged by what it just did: the last period, again.

The decoder knows the wave up to where a frame begins. The lag at which its last 10 ms resemble what lies before them best
is taken for the pitch period, and the wave is continued by it over the frame (long-term prediction as in G.728 and its
kin, with nothing sent). How far to trust that, coefficient by coefficient, is a table over how strong the resemblance was.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

HISTORY = 480
"""Samples that are looked at."""
MATCH = 160
"""Samples at the end that are compared with those a lag before."""
SHORTEST, LONGEST = 32, HISTORY - MATCH
"""Lags, in samples at 16 kHz: 500 to 50 Hz."""
LEVELS = 8
"""Rows of the table of trust."""
PREFERENCE = 5e-4
"""What a sample of lag costs: of a period and its multiples, the period."""
QUIET = 1e-6
"""Energy below which nothing is like anything."""

LAGS = np.arange(SHORTEST, LONGEST + 1)
_PREFERRED = 1 - PREFERENCE * (LAGS - SHORTEST)


def continued(history: Floats, samples: int) -> tuple[Floats, int]:
    """``samples`` more of ``history`` (HISTORY samples) by its last period, and the row of the table that applies."""
    exact = history.astype(np.float64)
    target = exact[-MATCH:]
    energy = float(target @ target)
    if energy < QUIET:
        return np.zeros(samples, np.float32), 0
    # One a lag, the shortest first; the places where they begin fall as the lag grows.
    product = np.correlate(exact, target)[HISTORY - MATCH - SHORTEST :: -1]
    sums = np.concatenate([[0.0], np.cumsum(exact * exact)])
    powers = (sums[MATCH:] - sums[:-MATCH])[HISTORY - MATCH - SHORTEST :: -1] + QUIET
    likeness = np.maximum(product, 0.0) ** 2 / powers * _PREFERRED
    best = int(np.argmax(likeness))
    lag = int(LAGS[best])
    gain = min(max(product[best] / powers[best], 0.0), 1.0)
    row = min(int(likeness[best] / energy * LEVELS), LEVELS - 1)
    return (exact[HISTORY - lag + np.arange(samples) % lag] * gain).astype(np.float32), row
