"""Films of what is heard where, made in a child process. Begin with `run.py`."""
