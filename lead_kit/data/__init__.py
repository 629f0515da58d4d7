"""Which problems? Named sets, local files, the embedded task, cleaning and prompts."""
