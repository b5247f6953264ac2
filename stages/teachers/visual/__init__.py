"""Networks that look at the frame. `detr_r50.py` is the choice `detr-r50`."""
