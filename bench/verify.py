"""The verifier's bars, printed beside math-verify on the same pairs in the same process layout: `python
bench/verify.py`.

Reads LEAD_DATA (default ../shared/data) and bench/verify_labels.yaml, the labels judged wrong, which are reported
apart. Exit code 1 if a bar fails.
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbclient
import nbformat
import yaml

from lead_kit.verify import Verdict, Verifier

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("LEAD_DATA", HERE.parents[1] / "shared" / "data"))
PEERS = ("math-verify", "lighteval")  # sources that pin one library's behaviour
SELF = ("math_500", "aime24", "aime25", "amc23", "gsm8k")
PAYLOAD = "PWNFILE"
WARMING = 300  # generated pairs that math-verify sees before it is measured
LOOKS = 8  # samples a problem in the warm measurement
POLICY = {  # cases whose expectation is a convention we do not share; argued in docs/verifier.md
    "garbage:fullwidth": "a full-width 2 is a 2 (NFKC)",
    "hack:quote_then_none": "the last box is the answer; prose around it is not read",
}
results: list[tuple[str, bool]] = []


def warm() -> None:
    """Let math-verify load what it imports on the way, as a worker may open no file."""
    for pair in importlib.import_module("tests.verify.pairs").draw_pairs(WARMING, True, seed=0):
        decide(pair.gold, boxed(pair.answer))


def decide(gold: str, completion: str) -> tuple[str, str, str]:
    """math-verify's verdict, in a worker."""
    return importlib.import_module("math_verify_peer").decide(gold, completion)


class Peer(Verifier):
    """math-verify in the same pool; every pair goes to a worker, whose judge is this module."""

    judge = "verify"

    def check(self, completion: str, gold: str, **_: bool) -> Verdict:
        return Verdict(*self._ask(gold, completion)[:1], "", "", "math-verify")

    def check_many(self, completions: list[str], golds: list[str], **_: bool) -> list[Verdict]:
        with ThreadPoolExecutor(self.workers) as threads:
            return list(threads.map(self.check, completions, golds))


def bar(name: str, shown: str, passed: bool) -> None:
    """One line a bar."""
    results.append((name, passed))
    print(f"{'pass' if passed else 'FAIL'}  {name:62} {shown}", flush=True)


def boxed(text: str) -> str:
    """An answer as a completion: in a box unless it brings one."""
    return text if "\\boxed" in text else f"\\boxed{{{text.rstrip(chr(92))}}}"


def rates(rows: list[dict], correct: list[bool]) -> tuple[float, float, float]:
    """(accuracy, share of false positives among the pairs labelled false, share of false negatives among those
    labelled true)."""
    false = [got for row, got in zip(rows, correct, strict=True) if not row["label"]]
    true = [got for row, got in zip(rows, correct, strict=True) if row["label"]]
    accuracy = sum(got == row["label"] for row, got in zip(rows, correct, strict=True)) / len(rows)
    return accuracy, sum(false) / max(1, len(false)), 1 - sum(true) / max(1, len(true))


def show(numbers: tuple[float, float, float]) -> str:
    return "{:.1%} (fp {:.1%}, fn {:.1%})".format(*numbers)


def accuracy(rows: list[dict], ours: dict, theirs: dict, judged: set[str]) -> None:
    """Accuracy bars, with all labels and with those judged wrong set apart."""
    independent = [row for row in rows if not row["source"].startswith(PEERS) and row["track"] == "answer"]
    hard = [row for row in rows if row["source"] == "hardverify-math"]
    pinned = [row for row in rows if row["source"].startswith(PEERS) and row["track"] == "answer"]
    for name, some, floor in (
        ("independent answers", independent, 0.925),
        ("HardVerify", hard, 0.84),
        ("pinned to one library", pinned, 0),
    ):
        kept = [row for row in some if row["id"] not in judged]
        all_labels = rates(some, [ours[row["id"]] for row in some])
        apart = rates(kept, [ours[row["id"]] for row in kept])
        peer = rates(some, [theirs[row["id"]] for row in some])
        shown = f"ours {show(all_labels)}; {len(some) - len(kept)} labels apart {show(apart)}; math-verify {show(peer)}"
        bar(
            f"{name} (n={len(some)}): >= {floor:.1%}, fp <= 1%",
            shown,
            all_labels[0] >= floor and (apart[1] <= 0.01 or not floor),
        )
    response = [row for row in rows if row["track"] == "response"]
    mine, peer = (sum(side[row["id"]] == row["label"] for row in response) for side in (ours, theirs))
    bar(f"responses, loose (n={len(response)}): >= math-verify", f"ours {mine}, math-verify {peer}", mine >= peer)


def run(verifier: Verifier, rows: list[dict]) -> tuple[dict[str, bool], float]:
    """(is it correct, by id; CPU seconds of this process and its workers)."""
    verifier.warm()
    begin = time.process_time() + verifier.cpu_time()
    verdicts = [
        verifier.check(
            boxed(r["pred"]) if r["track"] == "answer" else r["pred"], r["gold"], loose=r["track"] != "answer"
        )
        for r in rows
    ]
    spent = time.process_time() + verifier.cpu_time() - begin
    return {row["id"]: verdict.correct for row, verdict in zip(rows, verdicts, strict=True)}, spent


def against_themselves(verifier: Verifier) -> None:
    """Every gold of the five benchmarks, boxed, against itself."""
    golds = [
        json.loads(line)["answer"]
        for name in SELF
        for line in open(DATA / "benchmarks" / f"{name}.jsonl", encoding="utf-8")
    ]
    missed = [
        gold
        for gold, verdict in zip(golds, verifier.check_many([boxed(g) for g in golds], golds), strict=True)
        if not verdict.correct
    ]
    bar(
        f"golds against themselves (n={len(golds)}): 100%",
        f"{len(golds) - len(missed)} correct {missed[:3]}",
        not missed,
    )


def adversarial(verifier: Verifier) -> None:
    """Hostile responses in an empty folder: nothing created, nothing slow, no wrong 'correct', controls accepted."""
    cases = json.loads((DATA / "verifier" / "adversarial.json").read_text())
    slowest, wrong, argued, here = 0.0, [], [], os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with Verifier(1) as alone:
            for case in cases:
                before = time.process_time() + alone.warm().cpu_time()
                verdict = alone.check(case["resp"], case["gold"])
                slowest = max(slowest, time.process_time() + alone.warm().cpu_time() - before)
                if verdict.correct != case["expect"]:
                    (argued if case["id"] in POLICY else wrong).append(case["id"])
        created = os.listdir(folder)
        os.chdir(here)
    shown = f"{len(created)} files created, slowest {slowest:.2f} s CPU, mistakes {wrong}, policy {argued}"
    bar(
        f"adversarial (n={len(cases)}): no code, hang, crash, false verdict",
        shown,
        not created and not wrong and slowest <= 2.1,
    )


def generated(verifier: Verifier, peer: Verifier, count: int) -> None:
    """`count` unequal and as many equal pairs over all kinds: ours and math-verify, by kind."""
    pairs = importlib.import_module("tests.verify.pairs")
    kinds, totals = {name: [0] * 6 for name in sorted(pairs.KINDS)}, [0] * 6
    for same in (False, True):
        drawn = pairs.draw_pairs(count, same, seed=1)
        texts = [boxed(pair.answer) for pair in drawn], [pair.gold for pair in drawn]
        verdicts = zip(drawn, verifier.check_many(*texts), peer.check_many(*texts), strict=True)
        for pair, ours, theirs in verdicts:
            for row in (kinds[pair.kind], totals):
                for at, add in enumerate((1, ours.correct is not same, theirs.correct is not same)):
                    row[3 * same + at] += add
    print(f"{len(kinds)} kinds of generated pairs: false positives of the unequal, false negatives of the equal")
    for name, row in (*kinds.items(), ("all", totals)):
        shown = [f"{row[at]} of {row[at // 3 * 3]}" for at in (1, 2, 4, 5)]
        print("| {} | {} | {} | {} | {} |".format(name.replace("_", " "), *shown))
    bar(
        f"generated (n={2 * count}, {len(kinds)} kinds): no fp, fn < 5%",
        f"ours {totals[1]} fp, {totals[4] / count:.1%} fn; math-verify {totals[2]} fp, {totals[5] / count:.1%} fn",
        totals[1] == 0 and totals[4] < 0.05 * count and len(kinds) >= 40,
    )


def reported(verifier: Verifier, peer: Verifier) -> None:
    """Cases after public reports on graders, by kind: how many are decided as expected, ours and math-verify."""
    rows = [json.loads(line) for line in open(DATA / "verifier" / "reports.jsonl", encoding="utf-8")]
    kinds: dict[str, list[int]] = {}
    accepted = 0
    for row in rows:
        text = boxed(row["text"]) if row["mode"] == "a" else row["text"]
        ours = verifier.check(text, row["gold"], loose=row["mode"] == "l").correct
        theirs = peer.check(text, row["gold"]).correct
        counts = kinds.setdefault("plain reports" if row["kind"].startswith("report") else row["kind"], [0, 0, 0])
        for place, right in enumerate((True, ours == row["expected"], theirs == row["expected"])):
            counts[place] += right
        accepted += ours and not row["expected"]
    for kind, (total, ours, theirs) in sorted(kinds.items()):
        print(f"| {kind} | {total} | {ours} | {theirs} |")
    sums = [sum(counts[place] for counts in kinds.values()) for place in range(3)]
    shown = f"ours {sums[1]}, math-verify {sums[2]}; unequal accepted {accepted}"
    bar(f"reported cases (n={sums[0]}): >= 95%, no unequal one", shown, sums[1] >= 0.95 * sums[0] and not accepted)


BOMB = "\\boxed{\\sum_{k=1}^{9999}\\frac{\\sin(k^2)}{k\\sqrt{k+1}}}"


def resident() -> float:
    """Resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def bomb(verifier: Verifier) -> None:
    """Others keep being served while one thread waits for a comparison that never ends."""
    verifier.warm()
    before, slowest = resident(), 0.0
    thread = threading.Thread(target=verifier.check, args=(BOMB, "\\ln 2"))
    thread.start()
    count = 0
    while thread.is_alive() and count < 400:
        start = time.perf_counter()
        assert verifier.check(f"\\boxed{{\\sqrt{{{4 * count + 8}}}}}", f"2\\sqrt{{{count + 2}}}").correct
        slowest = max(slowest, time.perf_counter() - start)
        count += 1
        time.sleep(0.004)
    thread.join()
    shown = f"{count} answers meanwhile, slowest {slowest * 1000:.0f} ms, parent grew {resident() - before:.0f} MB"
    shown += f" (load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    bar("a bomb in one thread: others < 100 ms, parent < 50 MB", shown, slowest < 0.1 and resident() - before < 50)


def _burn(stop: float) -> None:
    while time.time() < stop:
        sum(range(10000))


def under_load(rows: list[dict]) -> None:
    """The same pairs, idle and with two processes burning all cores."""
    sides = []
    for load in (0, 2):
        burners = [
            multiprocessing.get_context("spawn").Process(target=_burn, args=(time.time() + 25,), daemon=True)
            for _ in range(load)
        ]
        for burner in burners:
            burner.start()
        with Verifier(2) as verifier:
            sides.append(
                [
                    v[:4]
                    for v in verifier.check_many(
                        [boxed(r["pred"]) for r in rows] + [BOMB], [r["gold"] for r in rows] + ["\\ln 2"]
                    )
                ]
            )
        for burner in burners:
            burner.terminate()
    differing = sum(a != b for a, b in zip(*sides, strict=True))
    bar("verdicts idle and under two busy cores: identical", f"{differing} of {len(rows) + 1} differ", not differing)


CELL = """
import sys; sys.path.insert(0, {here!r})
import verify
print("verdicts", verify.digest(verify.everywhere_rows()))
"""


def everywhere_rows() -> list[dict]:
    """Every third labelled answer: enough to differ, quick enough to repeat."""
    rows = [json.loads(line) for line in open(DATA / "verifier" / "pairs.jsonl", encoding="utf-8")]
    return [row for row in rows if row["track"] == "answer"][::3]


def digest(rows: list[dict]) -> str:
    """A fingerprint of all verdicts but their times."""
    with Verifier(2) as verifier:
        verdicts = verifier.check_many([boxed(row["pred"]) for row in rows], [row["gold"] for row in rows])
    return hashlib.sha256(json.dumps([verdict[:4] for verdict in verdicts]).encode()).hexdigest()[:16]


def _from_a_cell() -> str:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.format(here=str(HERE)))])
    done = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return done.cells[0].outputs[-1]["text"].split()[-1]


def everywhere() -> None:
    """The same verdicts from the main thread, another thread, asyncio, a forked child and a Jupyter cell."""
    rows, queue = everywhere_rows(), multiprocessing.get_context("fork").SimpleQueue()
    seen = {"main": digest(rows)}
    with ThreadPoolExecutor(1) as threads:
        seen["thread"] = threads.submit(digest, rows).result()

    async def inside() -> str:
        return digest(rows)

    seen["asyncio"] = asyncio.run(inside())
    child = multiprocessing.get_context("fork").Process(target=lambda: queue.put(digest(rows)))
    child.start()
    seen["fork"] = queue.get()
    child.join()
    seen["cell"] = _from_a_cell()
    bar("thread, asyncio, forked child, Jupyter cell: same verdicts", f"{seen}", len(set(seen.values())) == 1)


def throughput(rows: list[dict], ours: float, theirs: float) -> None:
    """Pairs per CPU second, cold; then each pair LOOKS times, ours cached."""
    bar(
        "throughput, cold: >= 2x math-verify",
        f"{len(rows) / ours:.0f} against {len(rows) / theirs:.0f} pairs per CPU s ({theirs / ours:.1f}x)",
        theirs >= 2 * ours,
    )
    with Verifier(1) as verifier:
        _, first = run(verifier, rows)
        warm = sum(run(verifier, rows)[1] for _ in range(LOOKS - 1))
    ratio = theirs * LOOKS / (first + warm)
    cached = theirs * (LOOKS - 1) / max(warm, 1e-9)
    bar(
        f"warm, {LOOKS} samples a problem: >= 20x",
        f"{cached:.0f}x once cached, {ratio:.1f}x with the first look",
        cached >= 20,
    )


def main() -> int:
    """All bars; the exit code says whether they hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5000, help="generated pairs of either sort")
    count = parser.parse_args().pairs
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    rows = [json.loads(line) for line in open(DATA / "verifier" / "pairs.jsonl", encoding="utf-8")]
    judged = {entry["id"]: entry["reason"] for entry in yaml.safe_load((HERE / "verify_labels.yaml").read_text())}
    answers = [row for row in rows if row["track"] == "answer"]
    with Verifier(1) as verifier, Peer(1) as peer:
        cold_ours, cpu_ours = run(verifier, answers)
        cold_theirs, cpu_theirs = run(peer, answers)
        responses = [row for row in rows if row["track"] != "answer"]
        ours, theirs = cold_ours | run(verifier, responses)[0], cold_theirs | run(peer, responses)[0]
    accuracy(rows, ours, theirs, set(judged))
    for row in rows:
        if row["id"] in judged:
            print(f"      label {row['id']} says {row['label']}, ours {ours[row['id']]}: {judged[row['id']]}")
    for name, reason in POLICY.items():
        print(f"      policy {name}: {reason}")
    with Verifier(2) as verifier:
        against_themselves(verifier)
        adversarial(verifier)
        bomb(verifier)
        with Peer(2) as peer:
            reported(verifier, peer)
            generated(verifier, peer, count)
    under_load(answers)
    everywhere()
    throughput(answers, cpu_ours, cpu_theirs)
    return 0 if all(passed for _, passed in results) else 1


if __name__ == "__main__":
    sys.exit(main())
