"""Files of labels on the page: lists, label sets with synonyms, and the words of prompt files."""
