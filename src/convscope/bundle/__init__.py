"""Bundle -> use: ONNX Runtime; no TensorFlow, except where a model is exported."""
