"""lead_kit: experiments in reinforcement learning on mathematics with verifiable rewards.

Ten wings, each named after what it answers. Imports go downwards only; tests/test_imports.py holds the table.

- `verify`: is this answer right?
- `method`: what do the papers compute? Rewards, advantages, group filters, diagnostics; pure functions
- `runs`: what is a run? Its folder, lock, record, ledger, provenance, tracker
- `data`: which problems? Named sets, local files, cleaning, overlap, the embedded task, prompts
- `models`: a model, and completions from it
- `train`: a narrow layer on TRL: LeadTrainer, dynamic sampling, packing, SFT rows
- `evaluate`: samples into numbers: sampling, metrics, statistics, scoring, comparison of graders
- `replay`: what recorded rollouts were rewarded for, and what another method would have made of them
- `report`: numbers into what people read: curves, tables, figures, published numbers, comparisons
- `launch`: starting runs and recipes: `lead run`, `lead reproduce`

At the root: `cli` (the command `lead`), `parameters` (parameters cells), `errors`, `safe_text`.
"""

__version__ = "0.1.0"
