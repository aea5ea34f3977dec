"""The status role: what went in, what came out, what failed and why, as numbers, terminal tables and one HTML file.

``collector`` looks at queues, leases and manifests again and again at little cost; its ``Overview`` has three faces: tables
(``board``), Prometheus metrics (``exposition``) and JSON, both served by ``server``. ``collect`` reads every record
once into a ``Snapshot`` that accounts for each episode; ``table`` shows it on a terminal, ``report`` writes the page.
Nothing here writes to the store but the tally (``saved``), which is only a memory of what was read.
"""
