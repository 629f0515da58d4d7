"""lead_kit: experiments in reinforcement learning on mathematics with verifiable rewards.

The map, from what a notebook calls down to what a formula needs:

- the method: `advantages` (what sees a group), `rewards` (what sees one completion), `batches` (which groups train),
  `losses` and `schedules` (references to TRL's), `prompts`
- the answer: `verify`, `score` (recorded outputs), `audit` (beside other graders)
- data: `data`, `sets` (named sets), `clean`, `overlap`, `arithmetic` (the embedded task)
- models and training: `models`, `offline`, `sft`, `optim`, `plan` (sizes), `trainer`, `callbacks`, `refill` (dynamic
  sampling), `packs` and `packing`, `diagnostics`, `ledger` (rollouts)
- evaluation: `benchmarks`, `sample`, `engines`, `server`, `evaluation`, `results`, `metrics`, `stats`, `tables`,
  `curves`, `compare`, `published`, `plots`
- runs: `params`, `record`, `provenance`, `tracking`, `runs`, `processes`, `execute`, `supervisor`, `cli`
- experiments: `recipes`, `memory`, `reproduce`
"""

__version__ = "0.1.0"
