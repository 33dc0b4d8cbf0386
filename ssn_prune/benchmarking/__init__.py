"""Latency and memory of ONNX files, and of a checkpoint's network before and after pruning."""
