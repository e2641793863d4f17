"""Graph + cache -> run: the training step, its state, and what the person sees meanwhile."""
