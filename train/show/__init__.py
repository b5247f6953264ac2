"""Pictures of localization maps."""
