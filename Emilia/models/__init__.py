"""Engines: thin wrappers, one file per model or framework, each behind the small protocol of its stage. Weights land
here.
"""
