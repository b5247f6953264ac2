"""`embed`: each pretrained network sees or hears every clip once. Begin with `run.py`."""
