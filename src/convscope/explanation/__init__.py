"""What a network has learned, in plots: filters, activations and heat maps, in report.html."""
