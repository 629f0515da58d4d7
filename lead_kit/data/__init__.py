"""Which problems? Named sets and local files, cleaning, the embedded task, prompts."""
