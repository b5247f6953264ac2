"""Synthetic clips whose sounding object is known. Begin with `run.py`."""

NUM_CLASSES = 16
MIN_TRAINED = 4
"""Classes that are heard, at least."""
NUM_OBJECTS = 2
"""In a picture."""
