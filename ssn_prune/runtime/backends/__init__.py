"""Runtimes that an ONNX file can be verified in: a file a runtime, and one table.

Nothing here needs torch, and a runtime is imported when a file is opened in it, not before.
"""
