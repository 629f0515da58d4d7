"""The tracker: what an offline session of wandb holds of a run."""

import struct
import time

import pytest

from lead_kit.runs import log_files
from lead_kit.runs.log_files import write_samples

pytest.importorskip("wandb")
from wandb.proto import wandb_internal_pb2  # noqa: E402

BLOCK = 32768  # bytes
PIXEL = "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"  # noqa: E501
CONFIG = {"wandb_project": "mine", "wandb_entity": "team", "arm": "lead", "seed": 3}


def records(folder):
    """The records that wandb wrote for later. Its file is a log in blocks, each part with checksum, length and kind."""
    data, at, whole = next(folder.glob("wandb/offline-run-*/run-*.wandb")).read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # too little is left of the block for a part
            at += BLOCK - at % BLOCK
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the only part, or the last one
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


@pytest.mark.slow
def test_a_session_has_groups_an_axis_a_table_of_samples_and_the_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "trend.png").write_bytes(bytes.fromhex(PIXEL))
    rows = [{"step": step, "group": 0, "id": "p", "completion": "\x1b[31m<b>", "reward": 1.0} for step in (1, 2)]
    write_samples(rows, tmp_path / "rollouts" / "step_000002.parquet")
    tracker = log_files.start_tracker(tmp_path, "figure1/tiny/lead-s3", CONFIG | {"tracker": "wandb"})
    assert tracker.session.project == "mine" and tracker.session.entity == "team"
    tracker.log(1, {"train/reward": 0.5})
    tracker.log(4, {"train/reward": 0.7})
    tracker.finish()
    found = list(records(tmp_path))
    end = time.monotonic() + 60  # wandb's service may write the last records after finish() has returned
    while not any(record.WhichOneof("record_type") == "exit" for record in found) and time.monotonic() < end:
        time.sleep(0.5)
        found = list(records(tmp_path))
    [run] = [record.run for record in found if record.WhichOneof("record_type") == "run"][:1]
    assert (run.run_group, run.job_type, list(run.tags)) == ("figure1/tiny", "lead", ["seed 3"])
    metrics = [record.metric for record in found if record.WhichOneof("record_type") == "metric"]
    assert any(one.glob_name == "*" and one.step_metric == "rollout_step" for one in metrics)
    kept = {item.key or "/".join(item.nested_key) for r in found for item in r.history.item}
    assert {"rollout_step", "train/reward"} <= kept
    assert any("samples" in name for name in kept) and any("figures" in name and "trend" in name for name in kept)
    [table] = tmp_path.glob("wandb/offline-run-*/files/media/table/samples_*.table.json")
    text = table.read_text(encoding="utf-8")
    assert "x1b" not in text and "U+001B" in text
