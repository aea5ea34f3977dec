"""Trains the speech-to-speech model on pairs of question and answer.

The score is whether it answers what was asked: questions that were held out are given to the model as whole turns, and the text
that it says by itself must be the pair's answer, letter by letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from duplexforge import log
from duplexforge.errors import ConfigError, InputError
from duplexforge.models.codec import open_codec
from duplexforge.models.s2s import weights
from duplexforge.models.s2s.network import Network, TorchSteps
from duplexforge.models.s2s.sampling import GREEDY
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.talk import Answer, Manner, Talk, generate
from duplexforge.models.s2s.vocabulary import Vocabulary, learn, normal
from duplexforge.training.recipe import Recipe, Table, section
from duplexforge.training.s2s_augment import PLAIN, Augment
from duplexforge.training.s2s_batches import Batch, Letters, Rows, order
from duplexforge.training.s2s_learner import Learner, Losses
from duplexforge.training.s2s_pairs import SPLITS, Pair, Speaks, prepared, read_pairs
from duplexforge.training.speech import generator
from duplexforge.training.trainers import Part, Place
from duplexforge.voices import EMOTIONS, VOICES

__all__ = ["Model", "S2STrainer"]

MODEL = "s2s"
# Places in the seed's tree, so that no two uses of it share numbers.
_ORDER, _ROWS, _EVALUATION = range(3)
_SIZES = (
    *("width", "heads", "encoder_layers", "decoder_layers", "encoder_inner", "decoder_inner", "kernel", "chunk"),
    *("left", "memory", "steps", "lead"),
)
_log = log.get("train")


class Model(Table):
    """``[model]``: sizes (see ``models/s2s/shape.py``), and how pairs are put before it."""

    width: int = Field(default=256, ge=2)
    heads: int = Field(default=4, ge=1)
    encoder_layers: int = Field(default=4, ge=1)
    decoder_layers: int = Field(default=4, ge=1)
    encoder_inner: int = Field(default=512, ge=1)
    decoder_inner: int = Field(default=704, ge=1)
    kernel: int = Field(default=9, ge=1)
    chunk: int = Field(default=2, ge=1)
    left: int = Field(default=64, ge=0)
    memory: int = Field(default=256, ge=1)
    steps: int = Field(default=256, ge=1)
    lead: int = Field(default=3, ge=1)
    vocabulary: int = Field(default=512, ge=4)
    """Most subwords."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    codec: str = "base"
    placing: Literal["words", "early"] = "early"
    """Whether a word's text waits for its time in the sound, or all text comes first.

    While the model's own sound is still poor, text that waits for it goes astray: early text is right much sooner.
    """
    augment: Augment = Augment()
    goes_on: float = Field(default=0.25, ge=0, le=1)
    """Share of batches in which the user's silence is heard during the answer."""
    evaluate_pairs: int = Field(default=128, ge=1)
    """Held-out pairs that an evaluation asks."""


class S2STrainer:
    """The trainer ``s2s``."""

    def __init__(self, recipe: Recipe, place: Place) -> None:
        self._recipe, self._place = recipe, place
        self._model = section(Model, recipe.model, "[model]")
        self._losses = section(Losses, recipe.losses, "[losses]")
        share = recipe.loop.batch_size // place.size
        if share * place.size != recipe.loop.batch_size or share < recipe.loop.accumulate:
            raise InputError(
                f"a batch of {recipe.loop.batch_size} cannot be shared evenly by {place.size} processes "
                f"in {recipe.loop.accumulate} parts"
            )
        pairs = {split: read_pairs(recipe.data.folder, split) for split in SPLITS}
        codec: Speaks = open_codec(self._model.codec)  # type: ignore[assignment]
        self._codec_weights = f"{codec.weights:08x}"
        self._shape, self._vocabulary, letters = self._facts(pairs["train"], codec)
        kept = prepared(recipe.data.folder, [pair for rows in pairs.values() for pair in rows], codec)
        self._rows = Rows(self._shape, kept, self._vocabulary, letters, placing=self._model.placing)
        self._letters = letters
        self._pairs = {split: self._fitting(split, rows) for split, rows in pairs.items()}
        self._lengths = [self._rows.length(pair) for pair in self._pairs["train"]]
        self._passed: tuple[int, list[Any]] | None = None

    def _facts(self, pairs: Sequence[Pair], codec: Speaks) -> tuple[Shape, Vocabulary, Letters]:
        if self._losses.books and len(self._losses.books) != codec.books:
            raise ConfigError(f"[losses]: books has {len(self._losses.books)} weights, the codec {codec.books} books")
        vocabulary = learn((normal(word) for pair in pairs for _, word in pair.timed), self._model.vocabulary)
        shape = Shape(
            **{name: getattr(self._model, name) for name in _SIZES},
            books=codec.books,
            entries=codec.entries,
            vocabulary=len(vocabulary),
            speakers=len(VOICES),
            emotions=len(EMOTIONS),
        )
        return shape, vocabulary, Letters.of(pairs)

    def _fitting(self, split: str, pairs: Sequence[Pair]) -> list[Pair]:
        for pair in pairs:
            if pair.speaker_id >= len(VOICES) or pair.emotion_id >= len(EMOTIONS):
                raise InputError(
                    f"{pair.target_path}: there is no speaker {pair.speaker_id} or emotion {pair.emotion_id}"
                )
        found = [pair for pair in pairs if self._rows.fits(pair)]
        if len(found) < len(pairs):
            _log.warning("pairs too long for the model are left out", split=split, count=len(pairs) - len(found))
        if not found:
            raise InputError(f"no pair of {split} fits into {self._shape.memory} frames and {self._shape.steps} steps")
        return found

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def build(self) -> Sequence[Part]:
        """The network with its head over characters."""
        network = Network(self._shape, self._model.dropout)
        network.encoder.again = network.decoder.again = self._recipe.loop.gradient_checkpointing
        self._learner = Learner(network, len(self._letters), self._losses).to(self._place.device)
        return [Part(MODEL, self._learner)]

    def start(self) -> None:
        """Nothing is fitted before the first step; what will be learned is said."""
        count = sum(parameter.numel() for parameter in self._learner.network.parameters())
        _log.info(
            "a new model",
            parameters=count,
            subwords=len(self._vocabulary),
            letters=len(self._letters),
            **{split: len(pairs) for split, pairs in self._pairs.items()},
        )

    def steps_per_epoch(self) -> int:
        """Steps that see every pair once."""
        return self._recipe.loop.steps_per_epoch or self._steps_a_pass()

    def _steps_a_pass(self) -> int:
        return max(1, len(self._lengths) // self._recipe.loop.batch_size)

    def phases(self, epoch: int) -> Sequence[str]:  # noqa: ARG002 - the one part moves in every epoch
        """One part, at every step."""
        return (MODEL,)

    def batches(self, step: int) -> Sequence[Batch]:
        """This process's rows of ``step``, in parts."""
        number, at = divmod(step, self._steps_a_pass())
        if self._passed is None or self._passed[0] != number:
            random = generator(self._recipe.seed, _ORDER, number)
            self._passed = (number, order(self._lengths, self._recipe.loop.batch_size, random))
        passed = self._passed[1]
        rows = passed[at % len(passed)][self._place.rank :: self._place.size]
        pairs = [self._pairs["train"][row] for row in rows]
        randoms = [generator(self._recipe.seed, _ROWS, step, int(row)) for row in rows]
        overfit = self._recipe.loop.overfit
        augment = PLAIN if overfit else self._model.augment
        # Batch by batch, not row by row: a batch takes as long as its longest row.
        goes_on = bool(generator(self._recipe.seed, _ROWS, step).random() < self._model.goes_on)
        gain_db = self._recipe.data.gain_db
        batch = self._rows.batch(pairs, randoms, augment=augment, gain_db=gain_db, goes_on=goes_on)
        return batch.to(self._place.device).parts(self._recipe.loop.accumulate)

    def step(self, phase: str, batch: Batch, step: int) -> tuple[Any, Mapping[str, float]]:  # noqa: ARG002
        """The loss of one part of the batch."""
        found: tuple[Any, Mapping[str, float]] = (
            self._learner.listen(batch) if step < self._losses.listen_steps else self._learner.loss(batch)
        )
        return found

    def settle(self, step: int) -> bool:  # noqa: ARG002
        """No weight is moved by hand."""
        return False

    def evaluate(self) -> Mapping[str, float]:
        """Share of held-out questions answered rightly (the score), and how well each stream is foretold."""
        pairs = self._asked()
        parts = _cut(pairs, 32)
        answered = [right for some in parts for right in self._answered(some)]
        figures = {
            f"answered/{kind}": _share(answered, pairs, kind) for kind in {one.held_out for one in pairs} if kind
        }
        for number, some in enumerate(parts):
            randoms = [generator(self._recipe.seed, _EVALUATION, 1, number, row) for row in range(len(some))]
            batch = self._rows.batch(some, randoms).to(self._place.device)
            _, found = self._learner.loss(batch)
            for name, value in found.items():
                figures[name] = figures.get(name, 0.0) + value * len(some) / len(pairs)
        share = sum(answered) / len(answered)
        return {"score": share, "answered": share, **figures}

    def export(self, folder: Path) -> Sequence[Path]:
        """The weights that :mod:`duplexforge.models.s2s.weights` reads."""
        path = folder / weights.NAME
        state = self._learner.network.state_dict()
        arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in state.items()}
        facts = {
            "recipe": self._recipe.model_dump_json(exclude={"output", "data"}),
            "codec": self._model.codec,
            weights.CODEC_WEIGHTS: self._codec_weights,
        }
        weights.write(path, weights.Weights(self._shape, self._vocabulary, arrays, facts))
        return [path]

    # -- their parts ---------------------------------------------------------------------------------------------------

    def _asked(self) -> list[Pair]:
        """The pairs of an evaluation, the same at every one; of an overfit run, those that it learns."""
        if self._recipe.loop.overfit:
            rows = order(self._lengths, self._recipe.loop.batch_size, generator(self._recipe.seed, _ORDER, 0))[0]
            return [self._pairs["train"][row] for row in rows]
        pairs = self._pairs["validation"]
        random = generator(self._recipe.seed, _EVALUATION)
        chosen = random.permutation(len(pairs))[: self._model.evaluate_pairs]
        return [pairs[row] for row in sorted(chosen)]

    def _answered(self, pairs: Sequence[Pair]) -> list[bool]:
        """Whether each of the pairs' questions gets its answer's text."""
        answers = self.answers(pairs)
        texts = [self._vocabulary.read(answer.text) for answer in answers]
        wanted = [" ".join(normal(word) for _, word in pair.timed) for pair in pairs]
        return [text == one for text, one in zip(texts, wanted, strict=True)]

    def answers(self, pairs: Sequence[Pair]) -> list[Answer]:
        """What the model says to the questions of ``pairs`` by itself, in the voices of their answers."""
        batch = self._rows.batch(
            pairs, [generator(self._recipe.seed, _EVALUATION, 0, row) for row in range(len(pairs))]
        )
        turns = [
            frames[:count] for frames, count in zip(batch.frames.numpy(), batch.frame_counts.tolist(), strict=True)
        ]
        manners = [Manner(pair.speaker_id, pair.emotion_id, audio=GREEDY) for pair in pairs]
        with torch.autocast(self._place.device.split(":")[0], enabled=False):
            return generate(Talk(TorchSteps(self._learner.network, len(pairs))), turns, manners)


def _share(answered: Sequence[bool], pairs: Sequence[Pair], kind: str) -> float:
    mine = [right for right, pair in zip(answered, pairs, strict=True) if pair.held_out == kind]
    return sum(mine) / len(mine)


def _cut(pairs: Sequence[Pair], size: int) -> list[Sequence[Pair]]:
    return [pairs[at : at + size] for at in range(0, len(pairs), size)]
