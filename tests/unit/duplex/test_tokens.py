"""The tokenizer as the builder sees it, and the format bound to it; everything from a folder made here."""

from __future__ import annotations

import hashlib
import json
import sys
import unicodedata
from pathlib import Path

import pytest

from duplexforge.duplex.tokens import Tokenizer, bind, load_tokenizer
from duplexforge.errors import ConfigError, ModelError
from duplexforge.framing import DuplexFormat
from tests.duplex.tokenizer import LINES, SPECIALS, tiny_tokenizer


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer in plain Python, which tells no positions."""
    from transformers import ByT5Tokenizer

    place = tmp_path_factory.mktemp("models") / "bytes"
    ByT5Tokenizer().save_pretrained(str(place))
    return load_tokenizer(str(place))


TEXTS = ("hello there", " hello", "Größe, 日本 🌊!", "", "   ", "e\u0301te\u0301", "a\nb", "told them twice")


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_transformers_without_anything_around(model: Path, tokenizer: Tokenizer, text: str) -> None:
    from transformers import AutoTokenizer

    inner = AutoTokenizer.from_pretrained(str(model))
    assert tokenizer.ids(text) == inner(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", TEXTS)
def test_spans_cover_the_text_in_order_one_for_each_token(tokenizer: Tokenizer, text: str) -> None:
    spans = tokenizer.spans(text)
    assert len(spans) == len(tokenizer.ids(text))
    assert spans == sorted(spans)
    # Parts of one character share its span. Of a letter and its accent, which become one, only the letter is told.
    covered = {place for start, end in spans for place in range(start, end)}
    assert {place for place, letter in enumerate(text) if not unicodedata.combining(letter)} <= covered


def test_words_of_the_vocabulary_are_found_both_ways(tokenizer: Tokenizer) -> None:
    number = tokenizer.token_id("<|audio_pad|>")
    assert number is not None
    assert tokenizer.token_of(number) == "<|audio_pad|>"
    assert tokenizer.ids("<|audio_pad|>") == [number]
    assert tokenizer.token_id("no such word") is None
    assert tokenizer.token_of(10**6) is None


def test_controls_are_the_control_tokens_and_no_others(tokenizer: Tokenizer) -> None:
    assert {tokenizer.token_of(number) for number in tokenizer.controls} == set(SPECIALS)


def test_line_breaks_that_were_added_as_tokens_are_text(model: Path, tmp_path: Path) -> None:
    from transformers import AddedToken, AutoTokenizer

    inner = AutoTokenizer.from_pretrained(str(model))
    inner.add_tokens([AddedToken("\n\n", special=False), AddedToken("<|turn|>", special=True)])
    inner.save_pretrained(str(tmp_path))
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.token_id("\n\n") not in tokenizer.controls
    assert tokenizer.token_id("<|turn|>") in tokenizer.controls


def test_the_checksum_is_of_vocabulary_and_merges(model: Path, tokenizer: Tokenizer) -> None:
    told = json.loads((model / "tokenizer.json").read_text())
    words = {**told["model"]["vocab"], **{one["content"]: one["id"] for one in told["added_tokens"]}}
    whole = {"merges": told["model"]["merges"], "vocabulary": [[word, words[word]] for word in sorted(words)]}
    body = json.dumps(whole, separators=(",", ":"))
    assert tokenizer.checksum == hashlib.sha256(body.encode()).hexdigest()


def test_the_made_tokenizer_is_the_same_bytes_each_time(model: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    again = tiny_tokenizer(tmp_path / "again")
    for file in model.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()
    assert load_tokenizer(str(again)).checksum == tokenizer.checksum


def test_another_vocabulary_has_another_checksum(tokenizer: Tokenizer, tmp_path: Path) -> None:
    other = load_tokenizer(str(tiny_tokenizer(tmp_path / "other", lines=LINES[:-1])))
    assert other.checksum != tokenizer.checksum


def test_a_tokenizer_in_plain_python_does_but_tells_no_positions(bytewise: Tokenizer) -> None:
    assert bytewise.ids("hé") == [107, 198, 172]
    assert len(bytewise.checksum) == 64
    with pytest.raises(ConfigError, match="does not tell which characters a token comes from: choose the alignment"):
        bytewise.spans("hé")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"there is no folder {tmp_path}/nothing: give one") as caught:
        load_tokenizer(f"{tmp_path}/nothing")
    assert (caught.value.reason, caught.value.exit_code) == ("model_missing", 69)


@pytest.mark.parametrize("body", [None, "{", '{"model": 3}'])
def test_a_folder_that_holds_no_tokenizer(model: Path, tmp_path: Path, body: str | None) -> None:
    if body is not None:
        (tmp_path / "tokenizer_config.json").write_bytes((model / "tokenizer_config.json").read_bytes())
        (tmp_path / "tokenizer.json").write_text(body)
    with pytest.raises(ModelError) as caught:
        load_tokenizer(str(tmp_path))
    sentence = str(caught.value)
    assert sentence.startswith(f"the tokenizer of {tmp_path} cannot be loaded (")
    assert sentence.endswith("): see that it holds tokenizer.json")
    assert "\n" not in sentence


def test_without_transformers_the_cure_is_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install .*duplexforge\[duplex\]"):
        load_tokenizer(str(model))


def test_a_name_that_the_hub_cannot_give(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    # What HF_HUB_OFFLINE sets: no test asks the real Hub.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelError, match=r"the tokenizer of nobody/nothing cannot be loaded .* check the name, HF_TOKEN"
    ):
        load_tokenizer("nobody/nothing", "0" * 40)


def test_a_format_gets_the_silence_token_s_id_and_the_checksum(tokenizer: Tokenizer) -> None:
    bound = bind(DuplexFormat(model="tiny", text_tokens=4), tokenizer)
    assert tokenizer.ids(bound.silence_token) == [bound.silence_token_id]
    assert bound.tokenizer_sha256 == tokenizer.checksum
    unbound = {"silence_token_id", "tokenizer_sha256", "silence_token"}
    assert bound.model_dump(exclude=unbound) == DuplexFormat(model="tiny", text_tokens=4).model_dump(exclude=unbound)


def test_a_bound_format_may_be_bound_again_also_from_its_file(tokenizer: Tokenizer) -> None:
    bound = bind(DuplexFormat(), tokenizer)
    assert bind(bound, tokenizer) == bound
    assert bind(DuplexFormat.model_validate_json(bound.to_bytes()), tokenizer) == bound


def test_an_id_alone_names_its_token(tokenizer: Tokenizer) -> None:
    number = tokenizer.token_id("<|quad_end|>")
    assert number is not None
    bound = bind(DuplexFormat(silence_token_id=number), tokenizer)
    assert (bound.silence_token, bound.silence_token_id) == ("<|quad_end|>", number)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"silence_token": "hush hush"}, r"hush hush is not one token .*\(it makes \d+ tokens of it\): choose"),
        ({"silence_token": ""}, r"\(it makes 0 tokens of it\)"),
        ({"silence_token": "\u0120hello"}, r"is not one token"),  # in the vocabulary so spelt, but no text makes it
        ({"silence_token": "<|audio_pad|>"}, r"cannot stand for silence and for an audio frame"),
        ({"silence_token_id": 10**6}, r"has no token 1000000 to stand for silence"),
        (
            {"silence_token": "<|box_end|>", "silence_token_id": 3},
            r"has the id 3 in the format and \d+ in the tokenizer",
        ),
        ({"tokenizer_sha256": "0" * 64}, r"is not the one that the format was made with"),
    ],
)
def test_formats_that_do_not_go_with_the_tokenizer(
    tokenizer: Tokenizer, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        bind(DuplexFormat.model_validate(changes), tokenizer)


def test_words_are_refused_early_where_tokens_have_no_positions(bytewise: Tokenizer) -> None:
    fmt = DuplexFormat(silence_token="<pad>", alignment="even")
    assert bind(fmt, bytewise).silence_token_id == 0
    with pytest.raises(ConfigError, match="choose the alignment 'queue' or 'even'"):
        bind(fmt.model_copy(update={"alignment": "words"}), bytewise)


def test_the_unknown_token_is_not_silence(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Rust
    from tokenizers import models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Rust(models.WordLevel({"<unk>": 0, "hello": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(str(tmp_path))
    with pytest.raises(ConfigError, match="it is not in the vocabulary"):
        bind(DuplexFormat(model="words"), load_tokenizer(str(tmp_path)))
