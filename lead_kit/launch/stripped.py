"""A notebook without what running it adds, as git keeps it: a clean filter, from stdin to stdout.

The file on disk keeps its outputs, so that a notebook that is opened again shows them; git sees the source alone, so
that running a notebook is no change. `make install` registers the filter; `.gitattributes` names it.
"""

import json
import sys

KEPT = {"kernelspec": ("display_name", "language", "name"), "language_info": ("name",)}  # of the notebook's metadata


def stripped(text: str) -> str:
    """The notebook without outputs, counts and what a front end writes into its metadata; other text as it is."""
    try:
        notebook = json.loads(text)
        cells = notebook["cells"]
        for cell in cells:
            cell["metadata"] = {"tags": tags} if (tags := cell["metadata"].get("tags")) else {}
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
        known = notebook["metadata"]
        notebook["metadata"] = {
            name: {part: known[name][part] for part in parts if part in known[name]}
            for name, parts in KEPT.items()
            if name in known
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text
    notebook["cells"] = [dict(sorted(cell.items())) for cell in cells]
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(encoding="utf-8", newline="")
    sys.stdout.write(stripped(sys.stdin.read()))
