"""Metrics over arrays; no model code."""
