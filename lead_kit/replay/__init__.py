"""What another reward, estimator or filter would have made of recorded rollouts, and what they were really paid for.

`explained` recomputes the recorded reward, `batches` cuts the rollouts into groups, `variants` gives each variant its
advantages. `sources`, `against`, `learned` and `health` turn them into tables; `told` says the numbers in words.
"""
