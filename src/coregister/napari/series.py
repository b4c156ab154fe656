"""The frames of one layer brought onto each other, without a display; and the form for it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from coregister.errors import InputError
from coregister.napari.align import (
    LOOKS,
    LayerData,
    form_with_panel,
    kept,
    one_channel,
    units_of,
)
from coregister.result import axis_names, round_pdg
from coregister.stack import StackRegistration, register_stack

#: frames that the panel lists one by one
LISTED = 50


def align_frames(
    series: Any,
    *,
    reference: Literal["first", "all", "previous"] = "first",
    periodic: bool = False,
    max_offset: float | None = None,
) -> LayerData:
    """Bring the frames of one image layer onto each other.

    Parameters
    ----------
    series : napari.layers.Image
        Its first axis counts frames. Left as it is.
    reference : {"first", "all", "previous"}
        As for `coregister.register_stack`.
    periodic : bool
        The frames are one period each.
    max_offset : float, optional
        Largest offset, pixels.

    Returns
    -------
    tuple
        Data, attributes and type of the new layer; frames that are not trusted are NaN.
        ``metadata["coregister"]`` is the `StackRegistration`.

    Raises
    ------
    InputError
        If the layer is no series.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> from types import SimpleNamespace
    >>> from coregister.napari import align_frames
    >>> rng = np.random.default_rng(0)
    >>> scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
    >>> movie = cr.simulate_stack(
    ...     scene, [(0, 0), (0.5, -1), (1, -2)], noise=0.05, rng=rng, shape=(64, 64)
    ... )
    >>> data, attributes, kind = align_frames(SimpleNamespace(data=movie, name="movie"))
    >>> data.shape, attributes["name"], kind
    ((3, 64, 64), 'movie aligned', 'image')
    """
    one_channel(series, "the series")
    if np.ndim(series.data) < 3:
        raise InputError(
            f"the layer {series.name!r} has shape {np.shape(series.data)}, which is one image; a "
            "series has frames along its first axis: for two layers use 'Align two images'"
        )
    result = register_stack(
        series.data,
        reference=reference,
        boundary="periodic" if periodic else "overlap",
        max_offset=max_offset,
    )
    attributes: dict[str, Any] = {
        "name": f"{series.name} aligned",
        "metadata": {"coregister": result},
    }
    attributes |= kept(series, ("scale", "translate", "units", "axis_labels", *LOOKS))
    return result.apply(series.data), attributes, "image"


def described_frames(result: StackRegistration, layer: Any) -> str:
    """The result as the panel shows it: in short, and each frame in the units of `layer`.

    Parameters
    ----------
    result : StackRegistration
        Of `align_frames`.
    layer : napari.layers.Image
        The series.
    """
    sizes = units_of(layer, result.ndim) or [(1.0, "px")] * result.ndim
    names = [name.split()[-1].strip("()") for name in axis_names(result.ndim)]
    heads = [f"{name}, {unit}" for name, (_, unit) in zip(names, sizes, strict=True)]
    table = [["frame", *heads]]
    for number, (offset, bars) in enumerate(zip(result.offsets, result.stderr, strict=True)):
        values = [
            str(round_pdg(d * size, s * abs(size)))
            for d, s, (size, _) in zip(offset, bars, sizes, strict=True)
        ]
        flagged = [] if result.trusted[number] else [result.status[number].name]
        table.append([str(number), *(flagged or values)])
    widths = [max(len(row[n]) for row in table if n < len(row)) for n in range(len(table[0]))]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        for row in table[: LISTED + 1]
    ]
    more = [f"  and {len(result) - LISTED} more"] if len(result) > LISTED else []
    return "\n".join([str(result), *(line.rstrip() for line in lines), *more])


def series_widget() -> Any:
    """The form: a layer to choose, a button, and a panel with the result.

    Returns
    -------
    magicgui.widgets.Container
        For ``viewer.window.add_dock_widget``; napari makes it from the menu of plugins.
    """
    return form_with_panel(
        _form,
        "choose a layer whose first axis counts frames",
        lambda form, result: described_frames(result, form.series.value),
        {"reference": {"tooltip": "previous: for scenes that change; bars grow along the series"}},
    )


def _form(
    series: napari.layers.Image,  # type: ignore[name-defined]  # noqa: F821
    reference: Literal["first", "all", "previous"] = "first",
    periodic: bool = False,
    max_offset: float = 0.0,
) -> napari.types.LayerDataTuple:  # type: ignore[name-defined]  # noqa: F821
    return align_frames(
        series, reference=reference, periodic=periodic, max_offset=max_offset or None
    )
