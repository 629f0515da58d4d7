"""Starting runs and recipes, and stopping them cleanly."""
