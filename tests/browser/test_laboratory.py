"""What a user sees in JupyterLab: Run All, live figures, Interrupt, a closed tab, hostile rollouts that do nothing."""

import json
import time

import pytest

from lead_kit.runs.files import read_jsonl
from tests.browser.laboratory import Server, Tab, playwright, prepared
from tests.small import call
from tests.test_hostile import infected

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.xdist_group("browser")]
STEPS = 16  # so many that a fast machine is still training when a test has looked
GRPO = {"steps": STEPS, "batch_size": 32, "max_tokens": 32, "validate_every": 1, "validation_samples": 1}
FRAMES = """() => { window.frames_seen = new Set(); new MutationObserver(() => document.querySelectorAll(
'.jp-OutputArea-output img').forEach(one => window.frames_seen.add(one.src))).observe(document.body,
{subtree: true, childList: true, attributes: true, attributeFilter: ['src']}); }"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, forks):
    """A server whose runs/ holds a small model after SFT, so that Run All of 00 and 03 starts at once."""
    start, options = playwright()
    root = prepared(tmp_path_factory.mktemp("browser"))
    code, _, err = call(root, "run", "02_sft", "-p", "steps", "40", "--brief", **forks)
    assert code == 0, err
    one = Server(root, forks)
    with start as play:
        one.browser = play.chromium.launch(**options)
        yield one
        one.browser.close()
    one.close()


def state(server, run):
    path = server.root / "runs" / run / "run.json"
    return json.loads(path.read_text())["status"] if path.is_file() else ""


def steps_of(server, run):
    path = server.root / "runs" / run / "metrics.jsonl"
    rows = read_jsonl(path, torn=True) if path.is_file() else []
    return [row["step"] for row in rows if row["split"] == "train"]


def test_run_all_of_the_tour_shows_its_figures_and_no_warning(server):
    tab = Tab(server.browser, server, "00_tour")
    tab.run_all()
    tab.until(lambda: state(server, "00_tour") == "done" and tab.finished())
    assert tab.faults() == []
    assert tab.count(".jp-OutputArea-output img") >= 1 and tab.count(".jp-MarkdownCell mjx-container") > 5
    assert tab.count(".jp-OutputArea-output table") >= 3
    tab.page.close()


def test_a_training_is_seen_live_and_interrupt_then_run_all_resumes(server):
    server.write("03_grpo", run_name="live", **GRPO)
    tab = Tab(server.browser, server, "03_grpo")
    tab.page.evaluate(FRAMES)
    tab.run_all()
    tab.until(lambda: len(steps_of(server, "live")) >= 3)
    tab.menu("Kernel", "Interrupt Kernel")
    tab.until(tab.finished)
    [told] = tab.faults()
    reached = steps_of(server, "live")[-1]
    assert f"interrupted at {reached} of {STEPS}; Run All resumes" in told and "Traceback" not in told
    assert state(server, "live") != "done"
    tab.run_all()
    tab.until(lambda: state(server, "live") == "done" and tab.finished())
    assert tab.faults() == [] and steps_of(server, "live") == list(range(1, STEPS + 1))
    assert tab.page.evaluate("window.frames_seen.size") >= 5
    assert "best:" in tab.text() and "worst:" in tab.text()
    tab.page.close()


def test_a_tab_may_be_closed_and_opened_again(server):
    server.write("03_grpo", run_name="closed", **GRPO | {"steps": 24})
    tab = Tab(server.browser, server, "03_grpo")
    tab.run_all()
    tab.until(lambda: len(steps_of(server, "closed")) >= 2)
    tab.page.close(run_before_unload=False)
    code, out, err = call(server.root, "show", "closed")
    assert code == 0 and "is running" in out, err
    while state(server, "closed") != "done":
        time.sleep(0.2)
    tab = Tab(server.browser, server, "03_grpo")
    tab.page.locator(".jp-CodeCell").last.click()
    tab.menu("Run", "Run Selected Cell")
    tab.until(lambda: tab.finished() and tab.count(".jp-OutputArea-output img"))
    assert tab.faults() == [] and "is done" in tab.text()
    tab.page.close()


def test_hostile_rollouts_are_inert_in_the_page(server):
    infected(server.root / "runs" / "closed")
    server.write("08_rollouts", training_run="runs/closed")
    tab = Tab(server.browser, server, "08_rollouts")
    tab.run_all()
    tab.until(lambda: state(server, "08_rollouts") == "done" and tab.finished())
    tab.page.wait_for_timeout(1000)  # for pictures that fail and formulas that are set late
    assert tab.faults() == []
    assert tab.page.evaluate("document.documentElement.hasAttribute('data-acted')") is False
    assert "onerror=" in tab.text() and "⟨U+001B⟩" in tab.text()
    assert tab.count(".jp-OutputArea-output mjx-container") == 0
    tab.page.locator("table.dataTable tbody tr").first.click()  # a row of the grid opens its group
    tab.until(lambda: "Gold answer" in tab.text())
    assert tab.page.evaluate("document.documentElement.hasAttribute('data-acted')") is False
    tab.page.close()
