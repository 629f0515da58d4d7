"""Collects the pages of the site in build/pages: the README, docs/, executed notebooks and a page for each wing.

    python docs/build_site.py runs/figure1/tiny runs/site

The arguments are folders of finished runs; of each notebook the first one in them is shown, as `lead export` writes it.
`mkdocs build` makes the site of these pages (see `make docs`).
"""

import json
import re
import shutil
import sys
from pathlib import Path

from latex2mathml.converter import convert

from lead_kit.report.export_run import document

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
FORMULA = re.compile(r"\$([^$\n]+)\$")
PAGE_OF_DOCS = re.compile(r'(href="\.\./(?:docs/[\w-]+|README))\.md')  # in an executed notebook
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def page(text: str, folder: Path) -> str:
    """Markdown of a page in `folder` of the repository: formulas as MathML, links to notebooks as links to their
    executed pages, the files that it links to beside it, and no links to folders."""
    for target, _ in LINK.findall(text):
        path = (folder / target).resolve()
        if path.is_dir():
            text = re.sub(rf"\[([^]]+)\]\({re.escape(target)}\)", r"\1", text)
        elif path.suffix not in (".md", ".ipynb"):
            copy = PAGES / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    parts = CODE.split(text)  # every second part is code
    parts[::2] = [FORMULA.sub(lambda found: convert(found[1]).replace("|", "&#124;"), part) for part in parts[::2]]
    return "".join(parts).replace(".ipynb)", ".html)").replace("(../README.md", "(../index.md")


def executed(folders: list[Path]) -> dict[str, Path]:
    """Notebook name → the first finished run of it in these folders. Ends the program where one is missing."""
    runs = {}
    for about in (path for folder in folders for path in sorted(folder.glob("*/run.json"))):
        record = json.loads(about.read_text(encoding="utf-8"))
        if record["status"] == "done":
            runs.setdefault(Path(record["notebook"]).stem, about.parent)
    if missing := [path.stem for path in NOTEBOOKS if path.stem not in runs]:
        sys.exit(f"no finished run of {', '.join(missing)} in {', '.join(map(str, folders))}: run `make docs`")
    return runs


def question(notebook: Path) -> str:
    """The question that the first cell of a notebook asks."""
    first = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
    found = re.search(r"\*\*Question\.\*\* (.+)", first)
    return found[1] if found else ""


def main(folders: list[Path]) -> None:
    runs = executed(folders)
    shutil.rmtree(PAGES, ignore_errors=True)
    for source in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        target = PAGES / ("index.md" if source.name == "README.md" else f"docs/{source.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(source.read_text(encoding="utf-8"), source.parent), encoding="utf-8")
    (PAGES / "notebooks").mkdir()
    rows = []
    for notebook in NOTEBOOKS:
        shown = PAGE_OF_DOCS.sub(r"\1.html", document(runs[notebook.stem])).replace("../README.html", "../index.html")
        (PAGES / "notebooks" / f"{notebook.stem}.html").write_text(shown, encoding="utf-8")
        rows.append(f"| [{notebook.stem}](notebooks/{notebook.stem}.html) | {question(notebook)} |\n")
    head = "# Executed notebooks\n\nRuns of the demo, as `lead export` writes them.\n\n"
    head += "| notebook | question |\n|---|---|\n"
    (PAGES / "gallery.md").write_text(head + "".join(rows), encoding="utf-8")
    (PAGES / "api").mkdir()
    for wing in sorted(path.parent for path in (ROOT / "lead_kit").glob("*/__init__.py")):
        modules = [f"lead_kit.{wing.name}.{path.stem}" for path in sorted(wing.glob("[!_]*.py"))]
        text = f"# lead_kit.{wing.name}\n\n" + "\n".join(f"::: {module}\n" for module in modules)
        (PAGES / "api" / f"{wing.name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
