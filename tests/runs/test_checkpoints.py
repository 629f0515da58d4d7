"""Checkpoints: a damaged one is passed over, and what is wrong with it is told."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from lead_kit.errors import InputError
from lead_kit.runs.checkpoints import chosen_checkpoint, latest_checkpoint, mark_complete, updates_in

WEIGHTS = "model.safetensors"

pytestmark = pytest.mark.fault


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def zeroed(path):
    """As a file may be found after a power failure: its length was written, its content was not."""
    path.write_bytes(bytes(path.stat().st_size))


def checkpoint(folder, number, *, sealed=True):
    """Two float32 numbers as safetensors, the files of one process, and a folder as FSDP2 and DeepSpeed write."""
    path = folder / f"checkpoint-{number}"
    (path / "optimizer_0").mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (path / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    for name in ("optimizer.pt", "rng_state.pth"):
        with zipfile.ZipFile(path / name, "w") as file:
            file.writestr("data.pkl", b"12345678")
    (path / "trainer_state.json").write_text("{}")
    (path / "optimizer_0/__0_0.distcp").write_text("shard")
    if sealed:
        mark_complete(path)
    return path


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Two whole checkpoints, of 2 and 4 updates."""
    for name in ("WORLD_SIZE", "RANK", "LEAD_DISTRIBUTED"):
        monkeypatch.delenv(name, raising=False)
    for number in (2, 4):
        checkpoint(tmp_path, number)
    return tmp_path


FAULTS = {
    "gone": (lambda path: path.unlink(), "is missing"),
    "cut off": (cut, "of .* bytes"),
    "zeroed": (zeroed, "cannot be read: .*"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", [WEIGHTS, "optimizer.pt", "rng_state.pth"])
def test_a_damaged_newest_checkpoint_is_passed_over_in_one_line(saved, capsys, name, fault):
    spoil, sentence = FAULTS[fault]
    spoil(saved / "checkpoint-4" / name)
    assert updates_in(chosen_checkpoint("", saved)) == 2
    said = capsys.readouterr().out
    assert said.startswith(f"continuing from checkpoint-2: checkpoint-4 is damaged ({name} ") and said.count("\n") == 1
    with pytest.raises(InputError, match=f"checkpoint-4 is damaged: {name}.*{sentence}; .*checkpoint-2 is whole"):
        chosen_checkpoint(str(saved / "checkpoint-4"), saved)


def test_a_shard_of_several_processes_belongs_to_the_checkpoint(saved):
    cut(saved / "checkpoint-4/optimizer_0/__0_0.distcp")
    with pytest.raises(InputError, match="optimizer_0/__0_0.distcp has 2 of 5 bytes"):
        chosen_checkpoint(str(saved / "checkpoint-4"), saved)


def test_a_checkpoint_that_is_still_being_written_does_not_count(saved, capsys):
    checkpoint(saved, 6, sealed=False)
    (saved / "checkpoint-best").mkdir()
    assert updates_in(latest_checkpoint(saved)) == updates_in(chosen_checkpoint("", saved)) == 4
    assert "checkpoint-6 is damaged (checkpoint.json, which is written last, is missing" in capsys.readouterr().out


def test_without_a_whole_checkpoint_training_starts_anew(saved, tmp_path, capsys):
    assert chosen_checkpoint("", tmp_path / "none") is None and updates_in(None) == 0
    assert capsys.readouterr().out == ""
    for number in (2, 4):
        (saved / f"checkpoint-{number}/rng_state.pth").unlink()
    assert chosen_checkpoint("", saved) is None
    assert capsys.readouterr().out.startswith("starting anew: checkpoint-4 is damaged (rng_state.pth is missing)")
    with pytest.raises(InputError, match="checkpoint-9 is not a folder"):
        chosen_checkpoint(str(saved / "checkpoint-9"), saved)


def test_other_processes_than_wrote_a_checkpoint_do_not_continue_from_it(saved, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LEAD_DISTRIBUTED", "fsdp2")
    with pytest.raises(InputError, match="with processes 1, now 2 and distributed ddp, now fsdp2: continue"):
        chosen_checkpoint("", saved)


def test_a_seal_and_what_it_names_are_forced_to_the_disk(saved, monkeypatch):
    """The files first, then the seal: a seal that outlasts a power failure names files that outlasted it too."""
    order, fsync = [], os.fsync

    def noted(number):
        order.append(Path(os.readlink(f"/proc/self/fd/{number}")))
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    folder = checkpoint(saved, 6)
    (written,) = [place for place, path in enumerate(order) if path.name.endswith("checkpoint.json")]
    parts = {path for path in folder.rglob("*") if path.name != "checkpoint.json"}
    assert parts < set(order[:written]) and order[-1] == folder
