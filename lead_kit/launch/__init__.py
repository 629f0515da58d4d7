"""Starting runs and recipes, and ending them in order."""
