"""What mkdocs is told beyond its settings: pages that are generated, links that leave this folder, and formulas.

The site has to work without a network. So formulas become MathML while it is made, which browsers draw by themselves,
and a page that would fetch anything fails the build.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

sys.path.insert(0, str(Path(__file__).parent))

import formulas
import links
import reference

ROOT = Path(__file__).parents[2]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Anchors that are named as where the repository is read."""
    sys.path.insert(0, str(ROOT / "src"))  # here, for mkdocs forgets what was put there while it read this file
    config.mdx_configs["toc"] = {**config.mdx_configs.get("toc", {}), "slugify": slugify(case="lower")}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated, those that lie elsewhere, the raw results, and a font for formulas."""
    for name, text in reference.pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    outside = [source for source in links.ALSO if source != "README.md"]
    outside += [f"{links.RAW}{path.name}" for path in sorted((ROOT / links.RAW).iterdir())]
    for source in outside:
        files.append(File.generated(config, links.place_of(source), abs_src_path=str(ROOT / source)))
    font = Path(find_spec("ziamath").origin).parent / "fonts" / formulas.FONT
    files.append(File.generated(config, f"assets/{font.name}", abs_src_path=str(font)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The links of a page as they lead in the site, and its formulas."""
    try:
        return formulas.with_formulas(links.as_in_site(markdown, page.file.src_uri))
    except ValueError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from None


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that needs a network."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css") and (found := next(links.fetched(path.read_text("utf-8")), None)):
            raise PluginError(f"{path} would fetch from elsewhere: {found}")
