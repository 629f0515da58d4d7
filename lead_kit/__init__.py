"""lead_kit: experiments in reinforcement learning on mathematics with verifiable rewards.

Nine wings, each named after what it answers. Imports go downwards only; tests/test_imports.py holds the table.

- `verify`: is this answer right?
- `method`: what do the papers compute? Rewards, advantages, keep rules, diagnostics; pure functions
- `runs`: what is a run? Its folder, lock, record, ledger, provenance, tracker; readers of other tools' rollouts
- `data`: which problems? Named sets, local files, cleaning, overlap, the embedded task, prompts
- `models`: a model, and completions from it
- `train`: a narrow layer on TRL: LeadTrainer, dynamic sampling, packing, SFT rows
- `evaluate`: samples into numbers: sampling, metrics, statistics, scoring, audit, replay
- `report`: numbers into what people read: curves, tables, figures, published numbers, comparisons
- `launch`: starting runs and recipes: `lead run`, `lead reproduce`

At the root: `cli` (the command `lead`), `params` (parameters cells), `errors`.
"""

__version__ = "0.1.0"
