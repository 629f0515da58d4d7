"""What is a run? One folder that holds everything one run did.

    runs/<run_name>/
    run.json        parameters given and settled, provenance, inputs and outputs with hashes, status, attempts
    metrics.jsonl   one object a line: {"step": batches done, "split": "train" | "validation", ...numbers}
    notebook.ipynb  the executed notebook     log.txt  what it printed     lock  its writer     done  it is finished
    rollouts/ validation/ checkpoints/ model/ figures/

Each name belongs to one set of parameters. An interrupted or failed run continues under its name; without a complete
checkpoint its metrics are dropped first. Repeating a finished run moves its old files to `attempts/N`.
"""
