"""The command line: words to one verb, errors to three lines and an exit code."""
