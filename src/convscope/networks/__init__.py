"""Arrays -> answers, as Keras graphs: flat functional models of which every layer has a name."""
