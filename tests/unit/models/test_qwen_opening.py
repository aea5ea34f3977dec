"""Where the thinker comes from, and the sentences when it cannot be had."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from duplexforge.errors import ConfigError, DuplexforgeError, InputError, ModelError, RetryLater
from duplexforge.framing import DuplexFormat
from duplexforge.models.qwen import opening


def test_a_folder_is_itself_and_must_hold_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json") as caught:
        opening.model_folder(str(tmp_path))
    assert caught.value.exit_code == 69
    (tmp_path / "config.json").write_text("{}")
    assert opening.model_folder(str(tmp_path)) == tmp_path
    assert opening.commit_of(tmp_path) is None
    for name in ("/nowhere/at/all", "./nowhere", "a/b/c", "plain"):
        with pytest.raises(ModelError, match="there is no folder"):
            opening.model_folder(name)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A Hub that answers everything with the ``status`` and the error ``code`` that are put here."""
    told: dict[str, Any] = {"tokens": []}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told["tokens"].append(self.headers.get("Authorization"))
            self.send_response(told["status"])
            self.send_header("X-Error-Code", told["code"])
            self.send_header("X-Error-Message", "it said hf_secretsecret")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "GatedRepo", ModelError, "is gated: accept its terms on the Hub and set HF_TOKEN"),
        (404, "RepoNotFound", ModelError, "shows no model"),
        (401, "", ModelError, "HF_TOKEN may read it"),
        (404, "RevisionNotFound", ModelError, "has no revision abc"),
        (503, "", RetryLater, "did not give the model"),
    ],
)
def test_the_hubs_answers_are_our_sentences(
    hub: dict[str, Any], status: int, code: str, kind: type[DuplexforgeError], words: str
) -> None:
    hub.update(status=status, code=code)
    with pytest.raises(kind, match=words) as caught:
        opening.model_folder("some/model-that-nobody-has", "abc")
    assert caught.value.exit_code == (69 if kind is ModelError else 75)
    assert "hf_secretsecret" not in str(caught.value)
    assert set(hub["tokens"]) == {"Bearer hf_secretsecret"}


def test_a_model_of_the_hub_is_its_snapshot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}
    folder = tmp_path / "snapshots" / "abc"

    def fetched(model: str, **options: Any) -> str:
        asked.update(options, model=model)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert opening.model_folder("some/model") == folder
    assert (asked["model"], asked["token"]) == ("some/model", "hf_mine")
    assert "*.bin" not in asked["allow_patterns"]
    assert opening.commit_of(folder) == "abc"


@pytest.mark.parametrize("write", ["tokenizer.json", "tokenizer_config.json"])
def test_the_formats_tokens_must_be_the_models(tmp_path: Path, write: str) -> None:
    told = type("Told", (), {"audio_token_id": 9, "text_config": type("Text", (), {"vocab_size": 20})})
    thinker = type("Thinker", (), {"config": told})
    opening.check_format(tmp_path, thinker, DuplexFormat(silence_token_id=7))  # no tokenizer, nothing to compare with
    words = {"<|object_ref_start|>": 7, "<|audio_pad|>": 9}
    bodies: dict[str, Callable[[dict[str, int]], Any]] = {
        "tokenizer.json": lambda found: {"added_tokens": [{"id": at, "content": word} for word, at in found.items()]},
        "tokenizer_config.json": lambda found: {
            "added_tokens_decoder": {str(at): {"content": word} for word, at in found.items()}
        },
    }
    (tmp_path / write).write_text(json.dumps(bodies[write](words)))
    opening.check_format(tmp_path, thinker, DuplexFormat(silence_token_id=7))
    with pytest.raises(ConfigError, match=r"the silence token .* is 8 here and 7 in the tokenizer"):
        opening.check_format(tmp_path, thinker, DuplexFormat(silence_token_id=8))
    with pytest.raises(ConfigError, match="beyond the model's 20 tokens"):
        opening.check_format(tmp_path, thinker, DuplexFormat(silence_token_id=20))
    (tmp_path / write).write_text(json.dumps(bodies[write](words | {"<|audio_pad|>": 3})))
    with pytest.raises(ConfigError, match=r"the audio token .* is 9 here and 3 in the tokenizer"):
        opening.check_format(tmp_path, thinker, DuplexFormat(silence_token_id=7))


def test_four_bits_say_what_they_want(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="want a CUDA device and bitsandbytes"):
        opening.load_thinker(tmp_path, device="cpu", four_bit=True)
    with pytest.raises(ModelError, match=r"want bitsandbytes \(pip install bitsandbytes\): set model"):
        opening.load_thinker(tmp_path, device="cuda:0", four_bit=True)


@pytest.mark.heavy
def test_the_thinker_of_the_whole_model_is_the_thinker_alone(tmp_path: Path) -> None:
    import torch

    from tests.duplex.thinker import tiny_thinker

    alone = opening.load_thinker(tiny_thinker(tmp_path / "alone"), precision="fp32")
    inside = opening.load_thinker(tiny_thinker(tmp_path / "whole", whole=True), precision="fp32")
    assert not alone.training
    assert alone.config.audio_token_id == inside.config.audio_token_id
    names = dict(inside.named_parameters())
    assert names.keys() == dict(alone.named_parameters()).keys()
    for name, one in alone.named_parameters():
        assert one.shape == names[name].shape
        assert not one.requires_grad
    # The first weights drawn are the same, whatever was drawn after them.
    assert {one.dtype for one in inside.parameters()} == {torch.float32}
    half = opening.load_thinker(tmp_path / "alone", precision="bf16")
    assert {one.dtype for one in half.parameters()} == {torch.bfloat16}


@pytest.mark.heavy
def test_what_is_damaged_or_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from tests.duplex.thinker import tiny_thinker

    model = tiny_thinker(tmp_path / "model")
    with pytest.raises(InputError, match=r"holds no adapter_config\.json"):
        opening.load_adapter(None, tmp_path)
    path = model / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("model.norm.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, such as .*norm\.weight"):
        opening.load_thinker(model, precision="fp32")
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be loaded as Qwen3-Omni's thinker") as caught:
        opening.load_thinker(model, precision="fp32")
    assert "\n" not in str(caught.value)


@pytest.mark.heavy
def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    from tests.duplex.thinker import tiny_thinker
    from tests.unit.training.test_lora_merge import make_adapter

    adapter = make_adapter(tiny_thinker(tmp_path / "one"), tmp_path)
    other = opening.load_thinker(tiny_thinker(tmp_path / "other", hidden_size=48), precision="fp32")
    with pytest.raises(InputError, match="does not fit the model"):
        opening.load_adapter(other, adapter)
