"""Arrays -> Matplotlib figures."""
