"""The tokenizer of the model that the data set is made for, and the tie between it and a :class:`DuplexFormat`.

Any tokenizer that ``AutoTokenizer`` loads will do, from a folder or from the Hub. Which one it was is kept as a checksum of
its vocabulary, because names and revisions do not tell: files of one name are edited, folders are moved.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from duplexforge import config, log
from duplexforge.errors import ConfigError, ModelError
from duplexforge.framing import DuplexFormat


class Tokenizer(Protocol):
    """What the builder asks of a tokenizer. Held within one process: every worker loads its own."""

    @property
    def checksum(self) -> str:
        """SHA-256 of vocabulary and merges, 64 hex digits."""
        ...

    @property
    def controls(self) -> frozenset[int]:
        """Ids that steer the model instead of being said: no text of a corpus should make one."""
        ...

    def ids(self, text: str) -> list[int]:
        """The tokens of ``text``, nothing put before or after it."""
        ...

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The characters of ``text`` from which each token of :meth:`ids` comes; parts of one character share it."""
        ...

    def token_id(self, token: str) -> int | None:
        """The id of a word of the vocabulary; None when it is not one."""
        ...

    def token_of(self, number: int) -> str | None:
        """The word of the vocabulary with this id; None when there is none."""
        ...


class _Loaded:
    """A tokenizer of transformers."""

    def __init__(self, model: str, inner: Any) -> None:
        self._model, self._inner = model, inner
        added = getattr(inner, "added_tokens_decoder", {})
        # Not every added token: some vocabularies add line breaks and digits, which are ordinary text.
        special = {number for number, token in added.items() if token.special}
        self.controls = frozenset({*inner.all_special_ids, *special})
        self.checksum = _checksum(inner)
        self._words: dict[str, int] = inner.get_vocab()
        self._numbers = {number: word for word, number in self._words.items()}

    def ids(self, text: str) -> list[int]:
        return list(self._inner.encode(text, add_special_tokens=False, verbose=False))

    def spans(self, text: str) -> list[tuple[int, int]]:
        if not self._inner.is_fast:
            raise ConfigError(
                f"the tokenizer of {self._model} does not tell which characters a token comes from: "
                "choose the alignment 'queue' or 'even'"
            )
        encoded = self._inner(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
        return [(start, end) for start, end in encoded["offset_mapping"]]

    def token_id(self, token: str) -> int | None:
        return self._words.get(token)

    def token_of(self, number: int) -> str | None:
        return self._numbers.get(number)


def _checksum(inner: Any) -> str:
    merges: list[Any] = []
    if inner.is_fast:
        merges = json.loads(inner.backend_tokenizer.to_str())["model"].get("merges") or []
    # Older files keep a merge as one string with a space; it is the same merge.
    pairs = [merge.split(" ", 1) if isinstance(merge, str) else list(merge) for merge in merges]
    whole = {"merges": pairs, "vocabulary": sorted(inner.get_vocab().items())}
    return hashlib.sha256(json.dumps(whole, separators=(",", ":")).encode()).hexdigest()


def load_tokenizer(model: str, revision: str | None = None) -> Tokenizer:
    """The tokenizer of ``model``, a folder or a name on the Hub, there at the commit ``revision``.

    Raises ModelError(``model_missing``) when it cannot be had, ConfigError without the package that reads it. Code that
    comes with a model is never run.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir() and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise ModelError(f"there is no folder {model}: give one that holds tokenizer.json, or a name on the Hub")
    config.quiet_libraries()
    try:
        # Only here: it brings torch along where torch is installed, some seconds.
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ConfigError("tokens want transformers: pip install -c requirements.txt 'duplexforge[duplex]'") from error
    try:
        where = str(folder) if folder.is_dir() else model
        inner = AutoTokenizer.from_pretrained(where, revision=revision, trust_remote_code=False)
        return _Loaded(model, inner)
    except Exception as error:  # the libraries below raise what they like, of OSError, ValueError and bare Exception
        first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".: ")
        cure = "see that it holds tokenizer.json" if folder.is_dir() else "check the name, HF_TOKEN and the network"
        raise ModelError(log.redact(f"the tokenizer of {model} cannot be loaded ({first}): {cure}")) from error


def bind(fmt: DuplexFormat, tokenizer: Tokenizer) -> DuplexFormat:
    """``fmt`` with the silence token's id and the tokenizer's checksum filled in; ConfigError when they do not go together.

    A format that was given an id and no token gets that id's token. One that was bound before must find the same again.
    """
    given = fmt.model_fields_set
    token = fmt.silence_token
    if "silence_token_id" in given and "silence_token" not in given:
        named = tokenizer.token_of(fmt.silence_token_id)
        if named is None:
            raise ConfigError(f"the tokenizer of {fmt.model} has no token {fmt.silence_token_id} to stand for silence")
        token = named
    number = _single(token, fmt.model, tokenizer)
    if "silence_token_id" in given and fmt.silence_token_id != number:
        raise ConfigError(
            f"the silence token {token} has the id {fmt.silence_token_id} in the format and {number} in the tokenizer "
            f"of {fmt.model}: leave one of the two out"
        )
    if token == fmt.audio_token:
        raise ConfigError(f"{token} cannot stand for silence and for an audio frame: choose another silence token")
    if fmt.tokenizer_sha256 not in (None, tokenizer.checksum):
        raise ConfigError(
            f"the tokenizer of {fmt.model} is not the one that the format was made with: other vocabulary"
        )
    if fmt.alignment == "words":
        # Asked once for nothing, so that a tokenizer without positions is refused before hours of decoding.
        tokenizer.spans(token)
    filled = {"silence_token": token, "silence_token_id": number, "tokenizer_sha256": tokenizer.checksum}
    return fmt.model_copy(update=filled)


def _single(token: str, model: str, tokenizer: Tokenizer) -> int:
    made, number = tokenizer.ids(token), tokenizer.token_id(token)
    if number is None or made != [number]:
        found = f"it makes {len(made)} tokens of it" if len(made) != 1 else "it is not in the vocabulary"
        raise ConfigError(
            f"the silence token {token} is not one token of the tokenizer of {model} ({found}): "
            "choose one of its unused control tokens"
        )
    return number
