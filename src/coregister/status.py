"""What can be wrong with a result: one member a reason, its value the message with the remedy."""

from __future__ import annotations

import enum


class Status(enum.Enum):
    """Verdict on a registration; the value is what it means and what to do.

    Members stand in order of precedence: `Registration.status` is the first that holds.
    """

    OK = "the offset and its bars may be used as they are"
    NO_MATCH = (
        "the images show no common content beyond chance; check that they show the same scene, "
        "or give `initial` and a smaller `max_offset`"
    )
    AMBIGUOUS = (
        "several offsets explain the pair equally well, see `modes`; "
        "give `initial` and `max_offset` to choose one"
    )
    UNDETERMINED_AXIS = (
        "the scene has no structure along one direction, so nothing is known along it; "
        "use the component across it, or a larger field"
    )
    SEARCH_EDGE = (
        "the best offset lies at the limit of the search; raise `max_offset` or move `initial`"
    )
    LOW_OVERLAP = "the images share less than a tenth of their area; use a pair that overlaps more"
    FIXED_PATTERN = (
        "a pattern fixed to the detector (flat field, hot pixels, dust) competes with the scene "
        "at zero offset; correct it, or mask it with `*_valid`"
    )
    MISFIT = (
        "what is left after the shift is not noise: rotation, scale, distortion or a changed "
        "scene; the offset is a mean over the field and its bars do not hold"
    )
    UNDERSAMPLED = (
        "the scene has power up to the Nyquist frequency, so aliasing may move the answer by "
        "`systematic`; advisory"
    )
    UNEVEN_NOISE = (
        "the bars read from what is left over and those of even noise, `model_covariance`, differ "
        "by more than half: the noise varies over the field, or with the light; give "
        "`reference_err` and `moving_err` to weigh it and gain precision; advisory"
    )
    DISCONNECTED = (
        "this frame of a stack matches a few others, but nothing that leads to the rest; its "
        "offset is a guess: register that part by itself, or add frames between"
    )
    NOT_CONVERGED = "the refinement did not settle; give `initial`, mask artefacts, or crop"
    COARSE_LEVELS = (
        "an image is rounded to few levels, without noise that would average the rounding out: "
        "contours are moved and the bars do not show it; use the data before they were rounded"
    )
    CONSTANT_IMAGE = "an image has no structure at all; check the file, the channel and the mask"

    def __str__(self) -> str:
        return self.name


#: flags that inform and do not cost `trusted`
ADVISORY = frozenset({Status.UNDERSAMPLED, Status.UNEVEN_NOISE})
