"""Reads a Dockerfile: stages with their instructions, and what the ignore file keeps from the builder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word in capitals, and the rest on one line."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The elements of an exec form; ValueError where it is a shell form."""
        found = json.loads(self.rest)
        if not isinstance(found, list):
            raise ValueError(f"{self.word} {self.rest} is no list")
        return [str(one) for one in found]

    @property
    def commands(self) -> list[str]:
        """The commands of a RUN, without its mounts."""
        assert self.word == "RUN"
        return [one.strip() for one in re.sub(r"--mount=\S+\s*", "", self.rest).split("&&")]


@dataclass
class Stage:
    """One stage: its base, its name, its instructions in order."""

    base: str
    name: str
    steps: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        """The instructions of one word."""
        return [step for step in self.steps if step.word == word]

    def commands(self) -> list[str]:
        """Everything that it runs."""
        return [command for step in self.all("RUN") for command in step.commands]


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a file, with lines that go on joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield Instruction(word.upper(), re.sub(r"\s+", " ", rest.strip()))


def parse(text: str) -> tuple[dict[str, str], list[Stage]]:
    """The arguments before the first stage with their defaults, and the stages."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for step in instructions(text):
        if step.word == "FROM":
            base, _, name = step.rest.partition(" AS ")
            stages.append(Stage(base, name))
        elif stages:
            stages[-1].steps.append(step)
        else:
            assert step.word == "ARG", f"{step.word} before the first stage"
            name, _, default = step.rest.partition("=")
            arguments[name] = default
    return arguments, stages


def resolved(text: str, arguments: dict[str, str]) -> str:
    """``text`` with its variables replaced, ``${NAME:+word}`` (word where NAME is not empty) among them."""
    while found := re.search(r"\$\{(\w+)(?::\+((?:[^{}]|\{[^{}]*\})*))?\}", text):
        value = arguments[found[1]]
        put = value if found[2] is None else (found[2] if value else "")
        text = text[: found.start()] + put + text[found.end() :]
    return text


def sent(path: str, ignore: str) -> bool:
    """Whether a file goes to the builder; of the ignore file's lines the last that fits decides."""
    answer = True
    for line in ignore.splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and _fits(path, pattern):
            answer = line.strip().startswith("!")
    return answer


def _fits(path: str, pattern: str) -> bool:
    """Whether a pattern is the path or one of the folders above it. ``*`` stays within a name, ``**`` does not."""
    only_folders = pattern.endswith("/")
    parts = path.split("/")
    rule = re.escape(pattern.strip("/")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    above = ["/".join(parts[:end]) for end in range(1, len(parts) + (0 if only_folders else 1))]
    return any(re.fullmatch(rule, one) for one in above)
