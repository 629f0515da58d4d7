"""Rows for supervised fine-tuning, and the optimizer that learns from them."""

from collections import Counter

import pytest
import torch

from lead_kit.errors import InputError
from lead_kit.models import loading
from lead_kit.models.tiny_models import arithmetic_tokenizer, embedded_model
from lead_kit.runs import log_files
from lead_kit.train import sft_rows

RECORD = {"id": "a", "problem": "Start at 1:\n(1) +5.", "solution": "\n(1) 1+5=6\n\\boxed{6}"}


@pytest.fixture(scope="module")
def models():

    torch.set_num_threads(1)
    return loading


@pytest.fixture(scope="module")
def tokenizer(models):
    return arithmetic_tokenizer()


class Inputs:
    """What a run notes of its inputs."""

    def __init__(self):
        self.paths = []

    def input(self, path):
        self.paths.append(path)
        return path


def test_the_shortest_right_rollouts_of_a_run_are_solutions(tmp_path):
    texts = [("p", "long but right", 9, True, False), ("p", "right", 3, True, False), ("p", "right", 3, True, False)]
    texts += [("p", "middle", 5, True, False), ("p", "cut", 1, True, True), ("q", "wrong", 2, False, False)]
    names = ("problem", "completion", "length", "correct", "truncated")
    rows = [{"id": text[0], "gold": "2"} | dict(zip(names, text, strict=True)) for text in texts]
    log_files.write_samples(rows, tmp_path / "rollouts" / "step_000001.parquet")
    run, notes = Inputs(), []
    records = sft_rows.read_solutions(run, tmp_path, 2, notes)
    assert [(record["problem"], record["solution"]) for record in records] == [("p", "right"), ("p", "middle")]
    assert notes == ["2 right rollouts of 1 problems, of 6 logged"] and run.paths == [tmp_path / "rollouts"]
    with pytest.raises(InputError, match="of 6 rollouts in .*, none is right and whole"):
        sft_rows.read_solutions(run, tmp_path, 0, notes)


@pytest.mark.slow
def test_only_the_solution_and_the_end_carry_loss(tokenizer):
    rows, changed = sft_rows.tokenise_solutions([RECORD], tokenizer, "plain", 128)
    (row,) = rows
    learned = [token for token in row["labels"] if token != sft_rows.IGNORED]
    assert tokenizer.decode(learned) == RECORD["solution"] + "<|end|>"
    assert row["input_ids"][-len(learned) :] == learned and row["length"] == len(row["input_ids"])
    assert tokenizer.decode(row["input_ids"][: -len(learned)]) == f"<|user|>{RECORD['problem']}<|assistant|>"
    assert changed == {"dropped": 0, "shortened": 0}


@pytest.mark.slow
def test_with_loss_on_all_every_token_of_the_row_is_learned(tokenizer):
    (row,), _ = sft_rows.tokenise_solutions([RECORD], tokenizer, "plain", 128, loss_on="all")
    assert row["labels"] == row["input_ids"]
    packed = sft_rows.pack_solutions([row], 64, "wrapped", seed=0)[0]
    assert packed["labels"] == packed["input_ids"]
    with pytest.raises(InputError, match="loss_on is 'prompt', expected one of completion, all"):
        sft_rows.tokenise_solutions([RECORD], tokenizer, "plain", 128, loss_on="prompt")


@pytest.mark.slow
def test_long_solutions_are_cut_where_the_recipe_cut_them(tokenizer):
    long = RECORD | {"solution": RECORD["solution"] * 20}
    full = RECORD | {"problem": RECORD["problem"] + " (2) +5." * 20}  # the prompt alone is longer
    rows, changed = sft_rows.tokenise_solutions([RECORD, long, full], tokenizer, "plain", 64, "truncate")
    assert [row["length"] < 64 for row in rows] == [True, False] and changed == {"dropped": 1, "shortened": 1}
    assert len(rows[1]["input_ids"]) == len(rows[1]["labels"]) == 64
    assert rows[1]["input_ids"][-1] != tokenizer.eos_token_id  # the text goes on
    with pytest.raises(InputError, match="too_long is 'cut', expected one of drop, truncate"):
        sft_rows.tokenise_solutions([RECORD], tokenizer, "plain", 64, "cut")


@pytest.mark.slow
def test_wrapped_rows_hold_every_token_and_bfd_keeps_solutions_whole(tokenizer):
    records = [RECORD | {"id": str(n), "solution": RECORD["solution"] * n} for n in range(1, 9)]
    rows, changed = sft_rows.tokenise_solutions(records, tokenizer, "plain", None)
    assert not any(changed.values()) and rows[-1]["length"] > 64
    wrapped, bfd = (sft_rows.pack_solutions(rows, 64, packing, seed=0) for packing in ("wrapped", "bfd"))
    tokens = sorted(token for row in rows for token in row["input_ids"])
    assert sorted(token for row in wrapped for token in row["input_ids"]) == tokens
    assert {len(row["input_ids"]) for row in wrapped.select(range(len(wrapped) - 1))} == {64}
    short = {tuple(row["input_ids"]) for row in rows if row["length"] <= 64}
    whole = [tuple(ids[end - size : end]) for ids, end, size in ends(bfd)]
    assert short <= set(whole)


def ends(packed):
    for row in packed:
        end = 0
        for size in row["seq_lengths"]:
            end += size
            yield row["input_ids"], end, size


@pytest.mark.slow
def test_an_epoch_is_one_pass_over_the_rows_that_remain():
    assert sft_rows.updates(12153, 24, 1.0) == 507 and sft_rows.updates(3052, 256, 3.0) == 36
    assert sft_rows.updates(128, 128, 1.0) == 1 and sft_rows.updates(10, 4, 0.5) == 2
    with pytest.raises(InputError, match="epochs is -1, expected 0"):
        sft_rows.updates(10, 4, -1.0)


@pytest.mark.slow
def test_long_solutions_are_left_out_and_counted(tokenizer):
    long = RECORD | {"solution": RECORD["solution"] * 20}
    rows, changed = sft_rows.tokenise_solutions([RECORD, long, long], tokenizer, "plain", 64)
    assert len(rows) == 1 and changed == {"dropped": 2, "shortened": 0}
    with pytest.raises(InputError, match="max_length is 8, but every one of the 1 solutions is longer"):
        sft_rows.tokenise_solutions([RECORD], tokenizer, "plain", 8)
    with pytest.raises(InputError, match="record a has no solution"):
        sft_rows.tokenise_solutions([RECORD | {"solution": ""}], tokenizer, "plain", 64)


@pytest.mark.slow
def test_a_text_that_would_end_a_turn_and_a_tokenizer_without_an_end_are_refused(tokenizer):
    for name in ("problem", "solution"):
        typed = RECORD | {name: RECORD[name] + "<|end|>"}
        with pytest.raises(InputError, match=r"has '<\|end\|>', which the tokenizer reads as a special token: edit or"):
            sft_rows.tokenise_solutions([typed], tokenizer, "plain", 64)
    endless = arithmetic_tokenizer()
    endless.eos_token = None
    with pytest.raises(InputError, match="the tokenizer has no end token.*set eos_token in its tokenizer_config.json"):
        sft_rows.tokenise_solutions([RECORD], endless, "plain", 64)


def rows_of(lengths):
    return [{"name": i, "length": length} for i, length in enumerate(lengths)]


def test_bucketing_keeps_every_row_as_often_as_every_other():
    rows = rows_of([(7 * i) % 23 for i in range(120)])
    drawn = sft_rows.bucket_by_length(rows, batch_size=8, steps=45, seed=0)  # 360 = three epochs of 120
    assert Counter(row["name"] for row in drawn) == dict.fromkeys(range(120), 3)
    assert drawn == sft_rows.bucket_by_length(rows, 8, 45, 0) != sft_rows.bucket_by_length(rows, 8, 45, 1)
    assert len(sft_rows.bucket_by_length(rows, 7, 5, 0)) == 35


def test_a_batch_holds_rows_of_similar_length_and_the_batches_are_mixed():
    rows = rows_of(range(400))
    drawn = sft_rows.bucket_by_length(rows, batch_size=8, steps=50, seed=0)
    batches = [[row["length"] for row in drawn[i : i + 8]] for i in range(0, 400, 8)]
    assert max(max(batch) - min(batch) for batch in batches) == 7
    assert [batch[0] for batch in batches] != sorted(batch[0] for batch in batches)


@pytest.mark.slow
def test_muon_takes_the_hidden_matrices_alone(models):
    from lead_kit.train import muon_optimizer

    model, _ = embedded_model("tiny")
    names = {id(p): name for name, p in model.named_parameters()}
    matrices = {names[id(p)] for p in muon_optimizer.hidden_matrices(model)}
    assert len(matrices) == 2 * 7 and all(".layers." in name for name in matrices)


def moved_by(kind, matrices, gradients, **settings):
    """The matrices after a step for each list of gradients."""
    learned = [torch.nn.Parameter(matrix.clone()) for matrix in matrices]
    optimizer = kind(learned, **settings)
    for step in gradients:
        for matrix, gradient in zip(learned, step, strict=True):
            matrix.grad = gradient.clone()
        optimizer.step()
    return [matrix.detach() for matrix in learned]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"nesterov": False, "weight_decay": 0.0}])
def test_stacked_muon_moves_each_matrix_as_torch_does(monkeypatch, settings):
    from torch.optim import Muon

    from lead_kit.train import muon_optimizer

    draw = torch.Generator().manual_seed(0)
    shapes = [(24, 8), (8, 24), (24, 8), (16, 16), (8, 24), (24, 8)]
    matrices = [torch.randn(shape, generator=draw) for shape in shapes]
    gradients = [[torch.randn(shape, generator=draw) for shape in shapes] for _ in range(3)]
    start, settings = matrices, {"lr": 0.1} | settings
    stacked = moved_by(muon_optimizer.StackedMuon, start, gradients, **settings)
    for matrix, torch_s, before in zip(stacked, moved_by(Muon, start, gradients, **settings), matrices, strict=True):
        assert (matrix - torch_s).norm() / (torch_s - before).norm() < 0.02  # torch iterates in bfloat16
    one_by_one = [
        moved_by(muon_optimizer.StackedMuon, [matrix], [[step[i]] for step in gradients], **settings)[0]
        for i, matrix in enumerate(matrices)
    ]
    monkeypatch.setattr(muon_optimizer, "_STACKED", 2 * 24 * 8)
    chunks = moved_by(muon_optimizer.StackedMuon, start, gradients, **settings)
    for matrix, alone, chunk in zip(stacked, one_by_one, chunks, strict=True):
        assert (matrix - alone).abs().max() < 1e-5 and (matrix - chunk).abs().max() < 1e-5


@pytest.mark.slow
def test_equal_shapes_are_iterated_at_once(monkeypatch):
    from lead_kit.train import muon_optimizer

    iterated, iterate = [], muon_optimizer._orthogonalise
    monkeypatch.setattr(
        muon_optimizer, "_orthogonalise", lambda m, *rest: iterated.append(tuple(m.shape)) or iterate(m, *rest)
    )
    shapes = [(6, 4), (4, 6), (6, 4)]
    gradients = [[torch.ones(shape) for shape in shapes]]
    moved_by(muon_optimizer.StackedMuon, [torch.zeros(shape) for shape in shapes], gradients, lr=0.1)
    assert sorted(iterated) == [(1, 4, 6), (2, 6, 4)]


@pytest.mark.slow
def test_an_optimizer_that_was_saved_goes_on_as_if_it_had_not_been(models, tmp_path):
    from lead_kit.train.muon_optimizer import MuonAdamW

    ids = torch.arange(6, 60).reshape(2, 27)

    def learn(model, optimizer, schedule, steps):
        for _ in range(steps):
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    def fresh():
        model, _ = embedded_model("tiny")
        optimizer = MuonAdamW(model, muon_lr=0.02, adam_lr=0.01)
        return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)

    straight = fresh()
    learn(*straight, 6)
    model, optimizer, schedule = fresh()
    learn(model, optimizer, schedule, 3)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save(state, tmp_path / "state.pt")
    resumed, state = fresh(), torch.load(tmp_path / "state.pt", weights_only=True)
    for part, name in zip(resumed, ("model", "optimizer", "schedule"), strict=True):
        part.load_state_dict(state[name])
    learn(*resumed, 3)
    for name, weight in straight[0].state_dict().items():
        assert torch.equal(weight, resumed[0].state_dict()[name]), name
    assert [g["lr"] for g in resumed[1].param_groups] == pytest.approx([0.02 * 0.9**6, 0.01 * 0.9**6])
