"""The words that clients speak, one module each; what they share is in ``line`` (WebSockets) and ``messages`` (JSON)."""
