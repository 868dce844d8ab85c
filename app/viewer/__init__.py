"""Owns the viewer: one page in the browser from which everything is driven."""
