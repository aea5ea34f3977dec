"""From recordings to a session: the tiny model learns to speak when the user stops, and does so with users it never met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from duplexforge.duplex.build import build
from duplexforge.duplex.corpus import Conversation, Samples, Track, Utterance
from duplexforge.framing import DuplexFormat
from duplexforge.loading.features import log_mels
from duplexforge.records import parse
from duplexforge.training import recipe as recipes
from tests.duplex.thinker import tiny_thinker
from tests.unit.duplex.building import Made, settings

pytestmark = pytest.mark.heavy

SEED = 0
CHUNK = 0.32


@dataclass(frozen=True)
class Bursts:
    """A hum that sounds in some chunks of 0.32 s and not in others."""

    chunks: int
    pitch: float
    sounding: frozenset[int]

    def blocks(self, rate: int) -> Iterator[Samples]:
        """A chunk each."""
        size = round(CHUNK * rate)
        for chunk in range(self.chunks):
            time = np.arange(chunk * size, (chunk + 1) * size) / rate
            yield (0.3 * np.sin(2 * np.pi * self.pitch * time) * (chunk in self.sounding)).astype(np.float32)


def conversation(number: int, random: np.random.Generator) -> Conversation:
    """A user who hums and stops, and an agent who says a word in the chunk after each hum."""
    sounding: set[int] = set()
    said, at = [], 0
    while at < 26:
        end = at + int(random.integers(1, 6))
        sounding |= {*range(at, end)}
        said.append(Utterance(end * CHUNK + 0.01, (end + 1) * CHUNK, "yeah"))
        at = end + int(random.integers(2, 4))
    user = Bursts(at, float(random.uniform(150, 600)), frozenset(sounding))
    tracks = Track(f"user{number}", user, ()), Track(f"agent{number}", Bursts(at, 0, frozenset()), tuple(said))
    return Conversation(f"c{number}", tracks, group=f"g{number}")


RECIPE = """
trainer = "lora"
output = "{out}"
[data]
folder = "{data}"
[model]
rank = 8
alpha = 16
weights = "fp32"
silence_rows = true
evaluate_windows = 16
[losses]
silence_weight = 0.5
[optimizer]
learning_rate = 1e-2
betas = [0.9, 0.99]
warmup_steps = 5
[loop]
epochs = 8
steps_per_epoch = 15
evaluate_every = 8
batch_size = 4
threads = 1
"""


def test_it_takes_the_floor_when_an_unseen_user_stops(tmp_path: Path) -> None:
    from duplexforge.models.qwen import opening
    from duplexforge.models.qwen.stepping import DuplexStep
    from duplexforge.training.loop import Run
    from duplexforge.training.trainers import Place, open_trainer

    model = tiny_thinker(tmp_path / "model")
    random = np.random.default_rng(SEED)
    corpus = Made([conversation(number, random) for number in range(20)])
    build(corpus, settings(model, splits=(0.6, 0.3, 0.1)), tmp_path / "set", source="made")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(out=tmp_path / "out", data=tmp_path / "set"))
    recipe = recipes.load(tmp_path / "recipe.toml")
    figures = Run(recipe, open_trainer(recipe, Place()), Place(), None, stop=lambda: False).go().figures
    assert figures["validation/takeover"] > 0.8
    assert figures["validation/false_takeover"] < 0.05
    # Nobody puts words into its mouth now: the exported adapter on the model, in a session of its own.
    adapter = tmp_path / "out" / "adapter"
    fmt = parse(DuplexFormat, (adapter / "format.json").read_bytes(), "format.json")
    thinker = opening.load_adapter(opening.load_thinker(model, precision="fp32"), adapter)
    step = DuplexStep(thinker, fmt, log_mels)
    session = step.open()
    sounding = frozenset({0, 1, 2, 5, 6, 9, 10, 11, 12, 15, 16})
    spoke = [
        step.step(session, chunk)[0] != fmt.silence_token_id
        for chunk in Bursts(19, 333.0, sounding).blocks(fmt.user_rate)
    ]
    after = {chunk + 1 for chunk in sounding} - sounding
    assert sum(spoke[chunk] for chunk in after) >= len(after) - 1
    assert sum(spoke[chunk] for chunk in sounding) <= 1
