"""What the subcommands share: exit status, options that name files, checks before any work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from coregister.errors import InputError, optional

Command = TypeVar("Command", bound=Callable[..., Any])

#: exit status of what was done and must not be trusted
FLAGGED = 3


def path_option(*names: str, help: str) -> Callable[[Command], Command]:
    """An option that names a file."""
    return click.option(*names, metavar="FILE", type=click.Path(path_type=Path), help=help)


def check_outputs(
    outputs: Sequence[Path | None],
    inputs: Sequence[Path],
    *,
    overwrite: bool,
    stacks: Sequence[Path | None] = (),
) -> None:
    """Refuse outputs that exist, that are inputs, or that share a name, before any work.

    Parameters
    ----------
    outputs : sequence of path or None
        Files.
    inputs : sequence of path
    overwrite : bool
    stacks : sequence of path or None
        Outputs that may be stores.
    """
    from coregister.io import check_output, check_stack_output

    seen = {Path(os.path.realpath(path)) for path in inputs}
    for check, paths in ((check_stack_output, stacks), (check_output, outputs)):
        for path in paths:
            if path is None:
                continue
            place = Path(os.path.realpath(path))
            if place in seen:
                raise InputError(f"{path} is named twice; every output needs a name of its own")
            check(path, overwrite=overwrite)
            seen.add(place)


def needs_report(path: Path) -> None:
    """Say before any work if the report cannot be made."""
    from coregister.io.atomic import check_html

    check_html(path)
    optional("matplotlib", "report")
    optional("jinja2", "report")
