"""Batches of a feed, made ready beside the network's work, and how long the network had to wait for them."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from wherein.models.training.feed import Feed


class Watched:
    """The batches of a feed, and a measure of the wait for them.

    On a GPU what a feed queues (copies, normalization, augmentation) goes to a stream of its own and runs beside the
    step before; the wait is the time in which the network's stream had nothing to do from the end of a step to the
    start of the next. On a processor it is the time that the feed takes.

    Args:
        feed: what to train on.
        device: where the network is.
    """

    def __init__(self, feed: Feed, device: torch.device) -> None:
        self._feed = feed
        self._device = device
        self._beside = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._gaps: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._step_end: torch.cuda.Event | None = None
        self._seconds = 0.0

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and targets, from batch `first` of an epoch on; good for work on the current stream."""
        source = iter(self._feed.batches(epoch, first))
        if self._beside is not None:
            # what the feed keeps on the GPU was made by the current stream
            self._beside.wait_stream(torch.cuda.current_stream(self._device))
        while True:
            batch = self._next(source) if self._beside is None else self._next_beside(source)
            if batch is None:
                return
            yield batch

    def waited(self) -> float:
        """Seconds without a batch since the last call. On a GPU this waits for the work that is queued."""
        if self._gaps:
            torch.cuda.synchronize(self._device)
            self._seconds += sum(before.elapsed_time(after) for before, after in self._gaps) / 1000
            self._gaps = []
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _next(self, source: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor] | None:
        start = time.perf_counter()
        batch = next(source, None)
        self._seconds += time.perf_counter() - start
        return batch

    def _next_beside(self, source: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor] | None:
        here = torch.cuda.current_stream(self._device)
        before = torch.cuda.Event(enable_timing=True)
        before.record(here)
        # with one step queued the GPU has work; with more, batches would pile up in its memory
        if self._step_end is not None:
            self._step_end.synchronize()
        self._step_end = before
        with torch.cuda.stream(self._beside):
            batch = next(source, None)
        if batch is None:
            return None
        here.wait_stream(self._beside)
        for tensor in batch:
            # their memory may not be given to the next batch before this stream has read them
            tensor.record_stream(here)
        after = torch.cuda.Event(enable_timing=True)
        after.record(here)
        self._gaps.append((before, after))
        return batch
