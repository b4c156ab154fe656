"""The napari plugin: two image layers, or a series of frames, in; aligned layer and result out."""

from coregister.napari.align import align_layers, align_widget, described
from coregister.napari.series import align_frames, described_frames, series_widget

__all__ = [
    "align_frames",
    "align_layers",
    "align_widget",
    "described",
    "described_frames",
    "series_widget",
]
