"""Synthetic clips whose sounding object is known. Begin with `run.py`."""

NUM_CLASSES = 16
NUM_OBJECTS = 2
"""In a picture."""
