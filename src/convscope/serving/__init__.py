"""The verb `serve`: a model behind HTTP, in one process, on ONNX Runtime. Needs the extra [serve], no TensorFlow."""
