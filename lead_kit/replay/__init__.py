"""Which rewards drove the advantages of recorded rollouts, and their advantages under another reward or estimator.

`read_record` reads the files of any tool, `recompute_rewards` splits the recorded reward into its parts, `groups` forms
the groups, and `variants` gives each variant its advantages. `attribution` and `logged_batches`
turn them into tables, `figures` draws them, and `summary` states the numbers in sentences.
"""
