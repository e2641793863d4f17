"""A folder of images to a trained run: the plan, the training step, its state, and checkpoints."""
