"""Folder of images -> arrays. NumPy and Pillow; no TensorFlow."""
