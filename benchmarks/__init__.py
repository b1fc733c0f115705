"""Measure what the product promises, against the real server process."""
