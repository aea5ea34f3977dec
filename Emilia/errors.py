"""What can go wrong, as types.

::

    EmiliaError
    ├── BadAudio(reason, message)     the input is to blame; trying again gives the same answer
    ├── ModelMissing(model, cure)     a model that the configuration requires is not on this machine
    ├── BadConfig(message)            the configuration is to blame
    └── DeviceLost(message)           the GPU context is beyond repair: this process must end

Every other exception that leaves the library is a bug in it, or what the caller's own ``progress`` raised.
"""

from __future__ import annotations

__all__ = ["BadAudio", "BadConfig", "DeviceLost", "EmiliaError", "ModelMissing"]


class EmiliaError(Exception):
    """Base of the errors that the library raises on purpose."""


class BadAudio(EmiliaError):
    """The source cannot be processed and never will be.

    ``reason`` is one word for counting: ``empty`` (no bytes), ``not_audio`` (no demuxer that may be used knows the
    format), ``no_audio_stream``, ``corrupt`` (known format, nothing could be decoded), ``too_long_declared`` and
    ``too_long`` (over the configured cap, by its header or while decoding). ``str()`` is one sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ModelMissing(EmiliaError):
    """A model that the chosen engine cannot work without is absent; ``cure`` says in one sentence how to get it."""

    def __init__(self, model: str, cure: str) -> None:
        super().__init__(f"The model {model} is missing: {cure}")
        self.model = model
        self.cure = cure


class BadConfig(EmiliaError):
    """The configuration names an unknown preset, section, option or engine, or a value has the wrong type."""


class DeviceLost(EmiliaError):
    """The GPU context broke (illegal access, device-side assert, card fallen off the bus).

    Nothing that runs in this process can be trusted from here on, so the process ends and a new one starts.
    """
