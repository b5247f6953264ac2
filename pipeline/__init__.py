"""How a run is driven: commands, settings, the runner, progress."""
