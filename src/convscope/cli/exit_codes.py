"""The exit codes of the commands. 0: everything was done."""

BUG = 1  # an unexpected error
ERROR = 2  # wrong usage or input, or a place that cannot be written
UNREADABLE = 3  # a table of predictions is complete, but more images are unreadable than allowed
STOPPED = 130  # by Ctrl-C or SIGTERM
