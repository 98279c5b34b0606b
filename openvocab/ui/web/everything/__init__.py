"""The call everything: every object of an image, named by a label or "unknown"."""
