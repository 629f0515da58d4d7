"""The numbers of README.md and docs/results.md are those of the points, and one changed digit or point shows."""

import re
import shutil

import pandas as pd
import pytest

from tests import claims

TEXTS = {page: (claims.ROOT / page).read_text(encoding="utf-8") for page in claims.PAGES}
COMMITTED = sorted(folder.name for folder in claims.POINTS.iterdir())
NAMED = [*claims.LISTED["numbers"]]


@pytest.mark.parametrize("source", NAMED)
def test_the_numbers_of_the_text_are_those_of_the_data(source, request):
    known = claims.sources()
    if isinstance(known[source], str):
        assert source in claims.claims_replay.SOURCES
        pytest.skip(f"{source}: {known[source]}")
    others = dict.fromkeys(known, "not in this test") | {source: known[source]}
    for page, text in TEXTS.items():
        assert claims.rewrite(text, others) == text, f"{page}: python -m tests.claims shows what differs"


@pytest.mark.parametrize("page", claims.PAGES)
def test_every_number_has_a_tag_or_is_listed(page):
    assert claims.unlisted(TEXTS[page], page) == []


def test_the_list_names_nothing_that_the_text_lacks():
    assert claims.stale(TEXTS) == []


@pytest.mark.parametrize("source", COMMITTED)
def test_the_committed_points_are_small_and_hold_no_text_of_a_model(source):
    files = list((claims.POINTS / source).iterdir())
    assert sum(path.stat().st_size for path in files) < 300_000
    for path in files:
        columns = pd.read_parquet(path).columns if path.suffix == ".parquet" else []
        assert "completion" not in columns


def test_one_changed_digit_of_the_text_shows():
    known = claims.sources()
    source = COMMITTED[0]
    page, match = next((p, m) for p, t in TEXTS.items() for m in claims._TAG.finditer(t) if m["source"] == source)
    digit = re.search(r"\d", match["text"])
    wrong = match["text"][: digit.start()] + str((int(digit[0]) + 1) % 10) + match["text"][digit.end() :]
    text = TEXTS[page][: match.start()] + wrong + TEXTS[page][match.start() + len(match["text"]) :]
    assert claims.rewrite(text, known) == TEXTS[page] != text
    table = claims._TABLE.search(TEXTS["docs/results.md"])
    body = table[0].removeprefix(table[1])
    changed = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), body, count=1)
    text = TEXTS["docs/results.md"].replace(body, changed)
    assert text != TEXTS["docs/results.md"] == claims.rewrite(text, known)


@pytest.mark.parametrize(
    "file, column, page",
    [
        ("figure1/evaluation.parquet", "length", "docs/results.md"),
        ("figure1/validation.parquet", "pass@1", "docs/results.md"),
        ("atlas/values.csv", "value", "docs/atlas.md"),
    ],
)
def test_one_changed_point_shows(tmp_path, file, column, page):
    source, _, name = file.partition("/")
    folder = shutil.copytree(claims.POINTS / source, tmp_path / source)
    kind = name.rpartition(".")[2]
    points = getattr(pd, f"read_{kind}")(folder / name)
    points.loc[points.index[-1], column] += 10_000
    getattr(points, f"to_{kind}")(folder / name, index=False)
    known = dict.fromkeys(claims.sources(), "not in this test") | {source: claims.of_points(folder)}
    assert claims.rewrite(TEXTS[page], known) != TEXTS[page]


def test_a_number_without_a_tag_is_found_and_a_listed_one_is_not():
    assert claims.unlisted(
        "Pass@1 of SmolLM2-135M rose by .034, see `-p steps 80` and [x](figures/a1.png).", "README.md"
    )
    tagged = "It rose by .034<!--figure1 faster--> [.022, .047]<!--figure1 faster-->, with a 95% interval."
    assert claims.unlisted(tagged, "README.md") == []
    assert claims.unlisted("by .034<!--figure1 faster--> and 12%", "README.md") == ["by and 12%"]


def test_a_number_is_written_in_the_manner_of_the_old_one():
    written = [
        (0.0344, ".022"),
        (-0.0344, "+.305"),
        (0.0344, "+.305"),
        (0.4016, "16%"),
        (16128, "1,000"),
        (-0.04, "−.0"),
    ]
    expected = [".034", "−.034", "+.034", "40%", "16,128", ".0"]
    assert [claims._as_written(value, old) for value, old in written] == expected
    known = {"figure1": lambda formula: claims.Interval(0.5, 0.25, 1.5, 0)}
    text = "by .034\n[.022, .047]<!--figure1 faster-->, in [0, 1]<!--figure1 final-->"
    assert claims.rewrite(text, known) == "by .500\n[.250, 1.500]<!--figure1 faster-->, in [0, 2]<!--figure1 final-->"


def test_a_tag_without_a_formula_and_a_number_without_an_interval_are_errors():
    with pytest.raises(KeyError, match="no number 'slower' of figure1"):
        claims.rewrite(".034<!--figure1 slower-->", claims.sources())
    known = {"figure1": lambda formula: claims._number(0.5)}
    with pytest.raises(ValueError, match="has no interval"):
        claims.rewrite("[.022, .047]<!--figure1 faster-->", known)


def test_changes_and_differences_of_validations_by_hand():
    start, end = {"p": 0.0, "q": 0.5}, {"p": 0.5, "q": 1.0}
    rows = [
        {"run": arm, "arm": arm, "seed": 0, "step": step, "id": name, "pass@1": value, "length": 10 * value}
        for arm, last in (("grpo", start), ("lead", end))
        for step, values in ((0, start), (20, last))
        for name, value in values.items()
    ]
    points = claims.Points(None, None, pd.DataFrame(rows), None, None)
    assert claims.measure(points, "problems: ").estimate == 2
    assert claims.measure(points, "start: pass@1: lead").estimate == 0.25
    assert claims.measure(points, "end: pass@1: lead").estimate == 0.75
    assert claims.measure(points, "change: pass@1: lead")[:3] == (0.5, 0.5, 0.5)  # .5 in both problems
    assert claims.measure(points, "change: pass@1: grpo")[:3] == (0, 0, 0)
    assert claims.measure(points, "minus: end: length: lead − grpo")[:3] == (-5, -5, -5)
    more = pd.concat([points.problems, points.problems.assign(seed=1)])
    assert claims.measure(points._replace(problems=more), "change: pass@1: lead")[:3] == (0.5, 0.5, 0.5)


def test_numbers_of_batches_and_words_by_hand():
    rows = [
        {"run": f"r{seed}", "arm": "lead", "seed": seed, "split": claims.SPLIT, "step": step, "reward_format": value}
        for seed, values in ((0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), (1, [0.3, 0.4, 0.5, 0.6, 0.7, 0.8]))
        for step, value in enumerate(values, 1)
    ]
    words = [("check", 0, 0.5, 0.0), ("double-check", 0, 0.1, 0.2), ("check", 1, 0.3, 0.4)]
    words = pd.DataFrame(words, columns=["word", "seed", "before", "after"]).assign(run="r", arm="lead")
    points = claims.Points(None, None, None, pd.DataFrame(rows), words)
    assert claims.measure(points, "first batch: reward_format: lead").estimate == pytest.approx(0.2)
    assert claims.measure(points, "last batch: reward_format: lead").estimate == pytest.approx(0.7)
    assert claims.measure(points, "first five batches: reward_format: lead").estimate == pytest.approx(0.4)
    assert claims.measure(points, "lowest of the last five batches: reward_format").estimate == pytest.approx(0.5)
    # check and double-check: seed 0 from .6 to .2, seed 1 from .3 to .4
    assert claims.measure(points, "before: check, double-check: lead").estimate == pytest.approx(0.45)
    assert claims.measure(points, "rise: check, double-check: lead").estimate == pytest.approx(-0.15)
