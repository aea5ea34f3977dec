"""One suite per contract, run on every backend."""
