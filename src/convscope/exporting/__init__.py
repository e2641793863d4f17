"""The verb `export`: a model in formats of others, converted in a process of its own and compared with the original."""
