"""What is like exemplars, and what loses to what is not meant."""
