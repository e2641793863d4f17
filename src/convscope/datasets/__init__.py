"""A folder of images -> arrays. NumPy and Pillow; no TensorFlow."""
