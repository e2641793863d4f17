"""Arrays to Matplotlib figures, one module per kind of plot."""
