"""A model, and completions from it."""
