"""The method `unet`: a network for nuclei, one for cells, and a watershed on what they say (Le et al. 2022)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wherein.segmentation.methods import MethodContext, Outlines
from wherein.segmentation.networks.postprocess import Maps, outlines


def outline(
    images: Mapping[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> Outlines:
    """Outline the nuclei and cells of one field.

    Args:
        images: (H, W) by role; any of the markers may be missing.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        context: the device, and the file of the weights; `segment.unet.weights` where it names none.

    Returns:
        Outlines, and how sure the networks are of each.
    """
    return finish(predict_batch([images], pixel_size_um, settings, context)[0], pixel_size_um, settings)


def predict_batch(
    fields: Sequence[Mapping[str, np.ndarray]], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> list[Maps]:
    """Run both networks over some fields; arguments as those of `outline`.

    Raises:
        WeightsMismatchError: the weights are not there, or are none of a segmenter.
    """
    # here, since the processes that draw outlines need no torch
    from wherein.segmentation.networks.predict import predict_fields

    weights = context.weights or Path(settings["unet"]["weights"])
    contrast = settings["nuclei"]["contrast"]
    return predict_fields(fields, pixel_size_um, weights, context.device, settings["unet"], contrast)


def finish(prediction: Maps, pixel_size_um: float, settings: dict[str, Any]) -> Outlines:
    """Draw the outlines of one field; the maps know their own grid."""
    return outlines(prediction, settings)
