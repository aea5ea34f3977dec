"""``duplexforge voices`` as a person types it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from duplexforge.dialogues.report import measured
from duplexforge.errors import InputError
from duplexforge.models.s2s import opening
from duplexforge.models.s2s import weights as files
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.vocabulary import learn
from duplexforge.voices import EMOTIONS, VOICES, slerp
from tests.unit.command import Run, runner
from tests.unit.models.s2s_made import SMALL


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_URL", "")
    return runner(monkeypatch, capsys, "voices")


def vectors(folder: Path, rows: int = 4) -> np.ndarray:
    """Weights of a model that has nothing but its voices' vectors, in ``folder``/m.safetensors."""
    table = np.random.default_rng(3).standard_normal((rows, 16)).astype(np.float16).astype(np.float32)
    arrays = {"decoder.speakers.weight": table, "other": np.ones(2, np.float32)}
    files.write(folder / "m.safetensors", files.Weights(Shape(), learn(["abc"], 64), arrays, {}))
    return table


def test_the_list_has_every_voice_emotion_and_accent(run: Run) -> None:
    told = json.loads(run("list", "--json").stdout)
    assert [voice["name"] for voice in told["voices"]] == [voice.name for voice in VOICES]
    assert told["emotions"] == list(EMOTIONS)
    assert told["accents"] == ["mild", "moderate", "heavy"]
    for voice in told["voices"]:
        assert voice["measured"]["neutral"] == pytest.approx(voice["pitch"], rel=0.05)
        assert voice["measured"].keys() == set(EMOTIONS)
    text = run("list").stdout
    assert all(voice.name in text and voice.key in text for voice in VOICES)


def test_the_list_shows_the_pitch_of_a_corpus(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dialogues.json").write_text(json.dumps({"pitch": {"male_young": {"happy": 131.5}}}))
    told = json.loads(run("list", "--corpus", ".", "--json").stdout)
    assert [voice["measured"] for voice in told["voices"]] == [{"happy": 131.5}, {}, {}, {}]
    assert "– 132 –" in run("list", "--corpus", ".").stdout
    refused = run("list", "--corpus", "none")
    assert refused.returncode == 65
    assert "duplexforge data dialogues makes such a folder" in refused.stderr


@pytest.mark.parametrize("text", ["[]", "{}", '{"pitch": [1]}', '{"pitch": {"a": {"b": "c"}}}', "{"])
def test_a_summary_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dialogues.json").write_text(text)
    with pytest.raises(InputError, match="is no summary of dialogues"):
        measured(tmp_path)


def test_a_blend_is_the_slerp_of_the_models_vectors(run: Run, tmp_path: Path) -> None:
    table = vectors(tmp_path)
    done = run("blend", "arjun", "female_young", "--weight", 0.25, "--weights", "m.safetensors", "--out", "b.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("75% Arjun (cosine ")
    told = json.loads((tmp_path / "b.json").read_text())
    assert told["vector"] == pytest.approx(slerp(table[0], table[2], 0.25), abs=1e-6)
    assert told["voices"] == {"Arjun": 0.75, "Priya": 0.25}
    assert told["likeness"]["Arjun"] > told["likeness"]["Priya"]
    assert told["model"] == "m.safetensors"
    printed = run("blend", 0, 2, "--weight", 0.25, "--weights", "m.safetensors", "--json")
    assert json.loads(printed.stdout) == told


def test_the_ends_of_a_blend_are_the_voices(run: Run, tmp_path: Path) -> None:
    table = vectors(tmp_path)
    for weight, row in ((0, 1), (1, 3)):
        done = run("blend", "ravi", "lakshmi", "--weight", weight, "--weights", "m.safetensors", "--json")
        assert json.loads(done.stdout)["vector"] == pytest.approx(table[row], abs=1e-5)


def test_what_cannot_be_blended_is_said(run: Run, tmp_path: Path) -> None:
    vectors(tmp_path, rows=2)
    done = run("blend", "arjun", "ravi", "--weights", "m.safetensors")
    assert done.returncode == 69
    assert "m.safetensors has no vectors of the 4 voices" in done.stderr
    done = run("blend", "arjun", "ravi", "--weights", "none.safetensors")
    assert (done.returncode, "there is no file none.safetensors" in done.stderr) == (69, True)
    done = run("blend", "arjun", "bob", "--weights", "m.safetensors")
    assert (done.returncode, "there is no voice bob" in done.stderr) == (2, True)
    assert run("blend", "arjun", "ravi", "--weight", 1.5).returncode == 2
    vectors(tmp_path)
    done = run("blend", "arjun", "ravi", "--weights", "m.safetensors", "--out", "no/where.json")
    assert (done.returncode, "cannot write no/where.json" in done.stderr) == (65, True)


# -- render ------------------------------------------------------------------------------------------------------------

SAID = "It is five o'clock."
WORDS = learn([SAID], 64)
SHAPE = replace(SMALL, books=6, entries=1024, vocabulary=len(WORDS), speakers=4, emotions=9, steps=60)


def model(path: Path, seed: int = 7, shape: Shape = SHAPE) -> files.Weights:
    """A small model of random weights that knows the letters of SAID, at ``path``."""
    made = replace(drawn(shape, seed), vocabulary=WORDS)
    files.write(path, made)
    return made


@pytest.fixture
def render(run: Run, tmp_path: Path) -> Run:
    """Renders SAID to a.wav, with the arguments given, by the model in m.safetensors."""
    model(tmp_path / "m.safetensors")

    def rendered(*arguments: object, text: str = SAID, voice: object = "priya") -> object:
        return run("render", text, "--voice", voice, "--weights", "m.safetensors", "--out", "a.wav", *arguments)

    return rendered  # type: ignore[return-value]


def heard(tmp_path: Path) -> np.ndarray:
    wave, rate = sf.read(tmp_path / "a.wav", dtype="float32")
    assert rate == 16_000
    assert wave.ndim == 1
    return np.asarray(wave)


def test_a_rendering_is_a_file_and_what_it_tells_is_true(render: Run, tmp_path: Path) -> None:
    done = render("--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seconds"] == pytest.approx(len(heard(tmp_path)) / 16_000, abs=1e-3)
    assert (told["file"], told["words"], told["voice"], told["emotion"]) == ("a.wav", 4, "Priya", "neutral")
    assert told["controls"] == {"pitch": 1.0, "energy": 1.0, "rate": 1.0, "accent": None}
    assert {"pitch_hz", "ended", "seed"} <= told.keys()
    assert sf.info(tmp_path / "a.wav").subtype == "PCM_16"
    text = render().stdout
    assert text.startswith(f"a.wav: {told['seconds']:.2f} s, 4 words, ")
    assert "speaks well only what is like its training answers" in text
    assert ("did not end by itself" in text) is not told["ended"]
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_its_help_says_what_it_cannot(run: Run) -> None:
    assert "speaks well only what is like its training answers" in " ".join(run("render", "--help").stdout.split())


def test_every_option_reaches_the_sound(render: Run, tmp_path: Path) -> None:
    render()
    plain = heard(tmp_path)
    sounds = [plain.tobytes()]
    options = [["--seed", 1], ["--emotion", "happy"], ["--accent", "mild"], ["--accent", "moderate"]]
    options += [["--accent", "heavy"], ["--pitch", 1.3], ["--blend", "ravi"], ["--blend", 1, "--blend-weight", 0.2]]
    for arguments in options:
        assert render(*arguments).returncode == 0
        sounds.append(heard(tmp_path).tobytes())
    assert len(set(sounds)) == len(sounds)
    render("--energy", 0.5)
    assert np.allclose(heard(tmp_path)[np.abs(plain) < 0.99], plain[np.abs(plain) < 0.99] / 2, atol=1e-4)
    render("--rate", 1.5)
    assert abs(len(heard(tmp_path)) - len(plain) / 1.5) <= 1
    render()
    assert heard(tmp_path).tobytes() == sounds[0]


def test_accents_are_the_emotions_of_their_name(render: Run, tmp_path: Path) -> None:
    sounds = []
    for arguments in (["--accent", "heavy"], ["--emotion", "telugu_heavy"], ["--emotion", 7]):
        render(*arguments)
        sounds.append(heard(tmp_path).tobytes())
    assert len(set(sounds)) == 1


def test_a_blend_speaks_as_the_file_of_it_and_its_ends_as_the_voices(render: Run, run: Run, tmp_path: Path) -> None:
    def sound(*arguments: object, voice: object = "priya") -> bytes:
        done = render(*arguments, voice=voice)
        assert done.returncode == 0, done.stderr
        return heard(tmp_path).tobytes()

    for weight in (0.3, 1):
        run("blend", "priya", "ravi", "--weight", weight, "--weights", "m.safetensors", "--out", f"{weight}.json")
    # A file holds six digits of a number.
    assert sound("--blend", "ravi", "--blend-weight", 0) == sound()
    assert sound("--blend", "ravi", "--blend-weight", 1) == sound(voice="1.json") == sound(voice="ravi")
    mixed = sound(voice="0.3.json")
    assert mixed == sound("--blend", "ravi", "--blend-weight", 0.3)
    assert mixed not in (sound(), sound(voice="ravi"))
    told = json.loads(render("--blend", "0.3.json", "--json").stdout)
    assert told["voice"] == "50% Priya + 50% 0.3.json"


def test_the_model_that_comes_with_the_project_is_the_default(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "shipped", lambda: tmp_path / "s2s.safetensors")
    done = run("render", SAID, "--voice", 0, "--out", "a.wav")
    assert (done.returncode, "there are no weights" in done.stderr) == (69, True)
    model(tmp_path / "s2s.safetensors")
    assert run("render", SAID, "--voice", 0, "--out", "a.wav").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--emotion", "sad"], 2, "there is no emotion sad"),
        (["--accent", "strong"], 2, "there is no accent strong"),
        (["--accent", "heavy", "--emotion", "happy"], 2, "leave out heavy or happy"),
        (["--pitch", 3], 2, "pitch must lie between 0.5 and 2"),
        (["--rate", 0], 2, "rate must lie between 0.5 and 2"),
        (["--blend-weight", 0.3], 2, "name it with --blend"),
        (["--blend", "bob"], 2, "there is no voice bob"),
        (["--blend", "none.json"], 65, "cannot read none.json"),
        (["--out", "a.mp3"], 2, "a.mp3 does not end in .wav"),
        (["--out", "no/where.wav"], 65, "cannot write no/where.wav"),
        (["--weights", "none.safetensors"], 69, "none.safetensors"),
    ],
)
def test_what_cannot_be_rendered_is_one_sentence(
    render: Run, tmp_path: Path, arguments: list[object], code: int, told: str
) -> None:
    done = render(*arguments)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert list(tmp_path.glob("*.wav*")) == []


def test_a_folder_is_no_file_to_write_and_nothing_is_left_beside_it(render: Run, tmp_path: Path) -> None:
    (tmp_path / "f.wav").mkdir()
    done = render("--out", "f.wav")
    assert (done.returncode, "cannot write f.wav" in done.stderr) == (65, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.wav", "m.safetensors"]


def test_texts_that_cannot_be_said_leave_what_was_there(render: Run, tmp_path: Path) -> None:
    render()
    before = heard(tmp_path).tobytes()
    for text, told in (("It is 5.", "has never seen 5: write numbers as words"), (" ", "no text to say")):
        done = render(text=text)
        assert (done.returncode, told in done.stderr) == (65, True)
    done = render(text="o " * 99)
    assert (done.returncode, "has room for" in done.stderr) == (65, True)
    assert heard(tmp_path).tobytes() == before


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"vector": "abc"}', '{"vector": [[1], [2, 3]]}', '{"vector": {}}', '"vector"', "\xff"]
)
def test_files_that_are_no_voices_are_refused(render: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "b.json").write_bytes(text.encode("latin-1"))
    done = render(voice="b.json")
    assert (done.returncode, "b.json is no voice" in done.stderr) == (65, True), done.stderr


def test_a_voice_of_another_model_is_refused(render: Run, run: Run, tmp_path: Path) -> None:
    model(tmp_path / "other.safetensors", seed=8)
    run("blend", 0, 1, "--weights", "other.safetensors", "--out", "b.json")
    done = render(voice="b.json")
    assert (done.returncode, "b.json is a voice of another model" in done.stderr) == (65, True)
    for vector in ([0.1] * 15, [0.1] * 15 + [float("nan")]):
        (tmp_path / "b.json").write_text(json.dumps({"vector": vector}))
        assert "is a voice of another model" in render(voice="b.json").stderr
    # One by hand, of the right width, is somebody's own affair.
    (tmp_path / "b.json").write_text(json.dumps({"vector": [0.1] * 16}))
    assert render(voice="b.json").returncode == 0


def test_a_model_without_these_voices_is_refused(render: Run, tmp_path: Path) -> None:
    model(tmp_path / "m.safetensors", shape=replace(SHAPE, emotions=3))
    done = render()
    assert (done.returncode, "m.safetensors has no vectors of the 4 voices and 9 emotions" in done.stderr) == (69, True)
