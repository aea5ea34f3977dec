"""The status role: what went in, what came out, what failed and why, as numbers, terminal tables and one HTML file.

``collect`` reads records and queues into a ``Snapshot``; ``table`` shows it on a terminal, ``report`` writes the page.
Nothing here writes to the store.
"""
