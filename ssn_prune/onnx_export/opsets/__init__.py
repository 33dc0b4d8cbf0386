"""Older operator sets: the same graph, spelled as they spell it."""
