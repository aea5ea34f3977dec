"""Real-time factor of the speech-to-speech model on one core, against two other designs of as many parameters.

    python benchmarks/s2s_speed.py [--quick] [--json] [--sizes 256 512] [--engines plain torch] [--seconds 4]

Every side hears so many seconds of a user while it says as many, in ticks of 80 ms, with random weights in 32 bits on one
thread; what a side says is drawn from its logits by the same function. Codecs are left out on all sides. Peers are made of
transformers' own modules, called step by step with their caches, the kindest way there is (no ``generate``):

* Moshi-like: ``MoshiForCausalLM`` at 12.5 Hz over text and eight codes of either voice, ``MoshiDepthDecoder`` for the eight
  that it says; layers, width and feed-forward part of the second stand to the first's as in the published model.
* EnCodec-LM-like: ``MusicgenForCausalLM`` over frames of eight codes at 75 Hz with parallel heads, as the delay pattern has
  them; the user's six frames of a tick go in at once, and it says no text.

Ours runs at the recipes' shapes, by the engine that is shipped (numpy) and by torch, which is what the peers use.
"""

from __future__ import annotations

from harness import ROOT, Comparison, Figure, arguments, compare, report  # isort: skip

import gc
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from duplexforge.models.s2s.features import WIDTH
from duplexforge.models.s2s.loading import network_of
from duplexforge.models.s2s.network import TorchSteps
from duplexforge.models.s2s.plain import PlainSteps
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.sampling import USUAL, choose
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.talk import Steps
from duplexforge.models.s2s.weights import Weights

SEED = 1
TICK = 0.08
GOAL = 1.5
OUR_BOOKS, BOOKS, ENTRIES = 6, 8, 1024
ENCODEC_FRAMES = 6  # of its 75 a second, in a tick
NOTES = (
    "real-time factor: processor seconds for a second of the conversation; codecs not counted on any side",
    "tokens a second: ours 25 × 6 and text, Moshi-like 12.5 × 8 and text, EnCodec-LM-like 75 × 8",
)
Codes = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """A design: its name, parameters, codes a tick (frames × books), and a function from ticks to the codes that it said."""

    name: str
    parameters: int
    codes: tuple[int, int]
    run: Callable[[int], Codes]


class Choice:
    """Draws codes from logits, and holds that every one of these is a number."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)

    def __call__(self, logits: Logits) -> Codes:
        assert np.isfinite(logits).all()
        return choose(logits, USUAL, self._random)


def shape_of(size: str) -> Shape:
    """The shape in the recipe of that width."""
    model = tomllib.loads((ROOT / f"examples/recipes/s2s-{size}.toml").read_text(encoding="utf-8"))["model"]
    return Shape(books=OUR_BOOKS, **{one.name: model[one.name] for one in fields(Shape) if one.name in model})


def ours(model: Weights, engine: str) -> Side:
    """The model, a chunk heard and two steps said in a tick."""
    steps: Steps = PlainSteps(model, 1) if engine == "plain" else TorchSteps(network_of(model), 1)
    shape, mine = model.shape, np.ones(1, np.bool_)
    frames = np.random.default_rng(SEED).standard_normal((1, shape.chunk, WIDTH)).astype(np.float32)

    def run(ticks: int) -> Codes:
        draw, text, row = Choice(), np.zeros(1, np.int64), np.full((1, shape.books), shape.none)
        steps.reset(mine)
        steps.begin(mine, steps.speakers[:1], steps.emotions[:1])
        found = []
        for _ in range(ticks):
            steps.hear(frames, mine)
            for _ in range(shape.chunk):
                words, sound = steps.speak(text, row, mine)
                text, row = draw(words), draw(sound[0])[None]
                found.append(row[0])
        return np.stack(found)

    numbers = sum(array.size for array in model.arrays.values())
    return Side(f"ours, {engine}", numbers, (shape.chunk, shape.books), run)


def count(model: torch.nn.Module) -> int:
    """Parameters that are used: without a cross-attention that has nothing to look at, without tables of sines."""
    unused = ("encoder_attn", "embed_positions")
    return sum(one.numel() for name, one in model.named_parameters() if not any(word in name for word in unused))


def fitted(make: Callable[[int, int], torch.nn.Module], wanted: int, step: int, ratio: float) -> torch.nn.Module:
    """The model of about ``wanted`` parameters: width a multiple of ``step``, feed-forward part near ``ratio`` times that."""

    def size(width: int, inner: int) -> int:
        # Counted on the device that holds no numbers: dozens of models cost nothing there.
        with torch.device("meta"):
            return count(make(width, inner))

    width = _nearest(range(step, 4096, step), wanted, lambda one: size(one, 2 * round(ratio * one / 2)))
    around = 2 * round(ratio * width / 2)
    inner = _nearest(range(around // 4 * 2, 2 * around, 2), wanted, lambda one: size(width, one))
    torch.manual_seed(SEED)
    return make(width, inner).eval()


def _nearest(choices: range, wanted: int, size: Callable[[int], int]) -> int:
    """The choice whose size, which grows with it, comes nearest to ``wanted``."""
    at = bisect_left(choices, wanted, key=size)
    return min(choices[max(at - 1, 0) : at + 1], key=lambda one: abs(size(one) - wanted))


class Moshi(torch.nn.Module):
    """What ``MoshiForConditionalGeneration`` runs, without its codec."""

    def __init__(self, shape: Shape, width: int, inner: int) -> None:
        from transformers import MoshiConfig, MoshiForCausalLM
        from transformers.models.moshi.configuration_moshi import MoshiDepthConfig
        from transformers.models.moshi.modeling_moshi import MoshiDepthDecoder

        super().__init__()
        layers = shape.encoder_layers + shape.decoder_layers
        common: dict[str, Any] = {"vocab_size": shape.vocabulary, "audio_vocab_size": ENTRIES, "num_codebooks": BOOKS}
        # Built for its codec's configuration alone, which is then not made.
        mimi = {"model_type": "mimi", "num_quantizers": 32, "codebook_size": ENTRIES}
        self.main = MoshiForCausalLM(
            MoshiConfig(
                hidden_size=width, num_hidden_layers=layers, num_attention_heads=shape.heads, ffn_dim=inner,
                audio_encoder_config=mimi, depth_decoder_config={}, **common,
            )
        )  # fmt: skip
        self.depth = MoshiDepthDecoder(
            MoshiDepthConfig(
                hidden_size=width // 4, input_size=width, num_hidden_layers=max(2, round(layers * 6 / 32)),
                num_attention_heads=shape.heads, ffn_dim=2 * round(5.5 * width / 8), **common,
            )
        )  # fmt: skip
        self.voices = torch.nn.ModuleList([torch.nn.Embedding(ENTRIES + 1, width) for _ in range(2 * BOOKS)])

    def embedded(self, text: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """What goes into the main transformer (1 × 1 × width)."""
        voices = sum(table(codes[number]) for number, table in enumerate(self.voices))
        return (self.main.model.embed_tokens(text) + voices)[None]

    def tick(self, text: torch.Tensor, codes: torch.Tensor, past: Any, draw: Choice) -> tuple[Any, Any, Any]:
        """One step of 80 ms; ``codes`` (16) are the two voices' of the step before."""
        out = self.main.model(inputs_embeds=self.embedded(text, codes), past_key_values=past, use_cache=True)
        text = torch.from_numpy(draw(self.main.lm_head(out.last_hidden_state)[0].numpy()))
        said, inner, last = [], None, text
        for _ in range(BOOKS):
            found = self.depth(last[None], out.last_hidden_state, past_key_values=inner, use_cache=True)
            inner, last = found.past_key_values, torch.from_numpy(draw(found.logits[0].numpy()))
            said.append(last)
        return text, torch.cat(said), out.past_key_values


def moshi(shape: Shape, wanted: int) -> Side:
    """Main and depth transformer at 12.5 Hz."""
    model: Any = fitted(lambda width, inner: Moshi(shape, width, inner), wanted, 4 * shape.heads, 5.5)
    user = torch.from_numpy(np.random.default_rng(SEED).integers(0, ENTRIES, BOOKS))

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def run(ticks: int) -> Codes:
        draw, past = Choice(), None
        text, said = torch.zeros(1, dtype=torch.int64), torch.full((BOOKS,), ENTRIES)
        found = []
        for _ in range(ticks):
            text, said, past = model.tick(text, torch.cat([said, user]), past, draw)
            found.append(said.numpy())
        return np.stack(found)

    return Side("Moshi-like stack of transformers", count(model), (1, BOOKS), run)


def encodec_lm(shape: Shape, wanted: int) -> Side:
    """A decoder over frames of 75 Hz."""
    from transformers import MusicgenForCausalLM
    from transformers.models.musicgen.configuration_musicgen import MusicgenDecoderConfig

    def make(width: int, inner: int) -> torch.nn.Module:
        layers = shape.encoder_layers + shape.decoder_layers
        return MusicgenForCausalLM(
            MusicgenDecoderConfig(
                vocab_size=ENTRIES, num_codebooks=BOOKS, hidden_size=width, num_hidden_layers=layers, ffn_dim=inner,
                num_attention_heads=shape.heads, max_position_embeddings=4096, pad_token_id=ENTRIES, bos_token_id=ENTRIES,
            )
        )  # fmt: skip

    model: Any = fitted(make, wanted, 2 * shape.heads, 4.0)
    user = torch.from_numpy(np.random.default_rng(SEED).integers(0, ENTRIES, (BOOKS, ENCODEC_FRAMES)))

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def run(ticks: int) -> Codes:
        draw, past, said = Choice(), None, torch.full((BOOKS, 1), ENTRIES)
        found = []
        for _ in range(ticks):
            # What it hears wants no heads.
            past = model.model.decoder(user, past_key_values=past, use_cache=True).past_key_values
            for _ in range(ENCODEC_FRAMES):
                out = model(said, past_key_values=past, use_cache=True)
                said, past = torch.from_numpy(draw(out.logits[:, 0].numpy()))[:, None], out.past_key_values
                found.append(said[:, 0].numpy())
        return np.stack(found)

    return Side("EnCodec-LM-like stack of transformers", count(model), (ENCODEC_FRAMES, BOOKS), run)


def checked(mine: Codes, theirs: Codes, ticks: int, model: Side, peer: Side) -> str:
    """Both said what there is to say in so many ticks, all of it codes, and not the same one over and over."""
    for codes, side in ((mine, model), (theirs, peer)):
        frames, books = side.codes
        assert codes.shape == (frames * ticks, books)
        assert codes.min() >= 0
        assert codes.max() < ENTRIES
        assert len(np.unique(codes)) > ticks
    ratio = peer.parameters / model.parameters
    assert 0.97 < ratio < 1.03, f"the peer has {ratio:.3f} of our parameters"
    told = f"{mine.shape[0]} × {mine.shape[1]} codes against {theirs.shape[0]} × {theirs.shape[1]}"
    return f"{ticks * TICK:.2f} s heard and said by both, {told}; logits finite; parameters {ratio:.3f} of ours"


def measured(size: str, engines: Sequence[str], ticks: int, repetitions: int) -> Iterator[Comparison | Figure]:
    """Ours of one size by every engine against both peers."""
    model = drawn(shape_of(size), SEED)
    seconds = ticks * TICK
    for number, build in enumerate((moshi, encodec_lm)):
        peer = build(model.shape, sum(array.size for array in model.arrays.values()))
        yield Figure(f"{size}: parameters, {peer.name.partition(' ')[0]}", peer.parameters / 1e6, "million")
        for engine in engines:
            side = ours(model, engine)
            if not number:
                yield Figure(f"{size}: parameters, {side.name}", side.parameters / 1e6, "million")
            row = compare(
                f"{size}: {engine} against {peer.name.partition('-like')[0]}",
                lambda side=side: side.run(ticks),
                lambda peer=peer: peer.run(ticks),
                check=lambda one, other, side=side, peer=peer: checked(one, other, ticks, side, peer),
                peer_name=f"{peer.name}, random weights, {peer.parameters:,} parameters (ours {side.parameters:,})",
                repetitions=repetitions,
                goal=GOAL if build is encodec_lm else 0.0,
            )
            yield row
            if not number:
                yield Figure(f"{size}: real-time factor, {side.name}", row.ours_cpu.median / seconds, "x")
        yield Figure(f"{size}: real-time factor, {peer.name.partition(' ')[0]}", row.peer_cpu.median / seconds, "x")
        # Two models of the largest size are enough for the memory of most machines.
        del peer, row, side
        gc.collect()


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", choices=["256", "512", "768"], nargs="+", default=["256"])
    parser.add_argument("--engines", choices=["plain", "torch"], nargs="+", default=["plain", "torch"])
    parser.add_argument("--seconds", type=float, help="heard and said in each run, up to 10 (default 4, quick 0.8)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    if options.device == "cuda":
        # One core against one core is what the ratios mean; a GPU's would be another benchmark.
        parser.error(
            "this compares designs on one core: duplexforge benchmark latency --device cuda times ours on a GPU"
        )
    torch.set_num_threads(1)
    ticks = round((options.seconds or (0.8 if options.quick else 4.0)) / TICK)
    if not 1 <= ticks <= 10 / TICK:
        parser.error("--seconds lie above 0 and up to 10")
    found = [one for size in options.sizes for one in measured(size, options.engines, ticks, options.repetitions)]
    report(
        "Speech-to-speech model: heard and said on one core",
        [one for one in found if isinstance(one, Comparison)],
        [one for one in found if isinstance(one, Figure)],
        as_json=options.json,
        packages=["numpy", "torch", "transformers"],
        seed=SEED,
        notes=NOTES,
    )


if __name__ == "__main__":
    main()
