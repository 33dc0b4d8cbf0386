"""Older operator sets: the same graph, written with the operators that they define."""
