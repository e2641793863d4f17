"""Every choice that shapes a model, and its default values."""
