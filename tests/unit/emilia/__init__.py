"""Tests of the pipeline library."""
