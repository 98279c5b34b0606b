"""Measurements: each file is a program; docs/speed.md and docs/reliability.md have what they found."""
