"""How a run is driven: commands, settings, progress, pages."""
