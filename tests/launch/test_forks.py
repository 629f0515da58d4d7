"""Children that are forks: a signal that comes at once is not lost, and a signal for a kernel is for it alone."""

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

LATE = """\
import asyncio, os, sys, time
from lead_kit.launch import forks, kernel
begin = os.setsid
os.setsid = lambda: (time.sleep(0.5), begin())  # a child that waits for a core
kernel.Provisioner.waiting = forks.Waiting(lambda: time.sleep(600))
one = kernel.Provisioner()
asyncio.run(one.launch_kernel(["python", "-f", "none"], env=dict(os.environ)))
assert one.pgid == one.pid != os.getpgid(0)
one.process.kill()"""


def test_a_signal_that_comes_before_the_child_has_handlers_ends_it():
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_kernel_that_begins_late_is_not_taken_for_a_member_of_this_group():
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
