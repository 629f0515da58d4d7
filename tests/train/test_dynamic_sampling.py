"""The draw of fresh problems for dynamic sampling."""

import pytest

from lead_kit.models.loading import save_model
from lead_kit.models.tiny_models import embedded_model
from lead_kit.train.dynamic_sampling import cyclic_part, draw_order

PROBLEMS = [f"problem {i}" for i in range(20)]


def drawn(order, rounds, processes, count):
    """What all processes draw in all rounds, as `Refill.fresh` places them."""
    return [i for place in range(rounds * processes) for i in cyclic_part(order, count, place)]


def test_a_fill_repeats_no_problem_while_there_are_others():
    used = set(PROBLEMS[:4])  # two processes with two problems each; then four rounds of two problems a process: 16
    for seed in range(50):
        rows = drawn(draw_order(PROBLEMS, used, str(seed)), rounds=4, processes=2, count=2)
        assert sorted(rows) == list(range(4, 20))


def test_the_used_problems_come_again_only_when_no_others_are_left():
    order = draw_order(PROBLEMS, set(PROBLEMS[:4]), "0")
    assert set(order[16:]) == {0, 1, 2, 3}
    assert drawn(order, rounds=6, processes=1, count=4)[20:] == order[:4]  # the sixth round begins the order again
    assert cyclic_part(order[:3], 8, 1) == order[:3]  # never more than there are


def test_equal_problems_of_the_training_set_count_once():
    order = draw_order(["a", "b", "a", "c", "b"], {"c"}, "0")
    assert sorted(order) == [2, 3, 4] and order[-1] == 3


def test_the_order_follows_from_the_seed():
    orders = [draw_order(PROBLEMS, set(), str((0, batch))) for batch in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.slow
def test_fresh_problems_are_not_those_of_the_batch(tmp_path):
    from bench import small_trainer

    save_model(*embedded_model("tiny", seed=0), tmp_path / "model")
    trainer = small_trainer.trainer(tmp_path / "model", tmp_path, refill_batches=9)
    batch = list({row["problem"]: row for row in trainer.train_dataset}.values())[:8]
    problems = [row["problem"] for row in batch]
    for trainer.refill.round in range(3):
        rows = trainer.refill.draw_problems([row for row in batch for _ in range(4)])
        assert len(rows) == 32 and all(rows[i] == rows[i - i % 4] for i in range(32))
        problems += [row["problem"] for row in rows[::4]]
    assert len(problems) == len(set(problems)) == 32
