"""Verification: what the tagger sees on crops of boxes, the verdicts that follow from it, and what they change."""
