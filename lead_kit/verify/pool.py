"""Verifier: checks in processes that can be killed; verdicts cached; safe from threads, asyncio and forks."""

import contextlib
import os
import signal
import socket
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lead_kit.verify import compare, extraction, fork_server, latex_scan, rationals
from lead_kit.verify.normal_form import normal
from lead_kit.verify.verdict import Verdict

_STALLED = 300.0  # seconds without an answer after which a worker counts as lost; its own CPU clock ends it long before
_CACHE = 1 << 16  # (gold, answer) pairs kept
_RESTARTS = 3  # servers that may die over one pair before the check fails
_KILLED = ("rejected", "the comparison ended its worker twice (SIGKILL)", "worker")
_SHOWN = 2000  # characters of an answer that a verdict repeats
_ORDERS = ("any", "given")  # of the items of a list: free, or as the gold has them
_PROGRESS_FROM = 2000  # a list this long shows its progress
_ALL: "weakref.WeakSet[Verifier]" = weakref.WeakSet()


class _Worker(NamedTuple):
    """One worker process, as seen from here."""

    pid: int
    sock: socket.socket
    server: fork_server.Server


class Verifier:
    """Compares answers with golds.

    workers: processes at most, and the width of `check_many`; a thread that finds all of them busy waits for one.
    cpu_seconds: CPU time one comparison may take, measured on the worker's own clock. memory_mb: what one worker may
    allocate, so workers · memory_mb bounds them all. Nothing is started before the first pair that needs algebra. Use
    as a context manager, or call `close`.
    """

    judge = "lead_kit.verify.sympy_judge"  # the module whose `decide` the workers run

    def __init__(self, workers: int = 2, cpu_seconds: float = 2.0, memory_mb: int = 1024):
        if workers < 1 or cpu_seconds <= 0 or memory_mb < 64:
            limits = f"workers={workers}, cpu_seconds={cpu_seconds}, memory_mb={memory_mb}"
            raise ValueError(f"{limits}: expected workers >= 1, cpu_seconds > 0 and memory_mb >= 64")
        self.workers, self.cpu_seconds, self.memory_mb = workers, cpu_seconds, memory_mb
        self._reset()
        _ALL.add(self)

    def _reset(self) -> None:
        """A clean slate; also what a forked child starts from, as the workers belong to its parent."""
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(self.workers)  # a worker lives only in the idle list or under a slot
        self._idle: list[_Worker] = []
        self._server: fork_server.Server | None = None
        self.algebra_seconds = 0.0  # CPU time of the comparisons that workers made
        self._cache: OrderedDict[tuple[str, str, str], tuple[str, str, str]] = OrderedDict()

    def __reduce__(self) -> tuple:
        """A copy, also by pickle, is a verifier with the same limits and processes of its own."""
        return type(self), (self.workers, self.cpu_seconds, self.memory_mb)

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; the verifier can be used again and starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
            running, self._server = self._server, None
        if running is not None:
            for each in idle:
                self._discard(each)
            fork_server.release(running)

    def warm(self) -> "Verifier":
        """Start the processes now, so that the first hard pair does not wait for them."""
        with self._slots:
            self._give(self._take())
        return self

    def cpu_time(self) -> float:
        """CPU seconds used so far by the server, the workers kept and those buried."""
        with self._lock:
            if self._server is None:
                return 0.0
            return sum(map(fork_server.cpu_time, [self._server.process.pid, *(each.pid for each in self._idle)]))

    def check(
        self,
        completion: str,
        gold: str,
        *,
        loose: bool = False,
        answer_region: str = "after_think",
        problem: str = "",
        order: str = "any",
    ) -> Verdict:
        """Is the answer of this completion equal to the gold? Never raises for what a model wrote.

        problem: the text of the problem, if an answer that only repeats a part of it is to be refused.
        order: `given` if the order of a list counts, `any` if not.
        """
        answer = self._at_once(completion, gold, loose, answer_region)
        return answer if isinstance(answer, Verdict) else self.compare(answer, gold, problem, order)

    def compare(self, answer: str, gold: str, problem: str = "", order: str = "any") -> Verdict:
        """Like `check`, for an answer that is already extracted."""
        start = time.perf_counter()
        if order not in _ORDERS:
            raise ValueError(f"order is {order!r}, expected one of {', '.join(_ORDERS)}")
        decided = self._decide(answer, gold, order)
        if decided[0] == "correct" and problem:
            if compare.repeats_problem(normal(answer), normal(extraction.gold_text(gold)), problem):
                decided = "wrong", "it stands in the problem", "problem"
        status, reason, path = decided
        return Verdict(status, answer[:_SHOWN], reason, path, time.perf_counter() - start)

    def check_many(
        self,
        completions: Sequence[str],
        golds: Sequence[str],
        *,
        loose: bool = False,
        answer_region: str = "after_think",
        problems: Sequence[str] | None = None,
        order: str = "any",
    ) -> list[Verdict]:
        """Verdicts in the order given. Long lists show their progress."""
        problems = [""] * len(golds) if problems is None else problems
        if not len(completions) == len(golds) == len(problems):
            counts = f"{len(completions)} completions, {len(golds)} golds and {len(problems)} problems"
            raise ValueError(f"{counts}: expected as many of each")
        pairs = zip(completions, golds, strict=True)
        verdicts = [self._at_once(completion, gold, loose, answer_region) for completion, gold in pairs]
        rest = [index for index, verdict in enumerate(verdicts) if not isinstance(verdict, Verdict)]
        with ThreadPoolExecutor(self.workers) as threads:
            left = ([verdicts[i] for i in rest], [golds[i] for i in rest], [problems[i] for i in rest])
            compared = threads.map(self.compare, *left, [order] * len(rest))
            try:
                for index, verdict in zip(rest, _progress(compared, len(rest)), strict=True):
                    verdicts[index] = verdict
            finally:
                threads.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest of the list
        return verdicts

    def check_any(self, completions: Sequence[str], golds: Sequence[Sequence[str]], **how) -> list[Verdict]:
        """`check_many` with several golds each: the verdict of the first that it equals, else that of the first."""
        repeats = [index for index, forms in enumerate(golds) for _ in forms]
        how |= {"problems": [how["problems"][index] for index in repeats]} if how.get("problems") else {}
        every = [gold for forms in golds for gold in forms]
        flat = iter(self.check_many([completions[index] for index in repeats], every, **how))
        rows = [[next(flat) for _ in forms] for forms in golds]
        return [next((verdict for verdict in row if verdict.correct), row[0]) for row in rows]

    def _at_once(self, completion: str, gold: str, loose: bool, answer_region: str) -> Verdict | str:
        """The verdict, if extraction or a comparison of digits gives it; else the extracted answer."""
        start = time.perf_counter()
        if not isinstance(completion, str):
            return Verdict("no_answer", "", f"the completion is {type(completion).__name__}, expected text", "extract")
        try:
            answer = extraction.extract(completion, loose, answer_region)
        except extraction.NestedBox as problem:
            return Verdict("rejected", "", str(problem), "extract", time.perf_counter() - start)
        if answer is None:
            opened = completion.rfind("<think>") > completion.rfind("</think>")
            reason = "no answer is stated" if loose else "no balanced \\boxed{} in the answer region"
            reason = "the thinking was opened and never closed" if opened else reason
            return Verdict("no_answer", "", reason, "extract", time.perf_counter() - start)
        decided = compare.quick(answer, gold) if isinstance(gold, str) else None
        return answer if decided is None else Verdict(decided[0], answer, *decided[1:], time.perf_counter() - start)

    def _decide(self, answer: str, gold: str, order: str) -> tuple[str, str, str]:
        """(status, reason, path), from here where arithmetic settles it, else from the cache or a worker."""
        if not isinstance(gold, str):
            return "gold_unparseable", f"the gold is {type(gold).__name__}, expected text", "gold"
        decided = compare.quick(answer, gold)
        if decided is not None:
            return decided
        if len(answer) > latex_scan.MAX_LENGTH:  # before the cache, which must not keep a megabyte
            return "rejected", latex_scan.why_refused(answer), "guard"
        key = (gold, answer, order)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        decided = self._decide_slowly(answer, gold, order)
        with self._lock:
            self._cache[key] = decided
            if len(self._cache) > _CACHE:
                self._cache.popitem(last=False)
        return decided

    def _decide_slowly(self, answer: str, gold: str, order: str) -> tuple[str, str, str]:
        if refusal := latex_scan.why_refused(answer):
            return "rejected", refusal, "guard"
        if refusal := latex_scan.why_refused(gold):
            return "gold_unparseable", f"the gold is refused: {refusal}", "gold"
        theirs, ours = normal(extraction.gold_text(gold)), normal(answer)
        decided = compare.exactly(theirs, ours, order)
        return decided if decided is not None else self._ask(theirs, ours, *([order] if order != "any" else []))

    def ask(self, answer: str, gold: str) -> Verdict:
        """The worker's judge alone on an extracted answer: no fast path, no cache. The guard still stands before it."""
        start = time.perf_counter()
        refusal = latex_scan.why_refused(answer) or latex_scan.why_refused(gold)
        status, reason, path = ("rejected", refusal, "guard") if refusal else self._ask(normal(gold), normal(answer))
        return Verdict(status, answer[:_SHOWN], reason, path, time.perf_counter() - start)

    def unreadable(self, gold: str) -> str:
        """Why a gold cannot be graded, or only by its spelling; empty if it can."""
        if refusal := latex_scan.why_refused(gold):
            return refusal
        text = normal(extraction.gold_text(gold))
        if reason := compare.missing_answer(text):
            return reason
        if rationals.value(text) is not None:
            return ""
        status, reason, _ = self._ask(text, text)
        return "" if status == "correct" else reason

    def sketch(self, text: str) -> complex | None:
        """A value of an expression in normal form: expressions of different values differ. None if it has none."""
        outcome = self._ask(text)
        return complex(*outcome) if len(outcome) == 2 else None

    def _ask(self, *pair: str) -> tuple[str, str, str]:
        """Hand one pair to a worker; a worker that dies over it is buried and the verdict says how it died.

        A server that dies is replaced and the pair asked again; RuntimeError if that does not help.
        """
        killed = ended = 0
        with self._slots:
            while True:
                try:
                    outcome = self._ask_once(pair)
                except fork_server.Ended:
                    ended += 1
                    if ended == _RESTARTS:
                        raise
                    continue
                if outcome is not None or killed:
                    return outcome or _KILLED
                killed += 1

    def _ask_once(self, pair: tuple[str, ...]) -> tuple[str, str, str] | None:
        """None if something else than the pair ended the worker (out of memory elsewhere, an administrator)."""
        mine = self._take()
        try:
            fork_server.send(mine.sock, pair)
            outcome = fork_server.receive(mine.sock)
        except TimeoutError:
            self._discard(mine)
            return "timeout", f"no answer within {_STALLED:.0f} s", "worker"
        except (EOFError, ConnectionError):
            mine.sock.close()
            code = mine.server.reap(mine.pid, kill=False)  # it has closed its socket, so it is dying already
            if code == -signal.SIGKILL:
                return None
            if code == -signal.SIGPROF:
                self._count(self.cpu_seconds)
                return "timeout", f"needs more than {self.cpu_seconds:g} s of CPU time", "worker"
            return "rejected", f"the comparison ended its worker ({_cause(code)})", "worker"
        except BaseException:  # Ctrl-C: the worker's answer would be read by the next caller
            self._discard(mine)
            raise
        self._give(mine)
        *outcome, seconds = outcome
        self._count(seconds)
        return tuple(outcome)

    def _count(self, seconds: float) -> None:
        with self._lock:
            self.algebra_seconds += seconds

    def _take(self) -> _Worker:
        with self._lock:
            if self._server is not None and self._server.dead:
                for each in self._idle:
                    each.sock.close()
                fork_server.release(self._server)
                self._idle, self._server = [], None
            if self._idle:
                return self._idle.pop()
            if self._server is None:
                self._server = fork_server.acquire(self.judge)
            running = self._server
        pid, sock = running.spawn(self.cpu_seconds, self.memory_mb << 20)
        sock.settimeout(_STALLED)
        return _Worker(pid, sock, running)

    def _give(self, mine: _Worker) -> None:
        with self._lock:
            if len(self._idle) < self.workers and self._server is mine.server:
                self._idle.append(mine)
                return
        self._discard(mine)

    def _discard(self, mine: _Worker) -> None:
        """End a worker. One whose server has died ends by itself when its socket closes."""
        mine.sock.close()
        with contextlib.suppress(fork_server.Ended):
            mine.server.reap(mine.pid, kill=True)


def _cause(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return "an error in the algebra" if code == fork_server.FAILED else f"exit code {code}"


def _progress(items: Iterable, total: int) -> Iterable:
    if total < _PROGRESS_FROM:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, total=total, desc="verify", mininterval=1.0)


def _forget() -> None:
    """In a forked child: drop the parent's workers without ending them, and take new locks."""
    for each in list(_ALL):
        for worker in each._idle:
            worker.sock.close()
        each._reset()
    fork_server.forget()


os.register_at_fork(after_in_child=_forget)
