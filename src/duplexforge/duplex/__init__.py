"""Building full-duplex data sets: from two-speaker recordings to framed sessions, checked and shown."""
