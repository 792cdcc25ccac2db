"""A hook of mkdocs: files of the repository that a page links to, and that are no pages, are named and not linked."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^]]*)\]\(\.\./([^)]*)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`[the figures](../benchmarks/README.md)` becomes `the figures (benchmarks/README.md)`."""
    return _OUTSIDE.sub(lambda link: f"{link[1]} (`{link[2]}`)" if link[1] != link[2] else f"`{link[2]}`", markdown)
