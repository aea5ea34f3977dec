"""What one answer says, and where in its sound each piece of text stands. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Answer"]

LONGEST = 120.0
"""Seconds of sound after which an answer is ended: a model that never stops must not fill anybody's memory."""
MOST_TEXT = 20_000
"""Characters after which it is, for models that only write."""
_ROUNDING = 1e-6


@dataclass
class Answer:
    """Answer number ``epoch`` so far."""

    epoch: int
    text: str = ""
    seconds: float = 0.0
    """Sound made so far."""
    _marks: list[tuple[float, int]] = field(default_factory=list)
    """Sound made when a piece of text came, and the length of the text before it."""

    def words(self, text: str) -> None:
        """A piece of text, said from here on."""
        if not self._marks or self._marks[-1][0] < self.seconds:
            self._marks.append((self.seconds, len(self.text)))
        self.text += text

    def sound(self, seconds: float) -> float:
        """So much more sound; the place where it begins."""
        start, self.seconds = self.seconds, self.seconds + seconds
        return start

    @property
    def too_long(self) -> bool:
        """Whether it has to end here."""
        return self.seconds >= LONGEST or len(self.text) >= MOST_TEXT

    def until(self, seconds: float) -> str:
        """The text up to ``seconds`` of the sound, in whole words.

        Text that came between two pieces of sound is spread over the sound up to the next text, in proportion to its
        characters. That is exact to a piece of text where a model says what it writes, and a guess where it writes ahead.
        """
        if seconds >= self.seconds - _ROUNDING or not self._marks:
            return self.text
        found = 0
        ends = [*self._marks[1:], (self.seconds, len(self.text))]
        for (start, first), (end, last) in zip(self._marks, ends, strict=True):
            if seconds > start:
                part = min((seconds - start) / max(end - start, 1e-9), 1.0)
                found = first + int(part * (last - first))
        return _whole_words(self.text, found)


def _whole_words(text: str, length: int) -> str:
    """``text`` up to ``length`` characters, less a word that is cut."""
    if length >= len(text) or text[length].isspace():
        return text[:length].rstrip()
    cut = text[:length]
    begun = len(cut) - len(cut.split()[-1]) if cut and not cut[-1].isspace() else len(cut)
    return cut[:begun].rstrip()
