"""Graph analysis and rewriting: capture -> plan -> rewrite.

The graph only *tells*: what feeds what, and how often a tensor is used. The plan is plain data. The
rewrite edits the modules of a copy, so the result is still the user's own module.
"""
