"""Verification on the page: the tagger sees boxes that other thresholds let in, and a person overrules a verdict."""
