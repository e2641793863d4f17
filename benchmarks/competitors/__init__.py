"""The programs that `bench.py` runs, each in its own child process: `python -m competitors.NAME TASK PIPE`."""
