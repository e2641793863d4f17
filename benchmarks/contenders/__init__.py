"""What `bench.py` runs, each in a child process of its own: `python -m contenders.NAME TASK PIPE`."""
