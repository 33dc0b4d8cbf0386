"""ONNX export: pruned network -> ONNX graph with readable names -> one complete file."""
