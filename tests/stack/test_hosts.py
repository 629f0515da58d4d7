"""One run on two hosts: two network namespaces, joined by a cable, that share a folder."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from lead_kit.runs.log_files import read_metrics
from tests.small import FINISH, MARK, RANKS, SETTLE, STARTED, mark, write_notebook

WAIT = 600  # seconds for a run of a few, on a busy machine
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)


@pytest.fixture
def hosts():
    """The names of two namespaces that reach each other by ADDRESSES."""
    names = [f"lead{os.getpid()}{side}" for side in "ab"]
    if not shutil.which("ip") or os.geteuid():
        pytest.skip("needs root and the command ip, to make network namespaces")
    if error := ip("netns", "add", names[0]).stderr:
        pytest.skip(f"network namespaces are not allowed here: {error.strip()}")
    with contextlib.ExitStack() as ends:
        ends.callback(ip, "netns", "del", names[0])
        made = [ip("netns", "add", names[1])]
        ends.callback(ip, "netns", "del", names[1])
        made += [
            ip("link", "add", "wire0", "netns", names[0], "type", "veth", "peer", "name", "wire1", "netns", names[1])
        ]
        for name, address, wire in zip(names, ADDRESSES, ("wire0", "wire1"), strict=True):
            made += [ip("-n", name, "addr", "add", f"{address}/24", "dev", wire)]
            made += [ip("-n", name, "link", "set", device, "up") for device in (wire, "lo")]
        assert [m.stderr for m in made if m.returncode] == []
        yield names


def start(root, name, node, *words, rendezvous=f"{ADDRESSES[0]}:29511"):
    """`lead run` of the two-host job on one of the hosts."""
    place = ["--nproc", "2", "--nodes", "2", "--node-rank", str(node), "--rendezvous", rendezvous]
    command = [sys.executable, "-m", "lead_kit.cli", "run", "small", *place, *words]
    outer = ("RANK", "WORLD_SIZE", "LEAD_OWNER", "LEAD_NPROC", "LEAD_RUN", "GLOO_SOCKET_IFNAME")
    variables = {k: v for k, v in os.environ.items() if k not in outer}
    variables |= {"LEAD_ROOT": str(root), "OMP_NUM_THREADS": "1", MARK: mark()}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # without --uts all would bear one name
    named = ["unshare", "--uts", "sh", "-c", f'hostname host{node} && exec "$@"', "sh"]
    process = subprocess.Popen([*named, "ip", "netns", "exec", name, *command], cwd=root, env=variables, **pipes)
    STARTED.append(process)
    return process


def run_on_both(root, names, *words):
    """(exit code, stdout, stderr) of each host."""
    both = [start(root, name, node, *words) for node, name in enumerate(names)]
    texts = [process.communicate(timeout=WAIT) for process in both]
    return [(process.returncode, *text) for process, text in zip(both, texts, strict=True)]


@pytest.mark.slow
def test_two_hosts_share_one_run_with_one_writer(tmp_path, hosts):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, RANKS, FINISH)
    first, second = run_on_both(tmp_path, hosts)
    assert first[0] == 0, first
    assert second[0] == 0, second
    folder = tmp_path / "runs/small"
    assert [row["reward"] for row in read_metrics(folder)] == [1.0 + 2 + 3 + 4]
    kept = json.loads((folder / "run.json").read_text())
    assert kept["status"] == "done" and [a["writer"].split()[-1] for a in kept["attempts"]] == ["host0"]
    paths = [folder / "notebook.ipynb", *(folder / f"ranks/{rank}.ipynb" for rank in (1, 2, 3))]
    executed = [json.loads(path.read_text())["metadata"]["papermill"]["host"] for path in paths]
    assert executed == ["host0", "host0", "host1", "host1"]


@pytest.mark.slow
def test_a_rank_that_fails_on_one_host_ends_the_other(tmp_path, hosts):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, RANKS, FINISH)
    first, second = run_on_both(tmp_path, hosts, "-p", "fail", "rank")
    assert first[0] == second[0] == 1
    assert "KeyError: 'boom' on rank 3 of host1" in first[2]
    reason = json.loads((tmp_path / "runs/small/run.json").read_text())["attempts"][-1]["reason"]
    assert reason == "'boom'"


@pytest.mark.slow
def test_a_rendezvous_that_this_host_does_not_have_is_refused(tmp_path, hosts):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, RANKS, FINISH)
    process = start(tmp_path, hosts[1], 0)
    err = process.communicate(timeout=WAIT)[1]
    assert process.returncode == 2 and "--rendezvous 10.77.0.1:29511: Cannot assign requested address" in err
