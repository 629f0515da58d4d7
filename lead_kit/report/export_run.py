"""`lead export`: one HTML file of a run: its card, then its executed notebook.

It opens without a network and runs no script.
Formulas are MathML, figures are inside the file. HTML that cells have printed is cleaned; a content security policy
forbids scripts and everything that would be loaded, should something have passed.
"""

import base64
import html
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import bleach
import mistune
import pandas as pd
from bleach.css_sanitizer import CSSSanitizer
from latex2mathml.converter import convert
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from lead_kit.errors import InputError
from lead_kit.evaluate import graded_samples
from lead_kit.parameters import read_parameters
from lead_kit.report import tables
from lead_kit.runs.files import ROOT, shown, write_text
from lead_kit.runs.find import recorded_run
from lead_kit.runs.manifest import read_manifest
from lead_kit.safe_text import safe_line, safe_text

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """\
body { font: 16px/1.45 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #111; background: #fff }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .5em .7em; margin: .4em 0; font-size: .85em }
.highlight pre { background: #f6f6f6; border-left: 3px solid #bbb } .error { background: #fbe9e7 }
table { border-collapse: collapse; font-size: .85em; margin: .5em 0 } th, td { padding: .15em .6em; text-align: left }
tr { border-bottom: 1px solid #ddd } td { vertical-align: top; overflow-wrap: break-word } div { overflow-x: auto }
img { max-width: 100% }
.card { border: 1px solid #999; padding: .2em 1em 1em; margin-bottom: 2em } math { font-size: 1.05em }
"""
_NAMESPACE = ' xmlns="http://www.w3.org/1998/Math/MathML"'  # HTML needs none
_PRINTED, _SOURCE, _TABLE = 20_000, 100_000, 5_000_000  # characters shown of printed text, of source, of a table
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STYLE_SHEET = re.compile(r"<style\b.*?</style\s*>", re.DOTALL | re.IGNORECASE)
_TAGS = "b i em strong br p div span code pre h1 h2 h3 h4 ul ol li img table caption thead tbody tr th td sub sup hr"
_TAGS += " details summary"
_PROPERTIES = "background-color border color display font-weight height margin padding text-align"
_CSS = CSSSanitizer(allowed_css_properties=f"{_PROPERTIES} vertical-align white-space width".split())
_WIDGET = "application/vnd.jupyter.widget-view+json"
_VERSIONS = ("lead_kit", "torch", "transformers", "trl", "vllm", "unsloth")
_HASH = 16  # digits of a SHA-256 that are shown
_PICTURES = ("image/png", "image/jpeg", "image/svg+xml")


class _Renderer(mistune.HTMLRenderer):
    """Markdown as HTML: formulas as MathML, raw HTML escaped, only pictures that the notebook holds."""

    def inline_math(self, text: str) -> str:
        return _formula(text, "inline")

    def block_math(self, text: str) -> str:
        return _formula(text, "block")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        inside = url.startswith("data:image/")
        return f'<img alt="{html.escape(text)}" src="{html.escape(url)}">' if inside else html.escape(text)


def _formula(text: str, display: str) -> str:
    """A formula of LaTeX as MathML; one that the converter cannot read stays as it was written."""
    try:
        return convert(text.strip(), display=display).replace(_NAMESPACE, "")
    except Exception:  # noqa: BLE001  the converter's errors have no common class
        return f"<code>{html.escape(text)}</code>"


_markdown = mistune.create_markdown(renderer=_Renderer(escape=True), plugins=["table", "math", "strikethrough"])


def export_command(run: str, out: str | None = None) -> None:
    """Writes the document of a run, by default as NAME.html in its folder, and prints where it is."""
    folder = recorded_run(run)
    target = Path(out).expanduser().absolute() if out else folder / f"{folder.name}.html"
    write_text(target, document(folder))
    print(f"{shown(target)}: {target.stat().st_size / 1e6:.1f} MB, opens without a network")


def document(folder: Path) -> str:
    """The HTML of a run folder. Raises InputError where it holds no run or no executed notebook."""
    about = summary_card(folder)
    path = folder / "notebook.ipynb"
    if not path.is_file():
        raise InputError(f"{shown(folder)} has no executed notebook: `lead run` writes notebook.ipynb there")
    try:
        cells = [_cell_html(cell) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{shown(path)} is not a notebook") from None
    sections = "".join(f"<h3>{title}</h3>{_markdown(text)}" for title, text in about.items())
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    style = _STYLE + HtmlFormatter().get_style_defs(".highlight")
    name = html.escape(folder.name)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<title>{name}</title><style>{style}</style></head><body>\n'
        f'<div class="card"><h2>{name}</h2>{sections}</div>\n' + "\n".join(cells) + "\n</body></html>\n"
    )


def _cell_html(cell: dict) -> str:
    """One cell and its outputs."""
    source = safe_text("".join(cell["source"]), _SOURCE)
    if cell["cell_type"] == "markdown":
        for name, kinds in cell.get("attachments", {}).items():
            packed = [f"(data:{kind};base64,{''.join(data)})" for kind, data in kinds.items() if kind in _PICTURES[:2]]
            source = source.replace(f"(attachment:{name})", "".join(packed[:1]))
        return _markdown(source)
    code = highlight(source, PythonLexer(), HtmlFormatter()) if source.strip() else ""
    return code + "".join(map(_output_html, cell.get("outputs", [])))


def _output_html(output: dict) -> str:
    """One output: a picture, cleaned HTML, Markdown or text; widgets, which need a live notebook, are left out."""
    kind = output["output_type"]
    if kind == "stream":
        return _printed("".join(output["text"]))
    if kind == "error":
        return _printed("\n".join(output["traceback"]), "error")
    data = {name: "".join(part) for name, part in output["data"].items() if isinstance(part, str | list)}
    if _WIDGET in output["data"]:
        return ""
    for name in _PICTURES:
        if name in data:
            packed = data[name] if name != _PICTURES[-1] else base64.b64encode(data[name].encode()).decode()
            return f'<img alt="" src="data:{name};base64,{html.escape("".join(packed.split()))}">'
    for name, rendered in (("text/html", _cleaned), ("text/markdown", _markdown)):
        if name in data:
            return rendered(safe_text(data[name], _TABLE))
    return _printed(data.get("text/plain", ""))


def _printed(text: str, kind: str = "") -> str:
    """Text as a terminal shows it: of a line that was redrawn, its last state."""
    if not text.strip():
        return ""
    last = "\n".join(part.rstrip("\r").rpartition("\r")[2] for part in _COLOUR.sub("", text).split("\n"))
    return f'<pre class="{kind}">{html.escape(safe_text(last, _PRINTED))}</pre>'


def _cleaned(text: str) -> str:
    """HTML of a cell, of which only tables, plain markup and pictures inside the file are left."""
    text = _STYLE_SHEET.sub("", text)
    page = bleach.clean(text, set(_TAGS.split()), _allowed, protocols={"data"}, strip=True, css_sanitizer=_CSS)
    return f"<div>{page}</div>"


def _allowed(tag, name, value):
    return name in ("style", "colspan", "rowspan") or (tag, name) == ("img", "src") and value.startswith("data:image/")


def summary_card(folder: Path) -> dict[str, str]:
    """Titles and Markdown of what was run, by which code, on which data, with what result.

    Raises InputError where the folder holds no run.
    """
    manifest = read_manifest(folder, complete=True)
    if manifest is None:
        raise InputError(f"{shown(folder)} is no run: expected a folder with run.json")
    inputs = [(name, mark or {}) for name, mark in manifest.get("inputs", {}).items()]
    rows = [(name, mark.get("sha256", "")[:_HASH], mark.get("bytes", "")) for name, mark in inputs]
    return {
        "What was run": _rows(_what_was_run(manifest)),
        "By which code": _rows(_which_code(manifest)),
        "On which data": tables.markdown(pd.DataFrame(rows, columns=["file", "SHA-256", "bytes"])),
        "Result": _result(folder, manifest),
    }


def _rows(values: dict) -> str:
    """A Markdown table of two columns from names and values; empty values are left out."""
    return tables.markdown(pd.DataFrame([pair for pair in values.items() if pair[1]], columns=["", " "]))


def _what_was_run(manifest: dict) -> dict[str, str]:
    """Name, notebook, state, times and the parameters that were given."""
    parameters, machine = manifest["parameters"], manifest["attempts"][-1].get("machine", {})
    times = [(attempt["start"], attempt["end"]) for attempt in manifest["attempts"] if attempt.get("end")]
    took = sum((datetime.fromisoformat(end) - datetime.fromisoformat(start) for start, end in times), timedelta())
    notebook = ROOT / manifest["notebook"]
    defaults = {name: one.default for name, one in read_parameters(notebook).items()} if notebook.is_file() else {}
    names = [name for name in parameters if name in defaults and name != "run_name"]
    changed = {name: parameters[name] for name in names if parameters[name] != defaults[name]}
    changed = ", ".join(f"{name} = {safe_line(v)}" for name, v in (changed or manifest.get("given", {})).items())
    processor = f"{machine.get('cores', '?')} cores of {machine.get('cpu', 'an unknown processor')}"
    return {
        "run": manifest.get("run", ""),
        "notebook": manifest["notebook"],
        "state": manifest["status"],
        "arm": parameters.get("arm", ""),
        "seed": str(parameters.get("seed", "")),
        "parameters that differ from the notebook's": changed or "none",
        "started": manifest.get("start", ""),
        "took": str(took).partition(".")[0] if times else "",
        "on": ", ".join(machine.get("gpus") or [processor]),
    }


def _which_code(manifest: dict) -> dict[str, str]:
    """Commit, hash of the notebook's code, sources of the user's own functions, versions."""
    last = manifest["attempts"][-1]
    git, packages = last.get("git", {}), last.get("packages", {})
    changed = " with changes that are not committed" if git.get("dirty") else ""
    sources = {f"own {name}": f"{code['file']}, SHA-256 {code['sha256'][:_HASH]}"
               for name, code in manifest.get("own", {}).items()}  # fmt: skip
    return {
        "commit": f"{git['commit']}{changed}" if git.get("commit") else "not known",
        "SHA-256 of the notebook's code": (last["code"] or "")[:_HASH],
        "Python": last.get("machine", {}).get("python", ""),
        **sources,
        **{name: packages[name] for name in _VERSIONS if name in packages},
    }


def _result(folder: Path, manifest: dict) -> str:
    """The result with its interval, as Markdown: the run's own table, else that of its samples, else its summary."""
    table = folder / "table.md"
    if table.is_file():
        return table.read_text(encoding="utf-8")
    frame = _samples(folder, manifest)
    if frame is None:
        summary = manifest.get("summary", {}).items()
        values = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in summary}
        return _rows(values) + "\nThis notebook has no samples, so these numbers have no interval.\n"
    try:
        frame, _ = graded_samples.require_rectangular(frame)
        return tables.evaluation(graded_samples.suites(frame)).text
    except InputError as error:
        return f"No result: {safe_line(error)}\n"


def _samples(folder: Path, manifest: dict) -> pd.DataFrame | None:
    """The samples of an evaluation, or of a training run's first and last validation; None where there are none."""
    if (folder / "samples.jsonl").is_file():
        return graded_samples.load_samples([str(folder)])
    files = sorted((folder / "validation").glob("step_*.parquet"))
    frames = []
    for file in dict.fromkeys([*files[:1], *files[-1:]]):
        step = int(file.stem.removeprefix("step_"))
        arm = f"step {step}" if step else "before training"
        labels = {"arm": arm, "run": arm, "benchmark": "validation", "seed": manifest["parameters"].get("seed", 0)}
        frames.append(graded_samples.read_samples(file).assign(**labels))
    return pd.concat(frames, ignore_index=True) if frames else None
