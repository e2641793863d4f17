"""Images -> a table, one row each. ONNX Runtime; no TensorFlow."""
