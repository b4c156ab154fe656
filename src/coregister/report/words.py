"""Words and numbers of the report of a pair."""

from __future__ import annotations

import html
import re

import numpy as np
from numpy.typing import NDArray

from coregister.images import Image, Pair
from coregister.plotting.look import pretty
from coregister.result import Registration, axis_names, round_pdg

Float = NDArray[np.float64]


def assumptions(result: Registration, pair: Pair) -> list[tuple[str, str]]:
    """What was taken for granted, label and value."""
    edges = {
        "overlap": "real edges: only what both images show is compared",
        "periodic": "periodic: the images are one period each",
    }
    rows = [
        ("model", "one translation for the whole field; gain and background are free"),
        ("edges", edges[result.boundary]),
        ("reference", _describe(pair.reference)),
        ("moving", _describe(pair.moving)),
    ]
    if result._pair is None:
        return [*rows, ("options", "unknown: the result was read back from a file")]
    return [
        *rows,
        ("noise of reference", _noise(pair.reference)),
        ("noise of moving", _noise(pair.moving)),
        ("initial guess", _pixels(pair.initial)),
        (
            "search",
            "everywhere" if pair.max_offset is None else f"within {_pixels(pair.max_offset)} of it",
        ),
    ]


def flag(remedy: str) -> tuple[str, str]:
    """Name and meaning, the latter as HTML with its names of arguments set as code."""
    name, _, meaning = remedy.partition(": ")
    return name, re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(meaning))


def offsets(result: Registration) -> list[tuple[str, str, str]]:
    """Axis, value and bar."""
    phrases = []
    for name, d, s in zip(axis_names(result.ndim), result.offset, result.stderr, strict=True):
        value, _, bar = pretty(round_pdg(d, s)).partition(" ± ")
        phrases.append((name, value, bar) if np.isfinite(s) else (name, "undetermined", ""))
    return phrases


def matrices(result: Registration) -> list[tuple[str, str, list[list[str]]]]:
    """Caption, unit and entries."""
    return [
        (name, unit, [[_number(entry) for entry in row] for row in matrix])
        for name, unit, matrix in (
            ("covariance", "px²", result.covariance),
            ("information", "px⁻²", result.information),
        )
    ]


def intervals(result: Registration) -> list[tuple[str, str, str, str]]:
    """Axis, interval of 68.27 %, interval of 95 %, bound on the systematic."""
    texts = []
    for level in (0.6827, 0.95):
        texts.append(
            [
                pretty(f"{low:.{places}f} to {high:.{places}f}")
                if np.isfinite(high)
                else "everything"
                for (low, high), places in zip(
                    result.interval(level), _places(result.stderr), strict=True
                )
            ]
        )
    systematic = [f"{value:.2g}" for value in result.systematic]
    return list(zip(axis_names(result.ndim), *texts, systematic, strict=True))


def modes(result: Registration) -> list[tuple[list[str], str]]:
    """Offsets with bars, and probability."""
    if len(result.modes) < 2:
        return []
    return [
        (
            [
                pretty(round_pdg(d, s))
                for d, s in zip(mode.offset, np.sqrt(np.diag(mode.covariance)), strict=True)
            ],
            f"{mode.probability:.2g}",
        )
        for mode in result.modes
    ]


def _describe(image: Image) -> str:
    shape = " x ".join(str(n) for n in image.data.shape)
    if image.valid is None:
        return f"{shape} px, all used"
    left_out = image.valid.size - int(np.count_nonzero(image.valid))
    return f"{shape} px, {left_out} left out ({100 * left_out / image.valid.size:.2g} %)"


def _noise(image: Image) -> str:
    if image.sigma is None:
        return "learnt from the pair"
    if isinstance(image.sigma, float):
        return f"{image.sigma:.4g}, one for all pixels" if image.sigma else "noiseless"
    return f"one for each pixel, median {np.median(image.sigma):.4g}"


def _pixels(values: Float) -> str:
    return pretty("(" + ", ".join(f"{value:g}" for value in values) + ") px")


def _number(value: float) -> str:
    if np.isinf(value):
        return "\N{MINUS SIGN}\N{INFINITY}" if value < 0 else "\N{INFINITY}"
    return pretty(f"{value:.4g}")


def _places(stderr: Float) -> list[int]:
    """Decimals that show two digits of each bar."""
    return [
        int(np.clip(1 - np.floor(np.log10(s)), 0, 12)) if np.isfinite(s) and s > 0 else 3
        for s in stderr
    ]
