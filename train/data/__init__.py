"""From columns of the cache to the batches of a step."""
