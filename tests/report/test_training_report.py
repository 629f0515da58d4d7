"""What is said about a run that measured little."""

from lead_kit.report.curves import curve_sentence, curve_summary, split_metrics
from lead_kit.runs.files import write_jsonl


def test_a_run_without_validation_says_so(tmp_path):
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "split": "train", "loss": 0.5, "pass@1": None}])
    curve = split_metrics(tmp_path, "validation")
    assert curve_sentence(curve) == "The run has no validation (validate_every 0)." and curve_summary(curve) == {}
    assert list(split_metrics(tmp_path, "train").columns) == ["step", "loss"]
