"""Networks that tell where things are, heard or not. `detr_r50.py` fills `objects/detr-r50`."""
