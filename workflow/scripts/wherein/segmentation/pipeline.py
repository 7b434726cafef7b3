"""Fields of a shard on their way through a method: read ahead, outlined side by side, networks in batches.

Without a network, each field is read, outlined and measured by one core, as many fields at a time as there are cores.
With one, fields are read while those before them are on the device, and outlines are drawn from their predictions on
the other cores meanwhile. Results come in the order of the fields.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from wherein.decoders.image import UnreadableImage
from wherein.readers import read_field
from wherein.reasons import FAILED
from wherein.segmentation.elsewhere import LABELS, read_labels
from wherein.segmentation.methods import METHODS, MethodContext, Outlines, label_paths
from wherein.segmentation.quality import MEASURES, measure_outlines

log = logging.getLogger(__name__)

FIELDS_AT_A_TIME = 4
"""Fields that a network gets in one call; it makes its own batches of tiles."""

Images = dict[str, np.ndarray]


@dataclass(frozen=True)
class FieldTask:
    """One field to outline.

    Attributes:
        field_id, version: its name.
        files: its rows of results/download/{shard}.parquet.
        pixel_size_um: micrometres a pixel.
        shape: height and width in pixels, as qc found them.
        folder: that relative paths of label images made elsewhere start from.
    """

    field_id: str
    version: str
    files: pd.DataFrame
    pixel_size_um: float
    shape: tuple[int, int]
    folder: str = "."


@dataclass(frozen=True)
class Work:
    """What is done to every field of a shard.

    Attributes:
        methods: name of the method, and of the second one where there is one.
        settings: the section `segment` of the configuration.
        device: of networks, `cpu` or `cuda`.
        threads: cores.
    """

    methods: list[str]
    settings: dict[str, Any]
    device: str = "cpu"
    threads: int = 1

    def context(self, name: str) -> MethodContext:
        """What a method is given beside images and settings."""
        weights = self.settings[name].get("weights") if METHODS[name].network else None
        return MethodContext(self.device, Path(weights) if weights else None)


@dataclass
class Found:
    """What came of a field.

    Attributes:
        nucleus, cell: (H, W) uint32, empty where there is a reason.
        measures: one row a label, as `measure_outlines` gives them.
        lost: share of the second method's cells that the method has not; NaN without any.
        seconds: that the method took.
        reason: one of `wherein.reasons.SEGMENT_REASONS`; None where there are outlines.
        detail: what was found, in words.
    """

    nucleus: np.ndarray
    cell: np.ndarray
    measures: pd.DataFrame
    lost: float = float("nan")
    seconds: float = 0.0
    reason: str | None = None
    detail: str | None = None


class UnfitFieldError(Exception):
    """A field that no method can work on; `reason` is one of `wherein.reasons.SEGMENT_REASONS`."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def outlined(tasks: Iterable[FieldTask], work: Work) -> Iterator[tuple[FieldTask, Found]]:
    """Outline fields; whatever is wrong with one of them becomes its reason.

    Args:
        tasks: the fields.
        work: what is done to them.

    Yields:
        Each field and what came of it, in the order of `tasks`.
    """
    network = any(METHODS[name].network for name in work.methods)
    with ExitStack() as stack:
        # a process that has used the device, or has threads, must not be forked
        cores: Executor | None = None
        if work.threads > 1:
            cores = stack.enter_context(
                ProcessPoolExecutor(work.threads - network, get_context("spawn"), initializer=_one_thread)
            )
        if cores and not network:
            yield from _in_order(tasks, lambda task: cores.submit(read_and_finish, task, work), 2 * work.threads)
            return
        reader = stack.enter_context(ThreadPoolExecutor(1))
        read = _in_order(tasks, lambda task: reader.submit(read_images, task, work), FIELDS_AT_A_TIME if network else 1)
        if not network:
            yield from ((task, finish(task, images, {}, work)) for task, images in read)
            return
        predicted = _predicted(read, work)
        if cores is None:
            yield from ((task, finish(task, images, said, work)) for task, images, said in predicted)
            return
        waiting: deque[tuple[FieldTask, Future[Found]]] = deque()
        for task, images, said in predicted:
            waiting.append((task, cores.submit(finish, task, images, said, work)))
            while waiting and (waiting[0][1].done() or len(waiting) > 2 * work.threads):
                done, future = waiting.popleft()
                yield done, future.result()
        yield from ((task, future.result()) for task, future in waiting)


def read_and_finish(task: FieldTask, work: Work) -> Found:
    """Read a field and outline it without a network."""
    return finish(task, read_images(task, work), {}, work)


def read_images(task: FieldTask, work: Work) -> Images | Exception:
    """Read the channels of a field, and its label images where they were made elsewhere.

    Returns:
        (H, W) by role; or what went wrong, which is a matter of this field alone.
    """
    try:
        images = read_field(task.files)
        if "masks" in work.methods:
            images |= _labels_elsewhere(task, work.settings["masks"], next(iter(images.values())).shape)
    except Exception as error:  # noqa: BLE001  one bad image never stops a run
        return error
    return images


def finish(task: FieldTask, images: Images | Exception, predictions: dict[str, Any], work: Work) -> Found:
    """Draw and measure the outlines of a field.

    Args:
        task: the field.
        images: (H, W) by role, or what went wrong before.
        predictions: of the networks among the methods, by name; or what went wrong.
        work: what is done.

    Returns:
        Outlines and measures, or empty label images and the reason.
    """
    start = time.perf_counter()
    try:
        if isinstance(images, Exception):
            raise images
        found = [_outlines(name, task, images, predictions, work) for name in work.methods]
        seconds = time.perf_counter() - start
        first, second = found[0], found[1] if len(found) > 1 else None
        roles = [role for role in work.settings["quality"]["body_roles"] if role in images]
        measures, lost = measure_outlines(images, first, second, task.pixel_size_um, roles, work.settings["quality"])
    except Exception as error:  # noqa: BLE001  one bad image never stops a run
        return _without_outlines(task, error)
    if not len(measures):
        return _without_outlines(task, UnfitFieldError("no_objects", "no nucleus and no cell was found"), seconds)
    return Found(first.nucleus, first.cell, measures, lost, seconds)


def _outlines(name: str, task: FieldTask, images: Images, predictions: dict[str, Any], work: Work) -> Outlines:
    """Outlines of a field by one method."""
    module = METHODS[name].load()
    if not METHODS[name].network:
        return module.outline(images, task.pixel_size_um, work.settings, work.context(name))
    if isinstance(predictions[name], Exception):
        raise predictions[name]
    return module.finish(predictions[name], task.pixel_size_um, work.settings)


def _without_outlines(task: FieldTask, error: Exception, seconds: float = 0.0) -> Found:
    """Empty label images and the reason for them."""
    reason = error.reason if isinstance(error, UnfitFieldError) else FAILED
    detail = str(error) if isinstance(error, UnfitFieldError | UnreadableImage) else f"{type(error).__name__}: {error}"
    if reason == FAILED:
        log.error("%s@%s: no outlines", task.field_id, task.version, exc_info=error)
    empty = np.zeros(task.shape, np.uint32)
    return Found(
        empty, empty, pd.DataFrame(columns=["label", *MEASURES]), seconds=seconds, reason=reason, detail=detail
    )


def _labels_elsewhere(task: FieldTask, paths: dict[str, str | None], shape: tuple[int, ...]) -> Images:
    """Label images of a field under the names of LABELS."""
    found = {}
    for name, path in label_paths(paths, task.folder, task.field_id).items():
        try:
            labels = read_labels(path)
        except UnreadableImage as error:
            raise UnfitFieldError("no_labels", str(error)) from error
        if labels.shape != shape:
            sizes = [" x ".join(map(str, size)) for size in (labels.shape, shape)]
            raise UnfitFieldError("no_labels", f"{path} is {sizes[0]}, the images are {sizes[1]}")
        found[LABELS[name]] = labels
    return found


def _predicted(
    read: Iterator[tuple[FieldTask, Images | Exception]], work: Work
) -> Iterator[tuple[FieldTask, Images | Exception, dict[str, Any]]]:
    """Run the networks over fields, some at a time; those that could not be read go by."""
    networks = [name for name in work.methods if METHODS[name].network]
    together: list[tuple[FieldTask, Images | Exception]] = []

    def worked() -> Iterator[tuple[FieldTask, Images | Exception, dict[str, Any]]]:
        good = [(task, images) for task, images in together if isinstance(images, dict)]
        said: dict[str, dict[str, Any]] = {}
        for name in networks:
            for (task, _), prediction in zip(good, _predictions(name, good, work), strict=True):
                said.setdefault(task.field_id + task.version, {})[name] = prediction
        yield from ((task, images, said.get(task.field_id + task.version, {})) for task, images in together)
        together.clear()

    for item in read:
        together.append(item)
        if len(together) == FIELDS_AT_A_TIME:
            yield from worked()
    yield from worked()


def _predictions(name: str, fields: list[tuple[FieldTask, Images]], work: Work) -> list[Any]:
    """Predictions of a network; where the fields fail together, each is tried alone and its error stands for it."""
    if not fields:
        return []
    predict = METHODS[name].load().predict_batch
    pixel_size, context = fields[0][0].pixel_size_um, work.context(name)
    try:
        return list(predict([images for _, images in fields], pixel_size, work.settings, context))
    except Exception as error:  # noqa: BLE001  one bad image never stops a run
        if len(fields) == 1:
            return [error]
        return [_predictions(name, [one], work)[0] for one in fields]


def _in_order(
    tasks: Iterable[FieldTask], submit: Callable[[FieldTask], Future[Any]], ahead: int
) -> Iterator[tuple[FieldTask, Any]]:
    """Results in the order of the tasks, with up to `ahead` of them under way while one is used."""
    waiting: deque[tuple[FieldTask, Future[Any]]] = deque()
    for task in tasks:
        waiting.append((task, submit(task)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def _one_thread() -> None:
    """Keep OpenCV in a worker from taking the cores of the others."""
    cv2.setNumThreads(1)
