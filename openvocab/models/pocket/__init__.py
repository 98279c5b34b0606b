"""The embedded models: their architecture and their adapters, which need torch and tokenizers and no model library."""
