"""Rewrites of the exported graph: one file and one row of :mod:`.table` each.

A form that only matters in an exported file is a pass: one that is faster for one sample or large
planes, or that avoids a runtime's bug. The layers themselves always compute the same formula.
"""
