"""Conversion: recordings and their published segments in the other shapes that users asked for."""
