"""The order of pages in a file that does not declare it, as the configuration tells it: `CYX`, `ZC2YX`."""

import math
import re
from collections.abc import Sequence

from wherein.decoders.image import UnreadableImage

AXIS = re.compile(r"([CZ])(\d*)")


def ordered_pages(axes: str, lengths: Sequence[int], path: str) -> tuple[str, tuple[int, ...]]:
    """Give pages without declared axes the axes that the configuration names.

    Args:
        axes: C and Z, or one of them, the slowest first, each followed by its length where that is known, then YX.
        lengths: of the file's own axes before Y and X: one, the number of pages, or one each where the file tells them.
        path: the file.

    Returns:
        The letters before Y and X, and the length of each.

    Raises:
        UnreadableImage: `unsupported_format`, the file does not fit, or lengths are missing.
    """
    named = [(letter, int(count or 0)) for letter, count in AXIS.findall(axes)]
    letters = "".join(letter for letter, _ in named)
    found = [length for length in lengths if length > 1]
    pages, told = math.prod(found), [length for _, length in named]
    if 0 not in told:
        fits = pages == math.prod(told)
    elif told.count(0) == 1:
        rest, left = divmod(pages, math.prod(length for length in told if length))
        fits = left == 0 and rest > 0
        told[told.index(0)] = rest
    elif len(found) == len(named):
        fits, told = True, found
    else:
        fits = False
    # a file that tells several lengths has them in the same order; axes of length 1 are often left out
    if fits and (len(found) < 2 or found == [length for length in told if length > 1]):
        return letters, tuple(told)
    shape = " x ".join(map(str, found)) or "1"
    raise UnreadableImage(
        "unsupported_format",
        f"{path} has {shape} pages, which do not fit axes: {axes} of the source in the configuration (sources.*.axes, "
        "or sources.*.roles.*.axes of a table): give the order as it is, and how many there are of one axis, as in "
        "ZC2YX",
    )
