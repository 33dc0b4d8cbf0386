"""Run exported files, in this process or in one that can be killed. ONNX files need no torch."""
