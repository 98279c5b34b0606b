"""Batches of the pipeline: which images a model sees together."""
