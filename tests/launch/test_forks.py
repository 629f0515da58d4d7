"""Children that are forks: a signal that comes at once is not lost."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
SIGNALLED = """\
import signal, time
from lead_kit.launch import forks
signal.signal(signal.SIGTERM, lambda *_: None)  # a handler of the parent, which a child must not run
for _ in range(50):
    child = forks.Fork(lambda: time.sleep(600), ())
    child.terminate()
    assert child.wait(60) == -signal.SIGTERM
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())"""


def test_a_signal_that_comes_before_the_child_has_handlers_ends_it():
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
