"""Settings: frozen groups read once, at the edge, from flags, the environment, ``.env``, a TOML file and defaults.

This package is the only place that touches the process environment. Field names are the lower-case variable names; where
a second spelling exists both work. :func:`load` gives a role the groups it needs.
"""

from __future__ import annotations

from duplexforge.config.autokick import AutokickSettings
from duplexforge.config.environment import (
    VISIBLE_GPUS,
    child_environment,
    cluster_in_sight,
    quiet_libraries,
    visible_gpus,
)
from duplexforge.config.group import CONFIG_FILE, Group
from duplexforge.config.groups import (
    GROUPS,
    DownloadSettings,
    ProcessSettings,
    QueueSettings,
    SeedSettings,
    SqsSettings,
    StatusSettings,
    StoreSettings,
    UploadSettings,
)
from duplexforge.config.load import Settings, environment_of, load, variables
from duplexforge.config.serve import ServeSettings
from duplexforge.config.train import TrainSettings

__all__ = [
    "CONFIG_FILE",
    "GROUPS",
    "VISIBLE_GPUS",
    "AutokickSettings",
    "DownloadSettings",
    "Group",
    "ProcessSettings",
    "QueueSettings",
    "SeedSettings",
    "ServeSettings",
    "Settings",
    "SqsSettings",
    "StatusSettings",
    "StoreSettings",
    "TrainSettings",
    "UploadSettings",
    "child_environment",
    "cluster_in_sight",
    "environment_of",
    "load",
    "quiet_libraries",
    "variables",
    "visible_gpus",
]
