"""`avpipe doctor`: what this machine has and lacks. Begin with `run.py`."""
