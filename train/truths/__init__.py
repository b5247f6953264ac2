"""What is true of a pair: boxes and masks, read and drawn, and how benchmarks are shown."""
