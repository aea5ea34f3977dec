"""What the speech-to-speech model answers to questions that training has not, and how its answers sound.

    python benchmarks/s2s_answers.py --data DIALOGUES [--weights F] [--engine E] [--items N] [--int8] [--json | --markdown]

``DIALOGUES`` is a folder of ``duplexforge data dialogues``: the questions of ``validation_pairs.json`` with a wording or a
voice (or both) that no pair of training has, and those of ``unseen_pairs.json``, which are of no intent. All speech in it is
synthetic (espeak-ng), so the figures are about that. The model is opened as users open it, draws audio as it does for them,
and is judged by what comes out of the codec.

The text is right when it is the answer, letter by letter. What the *audio* says is judged twice: by pocketsphinx with a
grammar of all English answers (:class:`answers_heard.Grammar`), and by the true recording that is nearest by time warping,
among all answers in that language and voice, without the very recording that was wanted (:class:`answers_heard.Shelf`). "Says
the text" leaves out texts that are no answer of the corpus; "is right" counts them as wrong. A linear probe hears the voice,
``dialogues.pitch`` how high it is. *Ceiling* is what the same judge makes of the true answer after the codec. Brackets hold
95 % intervals (Wilson).

``--int8`` asks the same again of graphs with matrices in 8 bits (needs torch and onnx to write them).
"""

from __future__ import annotations

from harness import ROOT, arguments  # isort: skip

import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from answers_corpus import Corpus
from answers_heard import Grammar, Voices, distances, sounds, traits
from answers_shares import Item, Share, markdown, pitches, plain, rows

sys.path.insert(0, str(ROOT / "src"))

from duplexforge.dialogues.pairs import Pair
from duplexforge.dialogues.pitch import median_pitch
from duplexforge.models.base import BaseCodec
from duplexforge.models.s2s.features import RATE, frames_of, log_mel
from duplexforge.models.s2s.opening import ENGINES, Opened, open_s2s, read_weights, shipped
from duplexforge.models.s2s.talk import Manner, Talk, generate
from duplexforge.models.s2s.vocabulary import normal
from duplexforge.voices import EMOTIONS, VOICES

Wave = npt.NDArray[np.float32]

SLOTS = 4
PROBED = 400
"""Answers of training that the probe of voices learns from: from there on it hears every true voice."""
LENGTHS = (0.85, 1.15)

TEXT, INTENT = "the text is right", "the text is an answer of the right intent"
SPHINX = "pocketsphinx, English"
NEAREST = "nearest recording"
JUDGES = tuple(
    f"{judge}: {what}"
    for judge in (SPHINX, NEAREST)
    for what in ("the audio says the text", "the audio is right", "ceiling")
)
VOICE, VOICE_CEILING = "the asked voice is heard (goal 95 %)", "the asked voice is heard: ceiling"
ENDED, LENGTH = "it ended by itself", "as long as the true answer to 15 %, where the text is right"
MEASURES = (TEXT, INTENT, *JUDGES, VOICE, VOICE_CEILING, ENDED, LENGTH)


class Said(NamedTuple):
    """One answer: text, samples, frames, and whether it ended by itself."""

    text: str
    wave: Wave
    frames: int
    ended: bool


def asked(model: Opened, corpus: Corpus, pairs: Sequence[tuple[int, Pair]], seed: int) -> list[Said]:
    """The answers of ``model``, as a user gets them; each is drawn from ``seed`` and the pair's place."""
    talk = Talk(model.steps)
    slots, found = len(talk.speaking), []
    for at in range(0, len(pairs), slots):
        some = pairs[at : at + slots]
        heard = [frames_of(log_mel(corpus.wave(pair.input_path))) for _, pair in some]
        manners = [Manner(pair.speaker_id, pair.emotion_id, seed=seed + place) for place, pair in some]
        for answer in generate(talk, heard, manners):
            wave = decoded(model.base, answer.audio)
            found.append(Said(model.vocabulary.read(answer.text), wave, len(answer.audio), answer.ended))
        if at // slots % 25 == 0:
            print(f"{at + len(some)} of {len(pairs)} questions", file=sys.stderr)
    return found


def decoded(base: BaseCodec, codes: npt.NDArray[np.integer]) -> Wave:
    """The samples of one answer's codes (frames × books)."""
    return base.decoder().push_tokens(codes[None])[0]


class Judges:
    """All that judge audio, made of the true recordings of ``corpus``."""

    def __init__(self, corpus: Corpus, base: BaseCodec, seed: int) -> None:
        self._corpus, self._base = corpus, base
        english = list(corpus.answers.get("en", {}))
        self.grammar = Grammar(english) if english and find_spec("pocketsphinx") else None
        self._shelves = corpus.shelves()
        drawn = np.random.default_rng(seed).permutation(len(corpus.train))[:PROBED]
        learnt = [corpus.train[place] for place in drawn]
        told = np.stack([traits(self.coded(pair)[0]) for pair in learnt])
        self._voices = Voices.learnt(told, [pair.speaker_id for pair in learnt])

    def coded(self, pair: Pair) -> tuple[Wave, int]:
        """The true answer after the codec, and its frames."""
        codes = self._base.tokens(self._corpus.wave(pair.target_path))
        return decoded(self._base, codes), len(codes)

    def item(self, pair: Pair, said: Said) -> Item:
        """Everything that is asked of one answer."""
        true, frames = self.coded(pair)
        answers, right = self._corpus.answers[pair.language], normal(pair.answer)
        found = {TEXT: said.text == right, INTENT: answers.get(said.text) == pair.intent, ENDED: said.ended}
        length = said.frames / frames if found[TEXT] else float("nan")
        if found[TEXT]:
            found[LENGTH] = LENGTHS[0] <= length <= LENGTHS[1]
        for judge, heard, ceiling in self._heard(pair, said.wave, true):
            if said.text in answers and (judge is not SPHINX or (self.grammar and self.grammar.knows(said.text))):
                found[f"{judge}: the audio says the text"] = heard == said.text
            found[f"{judge}: the audio is right"] = heard == right
            found[f"{judge}: ceiling"] = ceiling == right
        found[VOICE] = self._voices.heard(traits(said.wave)) == pair.speaker_id
        found[VOICE_CEILING] = self._voices.heard(traits(true)) == pair.speaker_id
        pitch = median_pitch(said.wave, RATE)
        return Item(pair.held_out, pair.language, pair.speaker_id, pair.emotion_id, found, pitch, length)

    def _heard(self, pair: Pair, said: Wave, true: Wave) -> list[tuple[str, str, str]]:
        """Of each judge the answer that it hears in ``said`` and the one it hears in ``true``."""
        shelf, found = self._shelves[pair.language, pair.speaker_id], []
        if self.grammar and pair.language == "en" and self.grammar.knows(normal(pair.answer)):
            found.append((SPHINX, self.grammar.heard(said), self.grammar.heard(true)))
        nearest = [
            shelf.nearest(sounds(self._corpus.spoken(pair, wave)), pair.emotion_id, pair.target_path)
            for wave in (said, true)
        ]
        return [*found, (NEAREST, nearest[0], nearest[1])]


def eight_bits(
    weights: Path | None,
    corpus: Corpus,
    pairs: Sequence[tuple[int, Pair]],
    said: Sequence[Said],
    seed: int,
    model: Opened,
) -> dict[str, Any]:
    """The same questions asked of the model in 8 bits: texts, and how far its audio is from that in 32.

    Beside it, how far the model in 32 bits is from itself with other random numbers, and from the true answer.
    """
    from duplexforge.models.s2s.onnx_export import export

    with tempfile.TemporaryDirectory() as made:
        export(read_weights(weights), Path(made) / "int8", int8=True)
        short = asked(open_s2s(SLOTS, engine="onnx", weights=Path(made) / "int8"), corpus, pairs, seed)
    other = asked(model, corpus, pairs, seed + 1_000_000)
    far: dict[str, list[float]] = {"8 bits": [], "other random numbers": [], "the true answer": []}
    for (_, pair), mine, eight, again in zip(pairs, said, short, other, strict=True):
        if mine.text == eight.text == again.text == normal(pair.answer):
            waves = (eight.wave, again.wave, corpus.wave(pair.target_path))
            found = distances(sounds(mine.wave), [sounds(wave) for wave in waves])
            for name, value in zip(far, found, strict=True):
                far[name].append(float(value))
    return {
        "same_text": asdict(Share.of(one.text == two.text for one, two in zip(said, short, strict=True))),
        "right": asdict(Share.of(one.text == normal(pair.answer) for one, (_, pair) in zip(short, pairs, strict=True))),
        "distance": {name: round(median(values), 3) for name, values in far.items() if values},
    }


def drawn(count: int, wanted: int | None, seed: int) -> list[int]:
    """``wanted`` of ``count`` places in order (None: all)."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return sorted(np.random.default_rng(seed).permutation(count)[:wanted].tolist())


def digest(path: Path) -> str:
    """What tells weights from others: of a file, or of all files in a folder of graphs."""
    found = hashlib.sha256()
    for one in sorted(path.iterdir()) if path.is_dir() else [path]:
        found.update(one.read_bytes())
    return found.hexdigest()[:16]


def result(options: Any, corpus: Corpus) -> dict[str, Any]:
    """Everything that is reported, the tables as objects."""
    model = open_s2s(SLOTS, engine=options.engine, weights=options.weights)
    pairs = [(place, corpus.validation[place]) for place in drawn(len(corpus.validation), options.items, options.seed)]
    said = asked(model, corpus, pairs, options.seed)
    none = [(len(corpus.validation) + place, pair) for place, pair in enumerate(corpus.unseen)]
    refused = asked(model, corpus, none, options.seed) if none else []
    judges = Judges(corpus, model.base, options.seed)
    items = [judges.item(pair, one) for (_, pair), one in zip(pairs, said, strict=True)]
    several = any(len(set(some.values())) < len(some) for some in corpus.answers.values())
    voices = [(voice.name, voice.key, voice.pitch) for voice in VOICES]
    lengths = [item.length for item in items if item.length == item.length]
    found: dict[str, Any] = {
        "engine": options.engine,
        "weights": digest(options.weights or shipped()),
        "corpus": json.loads((corpus.folder / "settings.json").read_text(encoding="utf-8")).get("sentences", "")[:16],
        "seed": options.seed,
        "answers": len(items),
        "texts_that_are_no_answer": sum(
            one.text not in corpus.answers[p.language] for (_, p), one in zip(pairs, said, strict=True)
        ),
        "length": {str(at): round(float(np.percentile(lengths, at)), 3) for at in (5, 50, 95)} if lengths else {},
        "unseen": Share.of(one.text == normal(pair.answer) for (_, pair), one in zip(none, refused, strict=True)),
        "unheard_words": sorted(judges.grammar.unknown) if judges.grammar else ["pocketsphinx is not installed"],
        "rows": rows(items, [name for name in MEASURES if several or name != INTENT]),
        "pitches": pitches(items, voices, EMOTIONS, corpus.pitch),
    }
    if options.int8:
        found["int8"] = eight_bits(options.weights, corpus, pairs, said, options.seed, model)
    return found


def told(found: dict[str, Any], *, as_markdown: bool) -> list[str]:
    """The tables, and what else there is to say, in sentences."""
    lines = (markdown if as_markdown else plain)(found["rows"], found["pitches"])
    lengths = ", ".join(f"{value:.2f}" for value in found["length"].values())
    lines += [
        "",
        f"Questions of no intent answered as not understood: {found['unseen']}.",
        f"Texts that are no answer of the corpus: {found['texts_that_are_no_answer']} of {found['answers']}.",
        f"Length beside the true answer's, where the text is right (5th, 50th, 95th percentile): {lengths}.",
    ]
    if "int8" in found:
        eight = found["int8"]
        far = ", ".join(f"to {name} {value:.2f}" for name, value in eight["distance"].items())
        lines += [
            f"In 8 bits: the same text {Share(**eight['same_text'])}, the right one {Share(**eight['right'])}.",
            f"Median distance of the audio (cepstra, time-warped) where all are right: {far}.",
        ]
    if found["unheard_words"]:
        lines.append(f"The recogniser was not asked for answers with: {', '.join(found['unheard_words'])}.")
    lines.append(
        f"Engine {found['engine']}, weights {found['weights']}, corpus {found['corpus']}, seed {found['seed']}."
    )
    return lines


def main() -> None:
    """Ask, judge and print."""
    # Nothing is timed here, so any core will do.
    parser = arguments(__doc__, one_core=False)
    parser.add_argument("--data", type=Path, required=True, help="folder of duplexforge data dialogues")
    parser.add_argument("--weights", type=Path, help="weights, or a folder of graphs (default: those shipped)")
    parser.add_argument("--engine", choices=list(ENGINES), default="plain")
    parser.add_argument("--items", type=int, help="so many questions, drawn by the seed (default: all; quick: 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--int8", action="store_true", help="the same again in 8 bits; weights of a file alone")
    parser.add_argument("--markdown", action="store_true", help="print the tables for a model card")
    options = parser.parse_args()
    options.items = 40 if options.quick and options.items is None else options.items
    found = result(options, Corpus(options.data))
    if options.json:
        tables = {
            "rows": [row.to_json() for row in found["rows"]],
            "pitches": [asdict(one) for one in found["pitches"]],
        }
        print(json.dumps(found | tables | {"unseen": asdict(found["unseen"])}, indent=1, ensure_ascii=False))
    else:
        print("\n".join(told(found, as_markdown=options.markdown)))


if __name__ == "__main__":
    main()
