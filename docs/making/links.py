"""Where the site has a page or a file of the repository, and which links of a page have to change for that.

Pages in this folder keep their places, and so do their links to each other. What lies outside of it is brought in.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

ALSO = {"README.md": "index.md", "CONTRIBUTING.md": "extend/contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that lie elsewhere. README.md is for readers of the repository: the site begins with index.md."""
RAW = "benchmarks/results/"
"""Files that are handed over as they are."""

FENCED = re.compile(r"(^ *```.*\n(?:.*\n)*? *```$)", re.MULTILINE)
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)([^)]*\))")


def place_of(path: str) -> str:
    """Where the site has a file of the repository."""
    return ALSO.get(path, path if path.startswith(RAW) else path.removeprefix("docs/"))


def source_of(place: str) -> str:
    """The file of the repository that a page is made from; of a page that is generated, where it would be."""
    return {there: path for path, there in ALSO.items() if path != "README.md"}.get(place, f"docs/{place}")


def as_in_site(markdown: str, place: str) -> str:
    """The page that is `place` in the site with its links as they lead there; code is left as it is."""
    home = posixpath.dirname(source_of(place))

    def told(found: re.Match[str]) -> str:
        target = place_of(posixpath.normpath(posixpath.join(home, found[2])))
        return f"{found[1]}{posixpath.relpath(target, posixpath.dirname(place) or '.')}{found[3]}"

    parts = FENCED.split(markdown)
    return "".join(part if k % 2 else LINK.sub(told, part) for k, part in enumerate(parts))


FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*\b(?:src|srcset|data)=[\"']?(?:https?:)?//"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|modulepreload|preconnect|icon|manifest))[^>]*\bhref=[\"']?(?:https?:)?//"
    r"|@import\s+(?:url\()?[\"']?(?:https?:)?//|\burl\([\"']?(?:https?:)?//",
    re.IGNORECASE,
)


def fetched(text: str) -> Iterator[str]:
    """What a browser would get from elsewhere, without being asked, for a page or a style sheet."""
    return (found[0] for found in FETCHED.finditer(text))
