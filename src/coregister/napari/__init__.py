"""The napari plugin: two image layers in, the aligned layer and the result out."""

from coregister.napari.align import align_layers, align_widget, described

__all__ = ["align_layers", "align_widget", "described"]
