"""What the network sees: its filters, what each layer makes of an image, and where it looked."""
