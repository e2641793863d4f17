"""Answers + truth -> figures with error bars. NumPy only, but for the verb, which also draws."""
