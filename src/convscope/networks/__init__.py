"""The networks, as Keras graphs: flat functional models from uint8 images to probabilities, every layer named."""
