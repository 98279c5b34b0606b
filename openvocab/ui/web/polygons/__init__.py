"""Masks as polygons that a person edits, and back."""
