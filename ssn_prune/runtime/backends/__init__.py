"""Runtimes in which an ONNX file can be verified: one module per runtime, and one table.

Nothing here needs torch, and a runtime is imported only when a file is opened in it.
"""
