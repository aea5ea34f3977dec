"""duplexforge: speech data and talking machines on borrowed GPUs.

The package holds the roles (``downloading``, ``processing``, ``uploading``, ``status``), what they share (records, object
keys, the store, the queues, the one worker loop) and the command line. README.md has the tour; the import direction is
checked by import-linter (``pyproject.toml``).
"""

__version__ = "0.1.0"
