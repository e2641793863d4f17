"""Arrays to numbers with their 95 % intervals: metrics of predictions, proportions, means. NumPy only."""
