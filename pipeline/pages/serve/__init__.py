"""`avpipe serve`: a run in the browser. Begin with `run.py`."""
