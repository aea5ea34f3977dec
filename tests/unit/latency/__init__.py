"""Tests of the latency measurement."""
