"""The texts of the page, for another language to replace."""
