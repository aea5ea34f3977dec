"""The server's settings: its own file, and who wins."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from duplexforge import config
from duplexforge.config import GROUPS, ServeSettings
from duplexforge.errors import ConfigError
from duplexforge.serving.backends import BACKENDS

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/serve.toml"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine, no ``.env`` of the checkout."""
    monkeypatch.chdir(tmp_path)
    for name in (config.CONFIG_FILE, *(field.upper() for group in GROUPS["serve"] for field in group.model_fields)):
        monkeypatch.delenv(name, raising=False)


def load(**flags: Any) -> ServeSettings:
    return config.load("serve", **flags)[ServeSettings]


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults_are_those_of_the_contract() -> None:
    found = load()
    assert (found.sca_frame_hz, found.sca_frames_per_chunk) == (12.5, 4)
    assert (found.sca_sample_rate, found.sca_output_sample_rate) == (16000, 24000)
    assert found.sca_qwen_model_id == "Qwen/Qwen3-Omni-30B-A3B-Instruct"
    assert (found.sca_qwen_device_map, found.sca_qwen_torch_dtype) == ("auto", "auto")
    assert (found.sca_qwen_attn_impl, found.sca_qwen_max_new_tokens) == (None, 256)
    assert (found.sca_host, found.sca_port, found.keys) == ("127.0.0.1", None, ())


def test_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = written(tmp_path / "a.toml", "[audio]\nframe_hz = 25\n[server]\nport = 9000\n")
    assert load(sca_config=path).sca_frame_hz == 25
    monkeypatch.setenv("SCA_CONFIG", path)
    assert load().sca_frame_hz == 25
    (tmp_path / ".env").write_text("SCA_FRAME_HZ=40\n")
    assert load().sca_frame_hz == 40
    monkeypatch.setenv("SCA_FRAME_HZ", "50")
    assert load().sca_frame_hz == 50
    assert load(sca_frame_hz=100).sca_frame_hz == 100
    assert load().sca_port == 9000
    other = written(tmp_path / "b.toml", "[server]\nport = 9001\n")
    assert load(sca_config=other).sca_port == 9001


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = load()
    for name in ServeSettings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    assert load() == plain
    path = written(tmp_path / "a.toml", "[audio]\nframe_hz = 25\n")
    assert load(sca_config=path).sca_frame_hz == 25


def test_an_empty_text_in_the_file_is_unset(tmp_path: Path) -> None:
    path = written(tmp_path / "a.toml", '[qwen]\nattn_implementation = ""\nmodel_id = ""\n[server]\nbackend = ""\n')
    found = load(sca_config=path)
    assert (found.sca_qwen_attn_impl, found.sca_backend) == (None, "s2s")
    assert found.sca_qwen_model_id.startswith("Qwen/")


def test_the_example_holds_every_key_at_its_default() -> None:
    found = load(sca_config=str(EXAMPLE))
    assert found.model_copy(update={"sca_config": None}) == load()
    content = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    named = sum(len(section) for section in content.values())
    assert named == len(ServeSettings.model_fields) - 2, (
        "all but SCA_CONFIG, and the port, which has no default to write"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[audio]\nframe_hertz = 1\n", ["audio.frame_hertz", "is it audio.frame_hz?"]),
        ("[sound]\nrate = 1\n[server]\ncolour = 1\n", ["sound.rate", "server.colour"]),
        ("port = 1\n", ["port"]),
        ("[server]\nport = ", ["not TOML"]),
        ("[server\n", ["not TOML"]),
        ("[server]\nconfig = 'x'\n", ["server.config"]),
        ("[audio]\nframe_hz = 'fast'\n", ["SCA_FRAME_HZ"]),
        ("[server]\nport = 70000\nslots = 0\n", ["SCA_PORT", "SCA_SLOTS"]),
        ("[server]\nbackend = 'parrot'\n", ["SCA_BACKEND", "echo"]),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(sca_config=written(tmp_path / "a.toml", text))
    assert all(word in str(wrong.value) for word in words), wrong.value
    assert "\n" not in str(wrong.value).removesuffix("\n")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SCA_CONFIG: cannot read .*missing.toml: No such file"):
        load(sca_config=str(tmp_path / "missing.toml"))


def test_keys_are_a_list_and_are_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCA_KEYS", " canary-one , canary-two,")
    assert load().keys == ("canary-one", "canary-two")
    assert "canary" not in repr(load())
    monkeypatch.delenv("SCA_KEYS")
    path = written(
        tmp_path / "a.toml", '[server]\nkeys = ["canary-one", "canary-two"]\norigins = ["https://A.example/"]\n'
    )
    assert load(sca_config=path).keys == ("canary-one", "canary-two")
    assert load(sca_config=path).origins == ("https://a.example",)


@pytest.mark.parametrize("key", ["short", "with blank in it", "slash/slash/slash", "ü" * 10, "x" * 201])
def test_keys_that_fit_no_header_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("SCA_KEYS", key)
    with pytest.raises(ConfigError, match="SCA_KEYS") as wrong:
        load()
    assert key not in str(wrong.value)


def test_the_backends_are_those_that_there_are() -> None:
    assert set(get_args(ServeSettings.model_fields["sca_backend"].annotation)) == set(BACKENDS)
