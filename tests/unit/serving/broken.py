"""Backends whose model fails, each in its own way."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from duplexforge.errors import ModelError
from duplexforge.serving.backends import Given
from duplexforge.serving.backends.echo import Echo
from duplexforge.serving.packets import Outcome


class Breaks(Echo):
    """Works until somebody says something."""

    def step(self, given: Mapping[int, Given]) -> dict[int, list[Outcome]]:
        """Break."""
        raise RuntimeError("secret insides")


class Slow(Echo):
    """Takes its time to load."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.go_on = threading.Event()

    def load(self, slots: int) -> None:
        """When a test says so."""
        self.go_on.wait()
        super().load(slots)


class Missing(Echo):
    """Has no weights."""

    def load(self, slots: int) -> None:
        """Say so."""
        raise ModelError("there are no weights: duplexforge train s2s makes some")
