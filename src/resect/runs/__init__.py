"""Run folders: settings, recipes, files, journal. No torch, no model."""
