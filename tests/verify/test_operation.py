"""The verifier where its surroundings are odd: signals that are ignored, values that are no text, copies, forks."""

import copy
import multiprocessing
import pickle
import socket
import subprocess
import sys
import threading
import time

import pytest

from lead_kit.verify import Verifier, check, check_many
from tests.verify.test_pool import BOMB

pytestmark = pytest.mark.slow  # starts worker processes
IGNORED = """
import signal
import time

from lead_kit.verify import Verifier
{way}
with Verifier(1) as verifier:
    right = verifier.check("\\\\boxed{{\\\\sqrt{{8}}}}", "2\\\\sqrt{{2}}").status
    start = time.time()
    costly = verifier.check({bomb!r}, "\\\\ln 2").status
    again = verifier.check("\\\\boxed{{\\\\sqrt{{12}}}}", "2\\\\sqrt{{3}}").status
print(right, costly, again, time.time() - start < 60)
"""


@pytest.mark.parametrize(
    "way",
    [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "signal.signal(signal.SIGPROF, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF, signal.SIGCHLD])",
    ],
)  # fmt: skip
def test_signals_that_a_launcher_ignores_or_blocks_change_no_verdict(way):
    script = IGNORED.format(way=way, bomb=BOMB)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert run.stdout.split() == ["correct", "timeout", "correct", "True"], run.stderr


def test_a_completion_that_is_no_text_is_no_answer_and_spoils_no_batch():
    verdict = check(None, "3")
    assert (verdict.status, verdict.reason) == ("no_answer", "the completion is NoneType, expected text")
    batch = check_many(["\\boxed{3}", None, 3, "\\boxed{\\sqrt{8}}"], ["3", "3", "3", "2\\sqrt2"])
    assert [each.status for each in batch] == ["correct", "no_answer", "no_answer", "correct"]
    assert [each.status for each in check_many(["\\boxed{3}"] * 2, [None, "3"])] == ["gold_unparseable", "correct"]
    assert [each.status for each in check_many(["\\boxed{3}"] * 2, ["3"] * 2, problems=[None, ""])] == ["correct"] * 2


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_of_a_verifier_has_its_limits_and_processes_of_its_own(duplicate):
    with Verifier(1, cpu_seconds=1.5, memory_mb=512).warm() as verifier, duplicate(verifier) as other:
        assert (other.workers, other.cpu_seconds, other.memory_mb) == (1, 1.5, 512)
        assert other.check("\\boxed{\\sqrt{8}}", "2\\sqrt{2}").correct
        assert {each.pid for each in other._idle}.isdisjoint(each.pid for each in verifier._idle)


def test_a_server_whose_owner_ends_in_the_middle_of_a_request_prints_nothing():
    command = "from lead_kit.verify.fork_server import main; main()"
    for request in (b"", b'{"do": "spawn", "cpu": 1, "memory": 67108864}', b'{"do": "reap", "pid": 1, "kill": false}'):
        here, there = socket.socketpair()
        server = subprocess.Popen(
            [sys.executable, "-c", command, str(there.fileno()), "lead_kit.verify.sympy_judge"],
            pass_fds=[there.fileno()], stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        there.close()
        if request:
            socket.send_fds(here, [request], [here.fileno()])
        here.close()
        assert server.communicate(timeout=60)[1] == ""


def test_pools_forked_in_the_middle_of_checks_give_the_same_verdicts_and_print_nothing(capfd):
    verifier, ended = Verifier(2), []

    def check_one(number):
        return verifier.check(f"\\boxed{{\\sqrt{{{4 * number}}}}}", f"2\\sqrt{{{number}}}").correct

    def keep_checking():
        for number in range(2, 10**6):
            if ended:
                return
            check_one(number)

    threads = [threading.Thread(target=keep_checking) for _ in range(3)]
    for thread in threads:
        thread.start()
    readers = []
    for _ in range(2):
        time.sleep(0.3)
        queue = multiprocessing.get_context("fork").SimpleQueue()
        child = multiprocessing.get_context("fork").Process(
            target=lambda queue=queue: queue.put([check_one(number) for number in range(11, 15)])
        )
        child.start()
        readers.append((queue, child))
    answers = [queue.get() for queue, _ in readers]
    ended.append(True)
    for process in (*threads, *(child for _, child in readers)):
        process.join()
    verifier.close()
    assert answers == [[True] * 4] * 2 and "Traceback" not in capfd.readouterr().err
