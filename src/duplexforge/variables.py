"""The settings as a person meets them: a row for every variable, for ``duplexforge settings`` and the README."""

from __future__ import annotations

from dataclasses import dataclass

from duplexforge.config import GROUPS, variables


@dataclass(frozen=True)
class Variable:
    """One setting as a person meets it: its names (documented one first), built-in default, meaning, group."""

    names: list[str]
    default: str
    meaning: str
    group: str


def describe() -> list[Variable]:
    """Every setting, in the order of the groups."""
    rows = []
    for group in dict.fromkeys(group for groups in GROUPS.values() for group in groups):
        for name, field in group.model_fields.items():
            default = "" if field.default is None else str(field.default)
            names = variables(name, field.validation_alias)
            title = group.__name__.removesuffix("Settings").lower()
            rows.append(Variable(names, default, " ".join((field.description or "").split()), title))
    return rows


_TITLES = {"sqs": "SQS", "seed": "seeding"}


def markdown() -> str:
    """The settings as tables, one a group: what the README holds."""
    rows = describe()
    parts = []
    for group in dict.fromkeys(row.group for row in rows):
        head = [f"**{_TITLES.get(group, group)}**", "", "| variable | default | meaning |", "|---|---|---|"]
        lines = [_line(row) for row in rows if row.group == group]
        parts.append("\n".join([*head, *lines]))
    return "\n\n".join(parts)


def _line(row: Variable) -> str:
    names = " or ".join(f"`{name}`" for name in row.names)
    meaning = row.meaning.replace("``", "`").replace("|", "\\|")
    return f"| {names} | {f'`{row.default}`' if row.default else ''} | {meaning} |"
