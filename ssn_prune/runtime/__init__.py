"""ONNX files in ONNX Runtime, here or in a process that can be ended. Nothing here needs torch."""
