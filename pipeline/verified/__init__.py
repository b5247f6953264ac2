"""What `verify` says of runs and worlds, and what makes them again. Begin with `runs.py`."""
