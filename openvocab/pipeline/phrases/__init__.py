"""The phrases of a label set, in rows that models score."""
