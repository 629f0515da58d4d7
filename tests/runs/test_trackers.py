"""Trackers: what each library's own store holds of a run, read back by that library, without a network."""

import os
import struct
import sys
import time

import pytest
from PIL import Image

from lead_kit.errors import InputError
from lead_kit.runs import trackers
from lead_kit.runs.log_files import write_samples

BLOCK = 32768  # bytes
CONFIG = {"wandb_project": "mine", "wandb_entity": "team", "arm": "lead", "seed": 3}
NAME = "figure1/tiny/lead-s3"


def track(folder, kind):
    """A run of two batches with a figure and two rollouts; the text of one tries to colour a terminal."""
    (folder / "figures").mkdir()
    Image.new("RGBA", (1, 1)).save(folder / "figures" / "trend.png")
    rows = [{"step": step, "group": 0, "id": "p", "completion": "\x1b[31m<b>", "reward": 1.0} for step in (1, 2)]
    write_samples(rows, folder / "rollouts" / "step_000002.parquet")
    tracker = trackers.start_tracker(folder, NAME, CONFIG | {"tracker": kind})
    tracker.log(1, {"train/reward": 0.5, "train/undefined": None})
    tracker.log(4, {"train/reward": 0.7})
    tracker.finish()


def wandb_records(folder):
    """The records that wandb wrote for later. Its file is a log in blocks, each part with checksum, length and kind."""
    from wandb.proto import wandb_internal_pb2

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
def test_wandb_has_groups_an_axis_a_table_of_samples_and_the_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    track(tmp_path, "wandb")
    records = list(wandb_records(tmp_path))
    end = time.monotonic() + 60  # wandb's service may write the last records after finish() has returned
    while not any(record.WhichOneof("record_type") == "exit" for record in records) and time.monotonic() < end:
        time.sleep(0.5)
        records = list(wandb_records(tmp_path))
    [run] = [record.run for record in records if record.WhichOneof("record_type") == "run"][:1]
    assert (run.project, run.entity, run.run_group) == ("mine", "team", "figure1/tiny")
    assert (run.job_type, list(run.tags)) == ("lead", ["seed 3"])
    metrics = [record.metric for record in records if record.WhichOneof("record_type") == "metric"]
    assert any(metric.glob_name == "*" and metric.step_metric == "rollout_step" for metric in metrics)
    kept = {item.key or "/".join(item.nested_key) for r in records for item in r.history.item}
    assert {"rollout_step", "train/reward"} <= kept
    assert any("samples" in name for name in kept) and any("figures" in name and "trend" in name for name in kept)
    [table] = tmp_path.glob("wandb/offline-run-*/files/media/table/samples_*.table.json")
    text = table.read_text(encoding="utf-8")
    assert "x1b" not in text and "U+001B" in text


@pytest.mark.slow
def test_trackio_has_the_curve_the_samples_and_the_figures(tmp_path, monkeypatch):
    import trackio

    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))
    for module in [trackio.utils, trackio.sqlite_storage]:
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "store")
    track(tmp_path, "trackio")
    [run] = trackio.Api().runs("mine")
    assert (run.name, run.config["arm"], run.config["_Group"]) == (NAME, "lead", "figure1/tiny")
    logs = trackio.sqlite_storage.SQLiteStorage.get_logs("mine", NAME)
    assert [(row["step"], row["train/reward"]) for row in logs if "train/reward" in row] == [(1, 0.5), (4, 0.7)]
    [last] = [row for row in logs if "samples" in row]
    assert "U+001B" in str(last["samples"]) and last["figures/trend"]["_type"] == "trackio.image"


@pytest.mark.slow
def test_tensorboard_has_the_curve_the_samples_and_the_figures_and_a_resumed_run_replaces_its_steps(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track(tmp_path, "tensorboard")
    tracker = trackers.start_tracker(tmp_path, NAME, {"tracker": "tensorboard"})
    tracker.log(4, {"train/reward": 0.9})
    tracker.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = [(event.step, round(event.value, 3)) for event in events.Scalars("train/reward")]
    assert scalars == [(1, 0.5), (4, 0.9)]
    assert events.Images("figures/trend")
    assert b"U+001B" in events.Tensors("samples/text_summary")[0].tensor_proto.string_val[0]


@pytest.mark.slow
def test_mlflow_has_the_curve_the_parameters_the_samples_and_the_figures(tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(trackers, "ROOT", tmp_path)
    (tmp_path / "runs").mkdir()
    track(tmp_path, "mlflow")
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    [run] = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["seed"]) == (NAME, "FINISHED", "3")
    points = client.get_metric_history(run.info.run_id, "train/reward")
    assert [(point.step, point.value) for point in points] == [(1, 0.5), (4, 0.7)]
    assert (tmp_path / f"runs/mlflow/{run.info.run_id}/artifacts/figures/trend.png").is_file()
    assert "U+001B" in (tmp_path / f"runs/mlflow/{run.info.run_id}/artifacts/samples.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind, address", [("mlflow", "MLFLOW_TRACKING_URI"), ("trackio", "TRACKIO_SERVER_URL")])
def test_a_server_that_is_away_costs_a_line(tmp_path, monkeypatch, capsys, kind, address):
    monkeypatch.setitem(os.environ, address, "http://127.0.0.1:9")
    monkeypatch.setattr(trackers, "ROOT", tmp_path)
    (tmp_path / "runs").mkdir()
    track(tmp_path, kind)
    assert f"tracker {kind} is off from here on, the run folder has everything: " in capsys.readouterr().out


def test_a_library_that_is_not_installed_costs_a_line_that_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trackio", None)
    trackers.start_tracker(tmp_path, NAME, {"tracker": "trackio"}).log(1, {"train/reward": 0.5})
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("tracker trackio is off") and line.endswith("pip install -r requirements-trackers.txt")


def test_an_unknown_tracker_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(InputError, match="did you mean 'wandb'"):
        trackers.start_tracker(tmp_path, NAME, {"tracker": "wanbd"})
    assert trackers.start_tracker(tmp_path, NAME, {}) is None
