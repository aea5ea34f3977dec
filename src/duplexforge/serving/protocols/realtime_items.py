"""The conversation as a client of ``/v1/realtime`` sees it: its items in order, the latest ones."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from duplexforge.serving.protocols.realtime_incoming import Refused
from duplexforge.serving.protocols.realtime_reply import Reply
from duplexforge.serving.protocols.realtime_shapes import Item, WrittenPart

__all__ = ["MOST", "Ids", "Items", "Kept"]

MOST = 256
"""Items that are kept; older ones are forgotten, so that a conversation of hours needs no more memory than one of minutes."""


class Ids:
    """Names that occur once: ``item_<session><number>``."""

    def __init__(self, session: str) -> None:
        self._session, self._numbers = session, itertools.count(1)

    def __call__(self, kind: str) -> str:
        """The next name."""
        return f"{kind}_{self._session}{next(self._numbers):04x}"


@dataclass
class Kept:
    """An item: what it is, or the answer that it comes from. ``written``: the client wrote it, and a model is to read it."""

    item: Item
    reply: Reply | None = None
    written: bool = False

    @property
    def told(self) -> Item:
        """The item as it is now."""
        return self.item if self.reply is None else self.reply.item()


class Items:
    """Items by name, in the order of the conversation."""

    def __init__(self) -> None:
        self._kept: list[Kept] = []

    def add(self, kept: Kept, after: str | None = None) -> str | None:
        """Put it behind ``after`` (``root``: first; None: last); the name of the item before it. Raises as :meth:`check`."""
        place = self.check(kept.item.id, after)
        self._kept.insert(place, kept)
        before = self.before(kept.item.id)
        if len(self._kept) > MOST:
            # What was written for the model has to stay: it is a part of the prompt.
            self._kept.remove(next((one for one in self._kept if not one.written), self._kept[0]))
        return before

    def check(self, name: str, after: str | None) -> int:
        """The place behind ``after`` for a new item; ``Refused`` when there is one of that name, or none to stand behind."""
        if any(one.item.id == name for one in self._kept):
            raise Refused(f"there is an item {name} already", "item_exists", param="item.id")
        if after is None:
            return len(self._kept)
        return 0 if after == "root" else self._place(after, "previous_item_id") + 1

    def before(self, name: str) -> str | None:
        """The name of the item before this one."""
        names = [kept.item.id for kept in self._kept]
        place = names.index(name) if name in names else 0
        return names[place - 1] if place else None

    def get(self, name: str) -> Kept:
        """The item of that name; ``Refused`` when there is none."""
        return self._kept[self._place(name, "item_id")]

    def remove(self, name: str) -> None:
        """Forget it."""
        del self._kept[self._place(name, "item_id")]

    def prompt(self, instructions: str) -> str:
        """What a model that reads is told: the instructions, and what the client wrote."""
        lines = [instructions] if instructions else []
        for kept in self._kept:
            if kept.written:
                text = " ".join(part.text for part in kept.item.content if isinstance(part, WrittenPart))
                lines.append(f"{kept.item.role}: {text}")
        return "\n".join(lines)

    def _place(self, name: str, param: str) -> int:
        for place, kept in enumerate(self._kept):
            if kept.item.id == name:
                return place
        raise Refused(f"there is no item {name}", "item_not_found", param=param)
