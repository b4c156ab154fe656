"""The answer for a stack in files, there and back: ECSV, Parquet and JSON hold all of it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.io.loaded import refusing
from coregister.result import axis_names
from coregister.stack.drift import Drift
from coregister.status import Status

if TYPE_CHECKING:
    from coregister.stack.result import StackRegistration

Float = NDArray[np.float64]

#: what a table is written to; all but ``.csv`` hold everything
SUFFIXES = (".ecsv", ".csv", ".parquet", ".json")
FORMAT = "coregister.StackRegistration"


def read_table(path: str | os.PathLike[str]) -> StackRegistration:
    """Read a result that `StackRegistration.save` wrote.

    Parameters
    ----------
    path : path
        ``.ecsv``, ``.parquet`` or ``.json``. A ``.csv`` table is for other programs: it has the
        offsets and their bars, and not what they have in common.

    Returns
    -------
    StackRegistration
        The same to the last digit; `StackRegistration.apply` brings other frames of the same
        series, another channel for instance, onto one grid.

    Raises
    ------
    InputError
        If it is no such file.

    Examples
    --------
    >>> import numpy as np, tempfile, coregister as cr
    >>> rng = np.random.default_rng(0)
    >>> scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
    >>> movie = cr.simulate_stack(scene, [(0, 0), (1, -2)], noise=0.05, rng=rng, shape=(64, 64))
    >>> result = cr.register_stack(movie)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result.save(f"{folder}/drift.ecsv")
    ...     again = cr.read_table(f"{folder}/drift.ecsv")
    >>> np.array_equal(again.covariances, result.covariances)
    True
    """
    place = Path(path)
    suffix = place.suffix.lower()
    if suffix not in SUFFIXES or suffix == ".csv":
        raise InputError(
            f"{path} has the suffix {suffix!r}; a table saved as .ecsv, .parquet or .json is needed"
        )
    if not place.is_file():
        raise InputError(f"{path} does not exist; a saved table is needed: check the name")
    if suffix == ".json":
        with refusing(place, "JSON"):
            record = json.loads(place.read_text("utf-8"))
            return from_record(record)
    table = optional("astropy.table", "io").QTable
    if suffix == ".parquet":
        optional("pyarrow", "stack")
    with refusing(place, "table"):
        return from_table(
            table.read(place, format="ascii.ecsv" if suffix == ".ecsv" else "parquet")
        )


def write_table(
    result: StackRegistration, path: Path, suffix: str, provenance: Mapping[str, Any] | None
) -> None:
    """Write the table in the form that the suffix names."""
    more = {} if provenance is None else {"provenance": dict(provenance)}
    if suffix in (".ecsv", ".parquet"):
        table = to_table(result)
        table.meta.update(more)
        table.write(path, format="ascii.ecsv" if suffix == ".ecsv" else "parquet", overwrite=True)
    elif suffix == ".json":
        text = json.dumps({**to_record(result), **more}, allow_nan=False)
        path.write_text(text + "\n", "utf-8")
    else:
        path.write_text(to_csv(result), "utf-8")


def to_table(result: StackRegistration) -> Any:
    """An `astropy.table.QTable`, one row a frame; see `StackRegistration.to_table`."""
    table = optional("astropy.table", "io")
    units = optional("astropy.units", "io")
    px = units.pix
    columns: dict[str, Any] = {"frame": np.arange(len(result))}
    if result.times is not None:
        columns["time"] = result.times * units.s
    columns |= {
        "offset": result.offsets * px,
        "stderr": result.stderr * px,
        "covariance": result.covariances * px**2,
        "systematic": result.systematic * px,
        "own": result.own * px**2,
        "trusted": result.trusted,
        "status": [str(s) for s in result.status],
        "flags": [" ".join(sorted(map(str, f))) for f in result.flags],
        "part": result.part,
    }
    about = _about(result)
    if result.steps is not None:
        columns["step"] = result.steps * px**2
    if result.shared is not None:
        columns["shared"] = result.shared * px
    if result.drift is not None:
        columns["drift"] = result.drift.offsets * px
        columns["drift_stderr"] = result.drift.stderr * px
        about["drift"] = {
            "chance": float(result.drift.chance),
            "roughness": result.drift.roughness.tolist(),
        }
    return table.QTable(columns, meta={"coregister": about})


def from_table(table: Any) -> StackRegistration:
    """The result in a table that `to_table` made."""
    from coregister.stack.result import StackRegistration

    about = table.meta.get("coregister", {})
    if about.get("format") != FORMAT or "systematic" not in table.colnames:
        raise InputError(
            f"a table with the columns {', '.join(table.colnames[:8])} was given; one that "
            "StackRegistration.save wrote, of this version, is needed"
        )
    count, ndim = len(table), len(about["axes"])

    def values(name: str, *shape: int) -> Any:
        if name not in table.colnames:
            return None
        column = table[name]
        # Parquet keeps the numbers of a row in one line
        return np.array(getattr(column, "value", column), dtype=np.float64).reshape(count, *shape)

    words = np.ma.filled(table["flags"], "")  # an empty one is read as missing
    drift = None
    if "drift" in about:
        drift = Drift(
            offsets=values("drift", ndim),
            stderr=values("drift_stderr", ndim),
            chance=float(about["drift"]["chance"]),
            roughness=np.array(about["drift"]["roughness"], dtype=np.float64),
        )
    return StackRegistration(
        offsets=values("offset", ndim),
        covariances=values("covariance", ndim, ndim),
        systematic=values("systematic", ndim),
        own=values("own", ndim, ndim),
        steps=values("step", ndim, ndim),
        shared=values("shared", ndim, -1),
        times=values("time"),
        flags=tuple(frozenset(Status[n] for n in str(text).split()) for text in words),
        part=np.array(table["part"], dtype=int),
        drift=drift,
        **_rest(about),
    )


def to_csv(result: StackRegistration) -> str:
    """Plain columns, units in their names."""
    letters = [name.split()[-1].strip("()") for name in axis_names(result.ndim)]
    pairs = [(i, j) for i in range(result.ndim) for j in range(i, result.ndim)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["frame", *([] if result.times is None else ["time_s"])]
        + [f"offset_{a}_px" for a in letters]
        + [f"stderr_{a}_px" for a in letters]
        + [f"cov_{letters[i]}{letters[j]}_px2" for i, j in pairs]
        + [f"systematic_{a}_px" for a in letters]
        + ["trusted", "status", "flags"]
    )
    stderr = result.stderr
    for t, flags in enumerate(result.flags):
        numbers = [
            *([] if result.times is None else [result.times[t]]),
            *result.offsets[t],
            *stderr[t],
            *(result.covariances[t][i, j] for i, j in pairs),
            *result.systematic[t],
        ]
        words = [str(result.status[t]), " ".join(sorted(map(str, flags)))]
        writer.writerow([t, *(repr(float(n)) for n in numbers), bool(result.trusted[t]), *words])
    return text.getvalue()


def to_record(result: StackRegistration) -> dict[str, Any]:
    """Everything, in types that JSON knows; infinity becomes ``"inf"``."""
    drift = result.drift
    return {
        "offsets": result.offsets.tolist(),
        "covariances": _plain(result.covariances),
        "systematic": _plain(result.systematic),
        "own": _plain(result.own),
        "flags": [sorted(map(str, flags)) for flags in result.flags],
        "part": result.part.tolist(),
        "steps": None if result.steps is None else _plain(result.steps),
        "shared": None if result.shared is None else _plain(result.shared),
        "times": None if result.times is None else result.times.tolist(),
        "drift": None
        if drift is None
        else {
            "offsets": _plain(drift.offsets),
            "stderr": _plain(drift.stderr),
            "chance": float(drift.chance),
            "roughness": _plain(drift.roughness),
        },
        **_about(result),
        "closure": _plain(np.array(result.closure)),
    }


def from_record(record: Any) -> StackRegistration:
    """The result that `to_record` wrote."""
    from coregister.stack.result import StackRegistration

    found = record.get("format") if isinstance(record, Mapping) else type(record).__name__
    if found != FORMAT:
        raise InputError(
            f"found a record of format {found!r}; {FORMAT!r} is needed: give what to_dict() wrote"
        )
    if "systematic" not in record:
        raise InputError(
            "found a record without 'systematic', of an earlier version, or not whole; one of this "
            "version is needed: register again"
        )

    def values(name: str, where: Mapping[str, Any] = record) -> Any:
        held = where.get(name)
        return None if held is None else np.array(held, dtype=np.float64)

    moved = record.get("drift")
    return StackRegistration(
        offsets=values("offsets"),
        covariances=values("covariances"),
        systematic=values("systematic"),
        own=values("own"),
        steps=values("steps"),
        shared=values("shared"),
        times=values("times"),
        flags=tuple(frozenset(Status[n] for n in names) for names in record["flags"]),
        part=np.array(record["part"]),
        drift=None
        if moved is None
        else Drift(
            offsets=values("offsets", moved),
            stderr=values("stderr", moved),
            chance=float(moved["chance"]),
            roughness=values("roughness", moved),
        ),
        **_rest(record),
    )


def _about(result: StackRegistration) -> dict[str, Any]:
    """What holds for all frames."""
    from coregister import __version__

    return {
        "format": FORMAT,
        "version": __version__,
        "axes": axis_names(result.ndim),
        "reference": result.reference,
        "closure": result.closure,
        "shape": list(result.shape),
        "periodic": result.periodic,
        "start": result.start,
        "convention": "content of a frame lies at +offset from the reference; array-axis order",
    }


def _rest(about: Mapping[str, Any]) -> dict[str, Any]:
    """What `_about` kept of the result."""
    return {
        "reference": about["reference"],
        "closure": float(about["closure"]),
        "shape": tuple(about["shape"]),
        "periodic": bool(about["periodic"]),
        "start": about.get("start"),
    }


def _plain(values: Float) -> Any:
    if values.ndim:
        return [_plain(v) for v in values]
    number = float(values)
    return number if np.isfinite(number) else repr(number)
