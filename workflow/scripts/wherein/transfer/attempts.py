"""Trying again: what may pass is tried until it works, with pauses that grow, until the time is over."""

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from wherein.reasons import PASSING_REASONS
from wherein.transfer.clock import Clock
from wherein.transfer.errors import TransferError
from wherein.transfer.hosts import Hosts, host_of

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 120
"""Seconds that the growing pause between two tries comes to at most; a server may ask for more."""

Result = TypeVar("Result")


def persistently(
    once: Callable[[], Result], url: str, hosts: Hosts, settings: Mapping[str, Any], clock: Clock
) -> Result:
    """Try something on a host until it works, and count whether the host answered.

    Args:
        once: one try.
        url: what it is about.
        hosts: where answers are counted.
        settings: section `download` of the configuration: `retries`, `backoff_s`.
        clock: the times after which nothing is tried anymore.

    Returns:
        What `once` returned.

    Raises:
        TransferError: that of the last try, or the first one that is final.
    """
    host = host_of(url)
    for tried in range(settings["retries"] + 1):
        try:
            result = once()
        except TransferError as error:
            pause = pause_s(tried, settings["backoff_s"], error.wait_s)
            if error.final or tried == settings["retries"] or clock.left <= 0 or pause > clock.waiting_left:
                # a host that was never asked, since others had all its connections, is not to blame
                if clock.asked:
                    hosts.note(host, answered=error.reason not in PASSING_REASONS)
                raise
            log.info("%s; trying again in %.1f s", error, pause)
            clock.wait(pause)
        else:
            hosts.note(host, answered=True)
            return result
    raise AssertionError("the last try returns or raises")


def pause_s(tried: int, first: float, asked: float | None = None) -> float:
    """Seconds before the next try: doubled each time, shortened by up to a half at random, or what the server asks."""
    return asked or random.uniform(0.5, 1) * min(first * 2**tried, LONGEST_PAUSE_S)
