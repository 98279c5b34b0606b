"""Prompts in the pipeline: what they ask of the detector and of the segmenter."""
