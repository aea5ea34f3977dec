"""Task queues: one contract (``base``), one backend a file. ``prefix`` lives on any object store, needing nothing else."""
