"""`avpipe inspect`: what a cache knows of single clips. Begin with `run.py`."""
