"""Rewrites of the exported graph: a file each, and a row of :mod:`.table`.

What changes only how a network is exported is a pass: a form that suits one sample or large planes,
or that goes around a runtime's bug. The layers themselves compute one formula.
"""
