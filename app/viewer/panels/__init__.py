"""Owns the panels of the viewer's page, one file each."""
