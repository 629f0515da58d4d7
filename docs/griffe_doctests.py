"""Examples in docstrings, `>>> …` with their results, as code blocks on the pages of functions."""

import re

import griffe

EXAMPLE = re.compile(r"^(>>> .*(?:\n(?! *$).*)*)", re.MULTILINE)  # up to the next empty line


class Doctests(griffe.Extension):
    def on_instance(self, *, obj, **_) -> None:
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\1\n```", obj.docstring.value)
