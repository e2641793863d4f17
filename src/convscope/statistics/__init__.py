"""Arrays -> numbers with their intervals. NumPy only."""
