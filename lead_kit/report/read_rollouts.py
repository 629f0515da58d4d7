"""Reading rollouts and samples: a selection, a group side by side, two answers to one prompt, what grew in training.

`browser` is for a live notebook; `groups` shows the same without a script.
"""

import html
import re
from difflib import SequenceMatcher
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd

from lead_kit.data.load import load_problems
from lead_kit.errors import InputError, nearest_or_all
from lead_kit.report import curves
from lead_kit.report.curves import NOTHING_RIGHT
from lead_kit.report.tables import Page
from lead_kit.runs.files import resolve
from lead_kit.runs.manifest import read_manifest
from lead_kit.safe_text import NO_MATHEMATICS, as_html, safe_line, safe_text

COLUMNS = ["step", "group", "id", "sample", "status", "reward", "advantage", "length", "completion"]
ANSWER = ["completion", "status", "length"]
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_GRID = ["step", "group", "sample", "status", "reward", "advantage", "length", "gold", "problem", "completion"]
_NEWEST = 5_000  # rollouts in the grid
_BAR = 12  # signs of the longest bar in plain text
_NUMBER = re.compile(r"\d+")
_PIECE = re.compile(r"\s+|\w+|[^\w\s]")
_CUT, _NEW = "background-color: #ffd7d5; color: black", "background-color: #c9f2c9; color: black"
_STEP_ENDS = re.compile(r"\n|(?<=[.!?])\s")
_UNITS = {  # what is counted in a completion
    "word": lambda text: _WORD.findall(text.lower()),
    "step": lambda text: [_NUMBER.sub("#", part.strip()) for part in _STEP_ENDS.split(text) if part.strip()],
}


def select_rollouts(
    rollouts: pd.DataFrame, step: int = -1, group: int = -1, status: str = "", above=-np.inf, below=np.inf
) -> pd.DataFrame:
    """The rollouts of one logged step (-1: the last) whose group, status and reward are as asked (-1 and "": any).

    Raises InputError naming the steps, groups or statuses that there are.
    """
    steps = sorted(rollouts["step"].unique())
    step = steps[-1] if step == -1 else step
    if step not in steps:
        raise InputError(f"step {step} has no logged rollouts; there are: {', '.join(map(str, steps))}")
    rows = rollouts[rollouts["step"] == step]
    if group not in {-1, *rows["group"]}:
        raise InputError(f"step {step} has no group {group}: expected 0 to {rows['group'].max()}")
    if status and status not in set(rollouts["status"]):
        raise InputError(f"no rollout has the status {status!r}{nearest_or_all(status, set(rollouts['status']))}")
    rows = rows[(rows["reward"] > above) & (rows["reward"] < below)]
    rows = rows[rows["group"] == group] if group >= 0 else rows
    return rows[rows["status"] == status] if status else rows


def most_varied_group(rows: pd.DataFrame) -> int:
    """The group whose advantages differ most."""
    return int(rows.groupby("group")["advantage"].agg(np.ptp).idxmax())


def side_by_side(group: pd.DataFrame, first: int | None = None) -> Page:
    """One group, highest advantage first: verdict, rewards, the advantage as a bar, and the text of each rollout. The
    sample `first` stands before the others."""
    rows = group.sort_values("advantage", ascending=False)
    rows = rows.sort_values("sample", key=lambda samples: samples != first, kind="stable")
    longest, rewards, cards = max(rows["advantage"].abs().max(), 1e-9), curves.rewards_in(rows), []
    for row in rows.to_dict("records"):
        parts = [f"{safe_line(name.removeprefix('reward_'))} {row[name]:.3g}" for name in rewards]
        numbers = "; ".join([f"{row['length']} tokens", *([", ".join(parts)] if len(parts) > 1 else [])])
        advantage = f"advantage {row['advantage']:+.3f}"
        share, positive = abs(row["advantage"]) / longest, row["advantage"] > 0
        style = f"background-color: {'#0072B2' if positive else '#D55E00'}; height: 0.6em; width: {100 * share:.0f}%"
        bar = ("█" if positive else "░") * round(_BAR * share)
        body = f'{html.escape(numbers)}<br>{advantage}<div style="{style}"></div>{as_html(row["completion"])}'
        text = f"{numbers}\n{advantage} {bar}\n{safe_text(row['completion'])}"
        cards.append((f"sample {row['sample']}: {row['status']}, reward {row['reward']:.3g}", body, text))
    title = "\n".join([rows["problem"].iloc[0] if "problem" in rows else "", f"Gold answer: {rows['gold'].iloc[0]}"])
    return _page(title, cards)


def _page(title: str, cards: list[tuple[str, str, str]], width: str = "19em") -> Page:
    """A title, such as a problem, above cards side by side: the head of each, its HTML, and its plain text."""
    style = (
        f"display: inline-block; vertical-align: top; width: {width}; margin: 4px; padding: 6px; border: 1px solid #999"
    )
    divs = [f'<div style="{style}"><b>{html.escape(head)}</b><br>{body}</div>' for head, body, _ in cards]
    page = f'<div class="{NO_MATHEMATICS}"><div>{as_html(title)}</div>{"".join(divs)}</div>'
    return Page(page, "\n".join([safe_text(title), *(f"{head}\n{text}\n" for head, _, text in cards)]))


def best_worst_random(rollouts: pd.DataFrame) -> Page:
    """The best, the worst and a random rollout by reward, each with its problem; the shorter of two equal ones."""
    best = rollouts.sort_values(["reward", "length"], ascending=[False, True], kind="stable").iloc[0]
    worst = rollouts.sort_values(["reward", "length"], kind="stable").iloc[0]
    cards = []
    for name, row in {"best": best, "worst": worst, "random": rollouts.sample(1, random_state=0).iloc[0]}.items():
        head = f"{name}: {row['status']}, reward {row['reward']:.3g}, advantage {row['advantage']:+.3f}"
        facts = f"{row['length']} tokens, gold {safe_line(row['gold'])}"
        texts = [row[column] for column in ("problem", "completion") if column in row]
        body = f"{html.escape(facts)}<hr>{'<br>'.join(map(as_html, texts))}"
        cards.append((head, body, "\n".join([facts, *map(safe_text, texts)])))
    return _page(f"Rollouts of step {rollouts['step'].iloc[0]}", cards)


def paired_samples(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """The samples that both sides have: id, sample and each column of both, ending in _before and _after.

    Raises InputError where they share none.
    """
    columns = ["id", "sample", "completion", "correct", "status", "length", "gold"]
    sides = (side.reindex(columns=columns).assign(id=side["id"].astype(str)) for side in (before, after))
    both = pd.merge(*sides, on=["id", "sample"], suffixes=("_before", "_after"))
    if both.empty:
        raise InputError("the two have no sample of the same problem: they are of different problems")
    return both


def changed_sample(both: pd.DataFrame) -> pd.Series:
    """A sample whose verdict changed from wrong to right, else one whose verdict or text changed; the shortest."""
    verdict = both["correct_after"].astype(int) - both["correct_before"].astype(int)
    same = both["completion_before"] == both["completion_after"]
    order = both.assign(verdict=-verdict, same=same, size=both["completion_after"].str.len())
    return order.sort_values(["verdict", "same", "size"], kind="stable").iloc[0]


def problem_text(run: Path, id: str) -> str:
    """The text of a problem that the run validated on; empty where the file of its problems is gone."""
    parameters = (read_manifest(run) or {}).get("parameters", {})
    path = resolve(parameters.get("validation_data") or parameters.get("data_path") or "")
    records = load_problems(path) if path.is_file() else []
    return next((record["problem"] for record in records if str(record["id"]) == id), "")


def _diff_pieces(before: str, after: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both texts in pieces, words whole, each with whether the other text lacks it at that place."""
    pieces = [_PIECE.findall(safe_text(text)) for text in (before, after)]
    sides = ([], [])
    for kind, *spans in SequenceMatcher(None, *pieces, autojunk=False).get_opcodes():
        for side, words, (start, end) in zip(sides, pieces, (spans[:2], spans[2:]), strict=True):
            if start < end:
                side.append(("".join(words[start:end]), kind != "equal"))
    return sides


def diff_page(before: dict, after: dict, names: tuple[str, str], problem: str = "") -> Page:
    """Two answers to one prompt side by side, with the words marked in which they differ.

    `before` and `after` have completion, status and length; `names` say where each comes from.
    """
    cards, sides = [], _diff_pieces(before["completion"], after["completion"])
    for name, row, side, style, sign in zip(names, (before, after), sides, (_CUT, _NEW), "−+", strict=True):
        spans = (f'<span style="{style}">{html.escape(t)}</span>' if new else html.escape(t) for t, new in side)
        body = f'<code style="white-space: pre-wrap">{"".join(spans)}</code>'
        text = "".join(f"[{sign}{t}{sign}]" if new else t for t, new in side)
        cards.append((f"{safe_line(name)}: {row['status']}, {row['length']} tokens", body, text))
    return _page(problem, cards, "40%")


def more_frequent(rollouts: pd.DataFrame, unit: str = "word", most: int = 8, share: float = 0.25) -> pd.DataFrame:
    """What became more frequent over training: words, or steps (lines and sentences, with every number as #).

    Columns: the unit; `before` and `after`: times a completion in the first and the last `share` of the logged steps
    (one step at least); for the reward and each of its parts, the gap: the mean reward of the completions with the unit
    minus that of the others, within a group, mean over groups (missing where no group has both).
    """
    rates = unit_rates(rollouts, unit, share)
    rates = rates[rates["after"] > rates["before"]].sort_index()
    rates = rates.loc[(rates["before"] - rates["after"]).sort_values(kind="stable").index[:most]]
    held = rollouts["completion"].map(lambda text: set(_UNITS[unit](text)))
    rewards = ["reward", *(curves.rewards_in(rollouts) if len(curves.rewards_in(rollouts)) > 1 else [])]
    for name in rates.index:
        by_holding = rollouts.assign(holds=[name in units for units in held])
        means = by_holding.groupby(["step", "group", "holds"])[rewards].mean().unstack("holds").dropna()
        for part in rewards:
            gap = (means[part][True] - means[part][False]).mean() if len(means) else np.nan
            rates.loc[name, f"{part.removeprefix('reward_')} gap"] = gap
    return rates.reset_index()


def unit_rates(rollouts: pd.DataFrame, unit: str = "word", share: float = 0.0) -> pd.DataFrame:
    """How often each unit (the index) occurs a completion, `before` and `after`: in the first and in the last `share`
    of the steps, one step at least."""
    steps = np.sort(rollouts["step"].unique())
    end = max(1, int(len(steps) * share))
    rates = {}
    for name, part in (("before", steps[:end]), ("after", steps[-end:])):
        texts = rollouts.loc[rollouts["step"].isin(part), "completion"]
        rates[name] = texts.map(_UNITS[unit]).explode().value_counts() / len(texts)
    return pd.DataFrame(rates).fillna(0.0).rename_axis(unit)


def browser(logged: pd.DataFrame) -> ipywidgets.VBox:
    """The newest rollouts in a grid to sort and search; a click on one opens its whole group below."""
    from itables.widget import ITable  # only a live notebook needs it

    rows = logged.tail(_NEWEST).reset_index(drop=True)
    cells = rows[[name for name in _GRID if name in rows]].round(3)
    texts = cells.select_dtypes(exclude=["number", "bool"])
    cells[texts.columns] = texts.map(safe_line)
    safe = {"maxBytes": 0, "allow_html": False}  # every row, and no text acts as HTML
    grid = ITable(cells, showIndex=False, scrollX=True, select="single", selected_rows=[len(rows) - 1], **safe)
    page = ipywidgets.HTML()

    def open_group(change):
        for index in change["new"]:
            row = rows.iloc[index]
            group = rows[(rows["step"] == row["step"]) & (rows["group"] == row["group"])]
            page.value = side_by_side(group, row["sample"]).html

    grid.observe(open_group, "selected_rows")
    open_group({"new": grid.selected_rows})
    return ipywidgets.VBox([grid, page])


def groups(batch: pd.DataFrame) -> Page:
    """Every group of one batch, each opened by a click, without a script: what an exported notebook can show."""
    pages, lines = [], []
    for number, group in batch.groupby("group"):
        right, mean = group["correct"].sum(), group["reward"].mean()
        line = f"group {number}: {right} of {len(group)} right, mean reward {mean:.3g}"
        lines.append(line)
        pages.append(f"<details><summary>{line}</summary>{side_by_side(group).html}</details>")
    return Page("".join(pages), "\n".join(lines))


def caveats(samples: pd.DataFrame, temperature: float) -> list[str]:
    """Sentences on why these samples (of several arms) allow no conclusion; empty if they do."""
    sentences = []
    if not samples["correct"].any():
        sentences.append(NOTHING_RIGHT)
    elif samples["correct"].all():
        sentences.append("Every answer was correct: the problems are too easy to tell the models apart.")
    for arm, rows in samples.groupby("arm"):
        by_problem = rows.groupby(["seed", "id"])["completion"]
        if temperature and by_problem.size().max() > 1 and by_problem.nunique().max() == 1:
            sentences.append(
                f"{arm}: all samples of a problem are the same text although temperature is {temperature:g}; "
                "is it ignored? (`transformers serve` needs do_sample in the model's generation_config.json)"
            )
        if (truncated := rows["truncated"].mean()) > 0.5:
            sentences.append(f"{arm}: {truncated:.0%} of the answers were cut at the token limit; raise max_tokens.")
    return sentences


def sample_text(row, arm: str) -> str:
    """A graded sample to read: arm and id, the text as `safe_text` shows it, the verdict."""
    head = f"{safe_line(arm)}, {safe_line(row.id)}, {row.length} tokens"
    verdict = f"→ gold {safe_line(row.gold)}: {row.status} ({safe_line(row.reason)})"
    return f"{head}\n{safe_text(row.completion)}\n{verdict}\n"
