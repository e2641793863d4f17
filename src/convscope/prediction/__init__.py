"""Images -> a table with one row each. ONNX Runtime; no TensorFlow."""
