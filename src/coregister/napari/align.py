"""What the plugin does, without a display; and the form that calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from coregister.errors import InputError, optional
from coregister.register import register
from coregister.result import Registration, round_pdg

#: a layer as napari takes it from a plugin: data, its attributes, its type
LayerData = tuple[Any, dict[str, Any], str]
#: units of a layer that say nothing
NO_UNITS = ("", "pixel")
#: attributes of a layer that say how it is shown
LOOKS = ("colormap", "contrast_limits", "gamma", "blending", "opacity")


def align_layers(
    reference: Any,
    moving: Any,
    *,
    resample: bool = True,
    periodic: bool = False,
    max_offset: float | None = None,
) -> LayerData:
    """Bring one image layer onto another.

    Parameters
    ----------
    reference, moving : napari.layers.Image
        Of one number of axes and one pixel size. Left as they are.
    resample : bool
        Interpolate `moving` on the pixels of the reference; else the new layer has the pixels of
        `moving`, and only its place in the world is another.
    periodic : bool
        The images are one period each.
    max_offset : float, optional
        Largest offset, pixels.

    Returns
    -------
    tuple
        Data, attributes and type of the new layer. ``metadata["coregister"]`` is the
        `Registration`.

    Raises
    ------
    InputError
        If the layers cannot be compared.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> from types import SimpleNamespace
    >>> from coregister.napari import align_layers
    >>> rng = np.random.default_rng(0)
    >>> scene = cr.random_scene("power-law-2", (128, 128), rng=rng)
    >>> pair = cr.simulate_pair(scene, (3.3, -2.2), noise=0.1, rng=rng, shape=(64, 64))
    >>> layers = [SimpleNamespace(data=d, name=n) for d, n in zip(pair, "ab")]
    >>> data, attributes, kind = align_layers(*layers)
    >>> data.shape, attributes["name"], kind
    ((64, 64), 'b on a', 'image')
    """
    for name, layer in (("reference", reference), ("moving", moving)):
        one_channel(layer, name)
    scale, other = _scale(reference), _scale(moving)
    if scale.shape == other.shape and not np.allclose(scale, other, rtol=1e-6):
        raise InputError(
            f"the pixels of the layers have sizes {scale.tolist()} and {other.tolist()}; one is "
            "needed: resample a layer, or set its scale"
        )
    result = register(
        reference.data,
        moving.data,
        boundary="periodic" if periodic else "overlap",
        max_offset=max_offset,
    )
    corner = np.asarray(getattr(reference, "translate", np.zeros(result.ndim)), dtype=np.float64)
    attributes: dict[str, Any] = {
        "name": f"{moving.name} on {reference.name}",
        "scale": scale if scale.size else np.ones(result.ndim),
        "translate": corner if resample else corner - result.offset * scale,
        "metadata": {"coregister": result},
    }
    attributes |= kept(reference, ("units", "axis_labels")) | kept(moving, LOOKS)
    return (result.apply(moving.data) if resample else moving.data), attributes, "image"


def described(result: Registration, layer: Any) -> str:
    """The result as the panel shows it; in the units of `layer` too, where it has any.

    Parameters
    ----------
    result : Registration
        Of `align_layers`.
    layer : napari.layers.Image
        The reference.
    """
    sizes = units_of(layer, result.ndim)
    if sizes is None:
        return str(result)
    real = result.physical(tuple(sizes))
    lines = [
        f"  along axis {axis}: {round_pdg(offset, bar)} {unit}"
        for axis, (offset, bar, unit) in enumerate(
            zip(real.offset, real.stderr, real.units, strict=True)
        )
    ]
    return "\n".join([str(result), *lines])


def align_widget() -> Any:
    """The form: two layers to choose, a button, and a panel with the result.

    Returns
    -------
    magicgui.widgets.Container
        For ``viewer.window.add_dock_widget``; napari makes it from the menu of plugins.
    """
    return form_with_panel(
        _form,
        "choose two layers",
        lambda form, result: described(result, form.reference.value),
        {"resample": {"tooltip": "off: the pixels stay as they are, the layer is moved"}},
    )


def kept(layer: Any, names: Iterable[str]) -> dict[str, Any]:
    """Those attributes of a layer that it has, for the one that is made of it."""
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)}


def form_with_panel(
    function: Callable[..., Any],
    hint: str,
    text: Callable[[Any, Any], str],
    options: dict[str, Any],
) -> Any:
    """A form that calls `function`, and a panel below that shows what came out of it.

    Parameters
    ----------
    function : callable
        Returns a layer with the result among its metadata.
    hint : str
        What the panel shows first.
    text : callable
        Makes the text of the panel, from the form and the result.
    options : dict
        Of magicgui, for arguments besides `max_offset`.
    """
    widgets = optional("magicgui.widgets", "napari")
    form = optional("magicgui", "napari").magicgui(
        function,
        call_button="Measure and align",
        max_offset={"label": "max offset, px (0: any)", "min": 0.0, "max": 1e6},
        **options,
    )
    panel = widgets.TextEdit(value=hint, name="result")
    panel.read_only = True
    if hasattr(panel.native, "setStyleSheet"):  # Qt: the columns of the result stand in line
        panel.native.setStyleSheet("font-family: monospace")
        panel.native.setLineWrapMode(type(panel.native).LineWrapMode.NoWrap)

    def show(layer: LayerData) -> None:
        panel.value = text(form, layer[1]["metadata"]["coregister"])

    form.called.connect(show)
    return widgets.Container(widgets=[form, panel], labels=False)


def one_channel(layer: Any, name: str) -> None:
    """Refuse layers that are colours or pyramids."""
    if getattr(layer, "rgb", False):
        raise InputError(
            f"{name}, the layer {layer.name!r}, is a colour image; one channel is needed: "
            "use 'Split RGB' of its menu"
        )
    if getattr(layer, "multiscale", False):
        raise InputError(
            f"{name}, the layer {layer.name!r}, is a pyramid; one level is needed: "
            "add level.data[0] as a layer of its own"
        )


def units_of(layer: Any, ndim: int) -> list[tuple[float, str]] | None:
    """Size of a pixel and its unit along the last axes of a layer; None if units say nothing."""
    units = [str(unit) for unit in getattr(layer, "units", None) or ()][-ndim:]
    if len(units) != ndim or any(unit in NO_UNITS for unit in units):
        return None
    return list(zip(_scale(layer).tolist()[-ndim:], units, strict=True))


def _form(
    reference: napari.layers.Image,  # type: ignore[name-defined]  # noqa: F821
    moving: napari.layers.Image,  # type: ignore[name-defined]  # noqa: F821
    resample: bool = True,
    periodic: bool = False,
    max_offset: float = 0.0,
) -> napari.types.LayerDataTuple:  # type: ignore[name-defined]  # noqa: F821
    return align_layers(
        reference, moving, resample=resample, periodic=periodic, max_offset=max_offset or None
    )


def _scale(layer: Any) -> Any:
    default = np.ones(np.ndim(layer.data))
    return np.asarray(getattr(layer, "scale", default), dtype=np.float64)
