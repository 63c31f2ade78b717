"""What mkdocs is told beyond its settings: pages that are generated, links that leave this folder, and formulas.

The site has to work without a network. So formulas become MathML while it is made, which browsers draw by themselves,
and a page that would fetch anything fails the build.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "src")]

import links  # noqa: E402
import reference  # noqa: E402


def formula(source: str, *given: Any, **named: Any) -> str:
    """A block of LaTeX as MathML."""
    drawn = convert(source.strip(), display="block")
    if "\\" in drawn:
        raise PluginError(f"this formula has a command that is not known: {source.strip()}")
    return f'<div class="formula">{drawn}</div>'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Formulas in blocks called `math`, and anchors that are named as where the repository is read."""
    block = {"name": "math", "class": "formula", "format": formula}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [block]}
    config.mdx_configs["toc"] = {**config.mdx_configs.get("toc", {}), "slugify": slugify(case="lower")}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated, those that lie elsewhere, and the raw results."""
    for name, text in reference.pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    outside = [source for source in links.ALSO if source != "README.md"]
    outside += [f"{links.RAW}{path.name}" for path in sorted((ROOT / links.RAW).iterdir())]
    for source in outside:
        files.append(File.generated(config, links.place_of(source), abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The links of a page as they lead in the site."""
    return links.as_in_site(markdown, page.file.src_uri)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that needs a network."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css") and (found := next(links.fetched(path.read_text("utf-8")), None)):
            raise PluginError(f"{path} would fetch from elsewhere: {found}")
