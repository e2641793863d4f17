"""The command line: arguments to one function call, results to standard output, errors to three lines."""
