"""Writing models: a trained network to a bundle, a bundle to other formats, each compared with what it came from."""
