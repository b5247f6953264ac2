"""Networks that listen to the sound. `panns_cnn14.py` is the choice `panns-cnn14`."""
