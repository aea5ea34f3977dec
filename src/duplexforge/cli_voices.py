"""``duplexforge voices``: who speaks, in which moods, what lies between two voices, and what they sound like."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duplexforge.cli_options import Json, show
from duplexforge.errors import InputError, ModelError, UsageError

if TYPE_CHECKING:
    from duplexforge.models.s2s.opening import Opened

_SPEAKERS = "decoder.speakers.weight"
"""The voices' vectors in a model's weights, a row for each."""
_NOTE = "the model speaks well only what is like its training answers: one short sentence in their words"

_Factor = Annotated[float, typer.Option(help="Factor on the voice's own, 0.5 to 2; each leaves the other two alone.")]
_Weights = Annotated[
    Path | None, typer.Option("--weights", help="Weights of a speech-to-speech model (default: the one shipped).")
]

voices_app = typer.Typer(help="The voices that answer, their emotions, and blends of them.", no_args_is_help=True)


@voices_app.callback()
def speakers() -> None:
    """The voices that answer, their emotions, and blends of them."""


@voices_app.command("list")
def list_voices(
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Folder of data dialogues whose measured pitch to show.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the voices, their pitch as it was measured on a corpus of dialogues, the emotions and the accents."""
    from dataclasses import asdict

    from duplexforge.dialogues.report import measured
    from duplexforge.voices import ACCENTS, EMOTIONS, VOICES

    pitch = measured(corpus)
    rows = [asdict(voice) | {"measured": pitch.get(voice.key, {})} for voice in VOICES]
    told = {"voices": rows, "emotions": list(EMOTIONS), "accents": list(ACCENTS)}
    lines = [f"{'':3}{'voice':<9}{'key':<21}{'pitch':>8}  measured, Hz: " + " ".join(EMOTIONS)]
    for voice in VOICES:
        mine = pitch.get(voice.key, {})
        heard = " ".join(f"{mine[name]:.0f}" if name in mine else "–" for name in EMOTIONS)
        lines.append(f"{voice.id:<3}{voice.name:<9}{voice.key:<21}{voice.pitch:>5.0f} Hz  {heard}")
    show(json, told, "\n".join([*lines, "accents: " + ", ".join(ACCENTS)]))


@voices_app.command()
def blend(
    one: Annotated[str, typer.Argument(help="A voice: its number, name or key.")],
    other: Annotated[str, typer.Argument(help="Another voice.")],
    weight: Annotated[float, typer.Option("--weight", min=0, max=1, help="Share of the other voice.")] = 0.5,
    weights: _Weights = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the blend.")] = None,
    json: Json = False,
) -> None:
    """Blend the vectors of two voices of a model on the sphere; the result is a voice of that model."""
    import numpy as np

    from duplexforge.voices import find_voice, slerp

    first, last = find_voice(one), find_voice(other)
    table, source = _table(weights)
    vector = slerp(table[first.id], table[last.id], weight)
    likeness = {voice.name: _cosine(vector, table[voice.id]) for voice in (first, last)}
    told = {
        "voices": {first.name: 1 - weight, last.name: weight},
        "model": source,
        "likeness": likeness,
        "voices_digest": _digest(table),
        "vector": np.round(vector, 6).tolist(),
    }
    if out is not None:
        _write(out, (jsonlib.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())
    text = ", ".join(f"{share:.0%} {name} (cosine {likeness[name]:.3f})" for name, share in told["voices"].items())
    show(json, told, f"{text}; {len(vector)} numbers{f' in {out}' if out else ''}")


@voices_app.command()
def render(
    text: Annotated[str, typer.Argument(help="What to say.")],
    *,
    voice: Annotated[str, typer.Option("--voice", help="A voice: its number, name or key, or a JSON file of a blend.")],
    out: Annotated[Path, typer.Option("--out", help="WAV file to write (16 kHz).")],
    other: Annotated[str | None, typer.Option("--blend", help="Another voice to blend with.")] = None,
    weight: Annotated[
        float | None, typer.Option("--blend-weight", min=0, max=1, help="Share of the other voice (default 0.5).")
    ] = None,
    emotion: Annotated[str, typer.Option("--emotion", help="Number or name; voices list has them.")] = "neutral",
    accent: Annotated[str | None, typer.Option("--accent", help="mild, moderate or heavy; with neutral alone.")] = None,
    pitch: _Factor = 1.0,
    energy: _Factor = 1.0,
    rate: _Factor = 1.0,
    weights: _Weights = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number, another rendering.")] = 0,
    json: Json = False,
) -> None:
    """Say TEXT in a voice and write it as sound.

    The model speaks well only what is like its training answers: one short sentence in their words.
    """
    from dataclasses import asdict

    from duplexforge.models.s2s.reading import read_aloud
    from duplexforge.models.s2s.talk import Manner
    from duplexforge.voices import EMOTIONS, Controls, find_accent, find_emotion, manner_of

    if out.suffix.lower() != ".wav":
        raise UsageError(f"what is rendered is a WAV file: {out} does not end in .wav")
    controls = Controls(pitch, energy, rate, find_accent(accent) if accent is not None else None)
    feeling = find_emotion(emotion)
    model = _opened(weights)
    name, speaker = _speaker(model, voice, other, weight)
    mood = manner_of(model.steps.emotions, feeling, controls.accent)
    found = read_aloud(model, text, Manner(speaker, mood, seed=seed), controls)
    _write(out, _wav(found.wave))
    told = _heard(found.wave, text) | {"ended": found.ended, "voice": name, "emotion": EMOTIONS[feeling]}
    told |= {"controls": asdict(controls), "seed": seed, "note": _NOTE}
    show(json, {"file": str(out), **told}, _told(out, told))


def _told(out: Path, told: dict[str, Any]) -> str:
    """What was rendered, for people."""
    height = f"{told['pitch_hz']:.0f} Hz" if told["pitch_hz"] else "no pitch"
    line = f"{out}: {told['seconds']:.2f} s, {told['words']} words, {height} ({told['voice']}, {told['emotion']})"
    cut = "" if told["ended"] else "\nit did not end by itself: it was cut at the model's longest answer"
    return f"{line}{cut}\n{_NOTE}"


def _heard(wave: Any, text: str) -> dict[str, Any]:
    """What a probe hears in the sound, and how many words it should hold."""
    from duplexforge.dialogues.pitch import median_pitch
    from duplexforge.models.s2s.features import RATE

    pitch = median_pitch(wave, RATE)
    heard = None if pitch != pitch else round(pitch, 1)
    return {"seconds": round(len(wave) / RATE, 3), "words": len(text.split()), "pitch_hz": heard}


def _opened(weights: Path | None) -> Opened:
    """The model, which must have a row for every voice and every emotion."""
    from duplexforge.models.s2s.opening import open_s2s, shipped
    from duplexforge.voices import EMOTIONS, VOICES

    model = open_s2s(weights=weights)
    if len(model.steps.speakers) < len(VOICES) or len(model.steps.emotions) < len(EMOTIONS):
        told = f"{len(VOICES)} voices and {len(EMOTIONS)} emotions"
        raise ModelError(f"{weights or shipped()} has no vectors of the {told}: train it on such dialogues")
    return model


def _speaker(model: Opened, voice: str, other: str | None, weight: float | None) -> tuple[str, Any]:
    """A name for the voice that is asked for, and its vector."""
    import numpy as np

    from duplexforge.voices import slerp

    if other is None:
        if weight is not None:
            raise UsageError("--blend-weight is the share of another voice: name it with --blend")
        return _one(model, voice)
    share = 0.5 if weight is None else weight
    (first, one), (last, end) = _one(model, voice), _one(model, other)
    return f"{1 - share:.0%} {first} + {share:.0%} {last}", slerp(one, end, share).astype(np.float32)


def _one(model: Opened, wanted: str) -> tuple[str, Any]:
    """One voice: of the table, or of a file that ``voices blend --out`` wrote."""
    from duplexforge.voices import find_voice

    path = Path(wanted)
    if path.suffix.lower() != ".json":
        voice = find_voice(wanted)
        return voice.name, model.steps.speakers[voice.id]
    return path.name, _blended(path, model.steps.speakers)


def _blended(path: Path, table: Any) -> Any:
    """The vector in a file of a blend, which must be one of the voices of ``table``'s model."""
    import numpy as np

    try:
        told = jsonlib.loads(path.read_text(encoding="utf-8"))
        vector, digest = np.asarray(told["vector"], np.float32), told.get("voices_digest")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no voice: duplexforge voices blend --out writes one") from error
    if vector.shape != table.shape[1:] or not np.isfinite(vector).all() or digest not in (None, _digest(table)):
        raise InputError(f"{path} is a voice of another model: blend it again with these weights")
    return vector


def _digest(table: Any) -> str:
    """What tells the voices of one model from those of another."""
    from zlib import crc32

    import numpy as np

    return f"{crc32(np.ascontiguousarray(table, np.float32).tobytes()):08x}"


def _table(weights: Path | None) -> tuple[Any, str]:
    """The speakers' vectors (speakers × width) of a model, and a name for it."""
    from duplexforge.models.s2s import weights as files
    from duplexforge.models.weights_file import FOLDER
    from duplexforge.voices import VOICES

    path = weights or FOLDER / files.NAME
    if not path.exists():
        missing = "no speech-to-speech model comes with this version" if weights is None else f"there is no file {path}"
        raise ModelError(f"{missing}: name the weights of a trained one with --weights")
    table = files.read(path).arrays.get(_SPEAKERS)
    if table is None or table.ndim != 2 or len(table) < len(VOICES):
        raise ModelError(f"{path} has no vectors of the {len(VOICES)} voices ({_SPEAKERS})")
    return table, path.name


def _cosine(one: Any, other: Any) -> float:
    import numpy as np

    return round(float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))), 4)


def _wav(samples: Any) -> bytes:
    """A WAV file of ``samples`` (−1 to 1) in 16 bits."""
    import io
    import wave

    import numpy as np

    from duplexforge.models.s2s.features import RATE

    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _write(path: Path, body: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(body)
        part.replace(path)
    except OSError as error:
        if part.exists():
            part.unlink()
        raise InputError(f"cannot write {path}: {error.strerror}") from error
