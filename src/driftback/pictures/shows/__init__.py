"""The pictures and films of the post, by name. A new one is one file in this folder, and nothing else.

Each file holds a `SHOW`: what its idea is, where it comes from, and how its film is made. `SHOWS` finds them.
"""

from importlib import import_module
from pkgutil import iter_modules

from driftback.pictures.shows.show import Fitted, Options, Show

__all__ = ["SHOWS", "Fitted", "Options", "Show"]


def _found() -> dict[str, Show]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    shows = [module.SHOW for module in modules if hasattr(module, "SHOW")]
    return {show.name: show for show in sorted(shows, key=lambda show: (show.place, show.name))}


SHOWS: dict[str, Show] = _found()
"""By name, in the order of the story."""
