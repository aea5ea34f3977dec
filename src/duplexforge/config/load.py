"""Reads the groups that a role needs and lists every wrong or missing value in one error."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AliasChoices, SecretStr, ValidationError

from duplexforge.config.group import CONFIG_FILE, Group
from duplexforge.config.groups import GROUPS
from duplexforge.errors import ConfigError

G = TypeVar("G", bound=Group)


class Settings:
    """The groups that a role needs, by type: ``settings[StoreSettings].url``."""

    def __init__(self, groups: Mapping[type[Group], Group]) -> None:
        self._groups = dict(groups)

    def groups(self) -> tuple[Group, ...]:
        """All groups."""
        return tuple(self._groups.values())

    def __getitem__(self, group: type[G]) -> G:
        found = self._groups[group]
        assert isinstance(found, group)
        return found


def load(role: str, *, _defaults: Mapping[str, Any] | None = None, **flags: Any) -> Settings:
    """Settings of ``role``; ``flags`` (by field name, None meaning not given) win over everything.

    ``_defaults`` replace the built-in defaults of a command that wants others, and lose against everything else.
    Raises ConfigError naming every wrong value with its variable, not only the first.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    groups: dict[type[Group], Group] = {}
    problems: list[str] = []
    path = os.environ.get(CONFIG_FILE)
    if path and not Path(path).is_file():
        problems.append(f"{CONFIG_FILE}: no such file: {path}")
    for group in GROUPS[role]:
        mine = {name: value for name, value in given.items() if name in group.model_fields}
        try:
            read = group(**mine)
            unset = set(_defaults or {}) & set(group.model_fields) - read.model_fields_set
            groups[group] = read.model_copy(update={name: (_defaults or {})[name] for name in unset})
        except ValidationError as error:
            problems += [_complaint(group, item["loc"], item["msg"]) for item in error.errors(include_url=False)]
        except ValueError as error:  # a TOML file that does not parse
            problems.append(f"{CONFIG_FILE}: {error}")
    if problems:
        raise ConfigError("Wrong settings: " + "; ".join(dict.fromkeys(problems)))
    return Settings(groups)


def _complaint(group: type[Group], where: tuple[int | str, ...], message: str) -> str:
    name = str(where[0]) if where else "?"
    field = group.model_fields.get(name)
    variable = variables(name, field.validation_alias)[0] if field else name.upper()
    return f"{variable}: {message}"


def variables(name: str, alias: object) -> list[str]:
    """The environment names of a field, documented one first."""
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices if str(choice) != name]
    return [name.upper()]


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as variables, for a child process that reads them again."""
    found: dict[str, str] = {}
    for group in settings.groups():
        for name, field in type(group).model_fields.items():
            value = getattr(group, name)
            if value is not None:
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                found[variables(name, field.validation_alias)[0]] = text
    return found
