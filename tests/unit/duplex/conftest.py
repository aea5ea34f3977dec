"""What most tests of the builder need and none changes: the tiny tokenizer, made and loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from duplexforge.duplex.tokens import Tokenizer, load_tokenizer
from tests.duplex.tokenizer import tiny_tokenizer


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny tokenizer."""
    return tiny_tokenizer(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tokenizer(model: Path) -> Tokenizer:
    """The same, loaded."""
    return load_tokenizer(str(model))
