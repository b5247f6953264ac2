"""The results of `evaluate` as others print them: formats, and how far figures may be trusted."""
