"""`avpipe cases`: what a run makes of clips that are hard. Begin with `run.py`."""
