"""The base of every settings group, and where its values come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

CONFIG_FILE = "DUPLEXFORGE_CONFIG"

# An empty variable counts as unset: Kubernetes manifests often carry NAME="" for "not used".
EmptyIsUnset = BeforeValidator(lambda value: None if value == "" else value)
OptionalStr = Annotated[str | None, EmptyIsUnset]
OptionalInt = Annotated[int | None, EmptyIsUnset]
OptionalFloat = Annotated[float | None, EmptyIsUnset]
OptionalSecret = Annotated[SecretStr | None, EmptyIsUnset]


class Group(BaseSettings):
    """Base of the settings groups: frozen, environment names without prefix, empty means unset."""

    model_config = SettingsConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        env_file=".env",
        env_ignore_empty=True,
        env_prefix="",
        extra="ignore",
        populate_by_name=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flag, environment, ``.env``, TOML file named by DUPLEXFORGE_CONFIG, default: the first that has a value wins."""
        sources = [init_settings, env_settings, dotenv_settings]
        if path := os.environ.get(CONFIG_FILE):
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=Path(path)))
        return tuple(sources)
