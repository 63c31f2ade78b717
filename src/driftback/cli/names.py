"""What `driftback draw` alone prints: the targets, the methods and their numbers, by name."""

from __future__ import annotations

from typing import Any

from driftback.cli.output import emit, number, say, show, table


def names(json: bool) -> None:
    """Print all names, as tables or as one JSON object."""
    from driftback.distributions.energies import TARGETS
    from driftback.recipes.density.methods import METHODS
    from driftback.recipes.density.populations import POPULATIONS

    methods: dict[str, Any] = METHODS | POPULATIONS
    problems = [(name, make()) for name, make in TARGETS.items()]
    if json:
        emit(
            {
                "targets": [
                    {"name": name, "shape": one.event_shape, "log_z": one.truth.log_z, "source": one.source}
                    for name, one in problems
                ],
                "methods": [
                    {"name": name, "about": one.about, "source": one.source, "options": one.options}
                    for name, one in methods.items()
                ],
            }
        )
        return
    rows = [
        (name, " x ".join(map(str, one.event_shape)), number(one.truth.log_z, 6), one.source) for name, one in problems
    ]
    table(("target", "shape", "log Z", "source"), rows, right=(2,))
    show()
    table(("method", "what it is", "source"), [(name, one.about, one.source) for name, one in methods.items()])
    show()
    settings = sorted({name for one in methods.values() for name in one.options})
    known = [(name, ", ".join(each for each, one in methods.items() if name in one.options)) for name in settings]
    table(
        ("--set", "default", "methods that know it"),
        [(name, _default(name, methods), which) for name, which in known],
        right=(1,),
    )
    say("draw from one with: driftback draw NAME, or from your own: driftback draw FILE.py")


def _default(name: str, methods: dict[str, Any]) -> str:
    """The default of the number `name`, and of methods for which it is another one."""
    from driftback.recipes.density.methods import Options

    own = [f"{_told(one.defaults[name])} ({each})" for each, one in methods.items() if name in one.defaults]
    return ", ".join((_told(getattr(Options(), name)), *own))


def _told(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else number(float(value))
