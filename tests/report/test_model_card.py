"""The model card of a run, and what would go to the hub: no upload without --yes, none of a secret."""

import json
import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import yaml
from huggingface_hub import constants

from lead_kit import cli
from lead_kit.report import export_run, model_card
from lead_kit.runs import files, find, manifest
from tests.small import use_root


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A trained run: its start from the hub, its data from a set of the hub, a model of two files."""
    use_root(monkeypatch, tmp_path, files, find, manifest, export_run, model_card)
    record(tmp_path / "runs/data", {"dataset": "owner/problems:train"})
    record(tmp_path / "runs/sft", {"model": "owner/base-1.5B", "train_data": "runs/data/sft.parquet"})
    parameters = {"model": "runs/sft/model", "train_data": "runs/data/train.parquet", "seed": 3, "arm": "lead"}
    folder = record(tmp_path / "runs/mine", parameters | {"estimator": "lead", "rewards": ["correct"]})
    (folder / "model").mkdir()
    (folder / "model/config.json").write_text("{}")
    (folder / "model/model.safetensors").write_bytes(b"\0" * 1234)
    return folder


def record(folder, parameters):
    attempt = {"status": "done", "code": "abc", "git": {"commit": "c1"}}
    content = {"notebook": "notebooks/03_grpo.ipynb", "status": "done", "parameters": parameters}
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(content | {"attempts": [attempt], "summary": {"pass@1": 0.5}}))
    return folder


def test_a_card_names_start_data_method_and_limits_as_the_hub_reads_them(run, capsys):
    assert cli.main(["card", "mine"]) == 0 and "runs/mine/README.md" in capsys.readouterr().out
    _, head, text = (run / "README.md").read_text().split("---\n", 2)
    head = yaml.safe_load(head)
    assert (head["base_model"], head["datasets"]) == (["owner/base-1.5B"], ["owner/problems"])
    assert "grpo" in head["tags"] and head["metrics"] == ["accuracy"]
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        *("Method", "What was run", "By which code", "On which data", "Result", "Limits")
    ]
    assert "- estimator: `lead`" in text and "pass@1" in text and "one seed" in text


def test_a_push_only_prints_its_files_unless_it_is_confirmed(run, capsys):
    assert cli.main(["push", "mine", "me/mine"]) == 2 and "`lead card mine` writes it" in capsys.readouterr().err
    cli.main(["card", "mine"])
    capsys.readouterr()
    assert cli.main(["push", "mine", "me/mine"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[-1] for line in out.splitlines()[:3]] == ["README.md", "config.json", "model.safetensors"]
    assert "1,234" in out and "nothing was uploaded" in out


def test_a_file_with_a_key_is_refused_and_the_key_is_not_printed(run, capsys):
    cli.main(["card", "mine"])
    key = "hf_" + "a1B2" * 6
    (run / "model/config.json").write_text(json.dumps({"token": key}))
    assert cli.main(["push", "mine", "me/mine", "--yes"]) == 2
    out, err = capsys.readouterr()
    assert "holds what looks like a key" in err and key not in out + err


class Hub(BaseHTTPRequestHandler):
    """The three answers of a hub that an upload needs; `received` keeps what was sent."""

    received: ClassVar[dict] = {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path.endswith("/commit/main"):
            lines = [json.loads(line) for line in body.splitlines()]
            sent = [line["value"] for line in lines if line["key"] == "file"]
            self.received |= {file["path"]: b64decode(file["content"]) for file in sent}
            answer = {
                "commitOid": "0" * 40,
                "commitUrl": f"http://{self.headers['Host']}/me/mine/commit/0",
                "success": True,
            }
        elif self.path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            answer = {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        else:
            self.received |= json.loads(body)
            answer = {"url": f"http://{self.headers['Host']}/me/mine", "name": "me/mine"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        """No line for each request."""


def test_a_confirmed_push_sends_card_and_model_to_a_private_repository(run, capsys, monkeypatch):
    cli.main(["card", "mine"])
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        code = cli.main(["push", "mine", "me/mine", "--yes"])
        server.shutdown()
    assert code == 0, capsys.readouterr().err
    assert Hub.received["visibility"] == "private" and Hub.received["model.safetensors"] == b"\0" * 1234
    assert Hub.received["README.md"] == (run / "README.md").read_bytes() and "config.json" in Hub.received
