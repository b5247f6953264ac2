"""Synthetic clips whose sounding object is known. Begin with `run.py`."""
