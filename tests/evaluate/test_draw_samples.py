"""Evaluations that are interrupted, repeated and enlarged: what is sampled again, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pandas as pd
import pytest

from lead_kit.data import arithmetic
from lead_kit.errors import InputError
from lead_kit.models import engines
from lead_kit.models.tiny_models import embedded_model
from lead_kit.report.curves import NOTHING_RIGHT
from lead_kit.report.read_rollouts import caveats, sample_text
from lead_kit.runs.find import label_models

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
RECORDS = arithmetic.draw(12, 4)
TAGS = {"model": "tiny", "benchmark": "arithmetic", "arm": "tiny", "seed": 0}


@pytest.fixture(scope="module")
def kit():
    import torch

    from lead_kit.evaluate import draw_samples, graded_samples
    from lead_kit.models.sampler import SamplingSettings

    torch.set_num_threads(1)
    pair = embedded_model("tiny", seed=3)

    class Counting(engines.LocalEngine):
        """The engine, which remembers what it was asked."""

        def sample(self, requests):
            self.asked = [(r.record["id"], r.sample) for r in requests]
            return super().sample(requests)

    def engine(batch_size=7, max_tokens=16, **settings):
        return Counting(*pair, "plain", SamplingSettings(max_tokens, **settings), batch_size)

    def evaluate(records=RECORDS, n=2, path=None, asked=None, **settings):
        chosen = asked or engine()
        return draw_samples.evaluate(chosen, records, **({"n": n, "seed": 0, "path": path, "tags": TAGS} | settings))

    return SimpleNamespace(
        engine=engine, evaluate=evaluate, evaluation=draw_samples, adopt=graded_samples.copy_samples, server=engines
    )


def texts(samples):
    return {(row.id, row.sample): row.completion for row in samples.itertuples()}


def on_disk(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_sample_depends_on_neither_order_nor_batch_size(kit):
    expected = texts(kit.evaluate())
    mixed = Random(1).sample(RECORDS, len(RECORDS))
    for size in (1, 5, 64):
        assert texts(kit.evaluate(mixed, asked=kit.engine(batch_size=size))) == expected
    assert texts(kit.evaluate(RECORDS[3:5])) == {k: v for k, v in expected.items() if k[0] in ids(RECORDS[3:5])}
    assert len(set(expected.values())) > 20


def ids(records):
    return [record["id"] for record in records]


def test_more_samples_take_over_the_first_ones(kit, tmp_path):
    path = tmp_path / "samples.jsonl"
    first, engine = kit.evaluate(n=2, path=path), kit.engine()
    more = kit.evaluate(n=5, path=path, asked=engine)
    assert Counter(k for _, k in engine.asked) == dict.fromkeys((2, 3, 4), 12)
    assert texts(first).items() <= texts(more).items() and len(more) == len(on_disk(path)) == 60
    assert texts(more) == texts(kit.evaluate(n=5))
    fewer = kit.evaluate(n=1, path=path, asked=engine)
    assert engine.asked == [] and len(fewer) == 12
    wider = kit.evaluate([*RECORDS, *arithmetic.draw(3, 9)], n=5, path=path, asked=engine)
    assert len(engine.asked) == 15 and len(wider) == 75


KILLED = """
import sys, time
from pathlib import Path
from lead_kit.data import arithmetic
from lead_kit.evaluate import draw_samples
from lead_kit.models import engines
from lead_kit.models.tiny_models import embedded_model
from lead_kit.models.sampler import SamplingSettings

class Slow(engines.LocalEngine):
    def sample(self, requests):
        for pair in super().sample(requests):
            time.sleep(0.01)
            yield pair

engine = Slow(*embedded_model("tiny", seed=3), "plain", SamplingSettings(16), batch_size=7)
draw_samples._in_parts.__defaults__ = (8, 5.0)
draw_samples.evaluate(
    engine, arithmetic.draw(12, 4), n=30, seed=0, path=Path(sys.argv[1]),
    tags={"model": "tiny", "benchmark": "arithmetic", "arm": "tiny", "seed": 0},
    report=lambda rows, total: print(len(rows), flush=True),
)
"""


def test_a_killed_evaluation_goes_on_where_it_stopped(kit, tmp_path):
    path = tmp_path / "samples.jsonl"
    command = [sys.executable, "-c", KILLED, str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as child:
        while int(child.stdout.readline()) < 24:
            pass
        child.send_signal(signal.SIGKILL)
    kept = len(on_disk(path))
    assert 24 <= kept < 360
    with path.open("a") as file:
        file.write('{"id": "arith')  # a line that the kill left torn
    engine = kit.engine()
    samples = kit.evaluate(n=30, path=path, asked=engine)
    assert len(engine.asked) == 360 - kept
    rows = on_disk(path)
    assert len(rows) == len({(row["id"], row["sample"]) for row in rows}) == len(samples) == 360
    assert texts(samples) == texts(kit.evaluate(n=30))


def test_what_came_before_an_error_is_kept(kit, tmp_path):
    class Failing(type(kit.engine())):
        def sample(self, requests):
            for i, pair in enumerate(super().sample(requests)):
                if i == 5:
                    raise InputError("the server went away")
                yield pair

    path, engine = tmp_path / "samples.jsonl", kit.engine()
    engine.__class__ = Failing
    with pytest.raises(InputError, match="went away"):
        kit.evaluate(path=path, asked=engine)
    assert len(on_disk(path)) == 5
    engine = kit.engine()
    assert len(kit.evaluate(path=path, asked=engine)) == 24 and len(engine.asked) == 19


def test_a_completion_does_not_wait_for_long(kit):
    slow = kit.evaluation._in_parts(iter(range(5)), size=64, seconds=0.0)
    assert list(slow) == [[0], [1], [2], [3], [4]]
    assert list(kit.evaluation._in_parts(iter(range(5)), size=2, seconds=60.0)) == [[0, 1], [2, 3], [4]]


def test_other_settings_under_the_same_name_are_refused(kit, tmp_path):
    path = tmp_path / "samples.jsonl"
    kit.evaluate(path=path)
    before = path.read_bytes()
    wrong = {
        "settings: temperature was 1.0, now 0.6; choose": {"asked": kit.engine(temperature=0.6)},
        "max_tokens was 16, now 32": {"asked": kit.engine(max_tokens=32)},
        "seed was 0, now 1": {"seed": 1},
        "loose was False, now True": {"loose": True},
        "benchmark was 'arithmetic', now 'AIME24'": {"tags": TAGS | {"benchmark": "AIME24"}},
    }
    for sentence, change in wrong.items():
        with pytest.raises(InputError, match=sentence):
            kit.evaluate(path=path, **change)
    with pytest.raises(InputError, match="holds problem 'arithmetic-4-.*', which is not among those to evaluate"):
        kit.evaluate(arithmetic.draw(12, 5), path=path)
    with pytest.raises(InputError, match="the gold answer of problem 'arithmetic-4-0' was '.*' when it was sampled"):
        kit.evaluate([RECORDS[0] | {"gold": "7777"}, *RECORDS[1:]], path=path)
    with pytest.raises(InputError, match="two records share an id"):
        kit.evaluate([*RECORDS, RECORDS[0]], path=path)
    with pytest.raises(InputError, match="n is 0"):
        kit.evaluate(n=0, path=path)
    assert path.read_bytes() == before
    (tmp_path / "samples.settings.json").unlink()
    with pytest.raises(InputError, match="no samples.settings.json beside it"):
        kit.evaluate(path=path)


def test_a_run_takes_over_the_samples_of_an_earlier_one(kit, tmp_path):
    earlier, path = tmp_path / "a" / "samples.jsonl", tmp_path / "b" / "samples.jsonl"
    kit.evaluate(n=3, path=earlier)
    kit.evaluate(n=3, path=earlier, tags=TAGS | {"model": "other"})
    kit.adopt(earlier, path, ["tiny"], 2)
    assert len(on_disk(path)) == 24 and {row["model"] for row in on_disk(path)} == {"tiny"}
    engine = kit.engine()
    kit.evaluate(n=4, path=path, asked=engine)
    assert len(engine.asked) == 24 and len(on_disk(earlier)) == 72
    kit.adopt(earlier, path, ["tiny"], 2)  # the file is there: nothing is lost
    assert len(on_disk(path)) == 48
    with pytest.raises(InputError, match="max_tokens was 16, now 8"):
        kit.evaluate(n=4, path=path, asked=kit.engine(max_tokens=8))


def test_models_have_labels_of_their_own(kit):
    by_model = label_models(["a/b/model", "a/c/model", "org/Qwen"])
    assert by_model["org/Qwen"] == {"arm": "Qwen", "seed": 0}
    assert by_model["a/b/model"] == {"arm": "a/b/model", "seed": 0} != by_model["a/c/model"]
    with pytest.raises(InputError, match="models names 'x' twice"):
        label_models(["x", "y", "x"])


def test_what_forbids_a_conclusion_is_said(kit):
    frame = pd.DataFrame(
        {"arm": "a", "seed": 0, "id": list("ppqq"), "completion": list("xxyy"), "correct": False, "truncated": True}
    )
    nothing, same, cut = caveats(frame, 1.0)
    assert nothing == NOTHING_RIGHT
    assert "the same text although temperature is 1" in same and "100% of the answers were cut" in cut
    fine = frame.assign(correct=[True, False] * 2, completion=list("xyzz"), truncated=False)
    assert caveats(fine, 1.0) == []
    assert len(caveats(fine.assign(correct=True), 1.0)) == 1


def test_text_is_read_aloud_without_its_control_characters(kit):
    row = SimpleNamespace(arm="a", id="p", length=3, completion="\x1b[2Jé\n\x07", gold="1", status="wrong", reason="r")
    assert sample_text(row, "a") == "a, p, 3 tokens\n⟨U+001B⟩[2Jé\n⟨U+0007⟩\n→ gold 1: wrong (r)\n"
