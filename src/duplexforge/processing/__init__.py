"""The processing role: from a raw episode to segments, through the Emilia pipeline."""
