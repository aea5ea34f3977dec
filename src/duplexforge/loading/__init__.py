"""Reading duplex data sets: what lies in such a folder, and how training gets at it."""
