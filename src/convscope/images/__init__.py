"""An image file, or its bytes -> a uint8 array. NumPy and Pillow."""
