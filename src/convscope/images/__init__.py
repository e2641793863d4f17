"""One file or its bytes -> one uint8 array. NumPy and Pillow."""
