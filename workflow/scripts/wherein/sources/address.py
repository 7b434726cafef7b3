"""Addresses of images: a path or URL, then what to take from it and how."""

from typing import NamedTuple
from urllib.parse import parse_qs, urlencode


class Address(NamedTuple):
    """Where the image of one role is.

    Attributes:
        path: absolute path of the file or folder, or its URL; empty where the table names none.
        channel: index or name of the channel; None for the only one.
        z: `max`, `focus` or an index.
        alternative: URL of another file of the same image, to be taken where `path` is refused; None for none.
        gain: number by which intensities of the alternative are multiplied.
        bin: pixels along y and along x that are averaged into one.
        state: ETag, date or size that the file of a URL is expected to have (`RemoteState.name`); None if not known.
        axes: order of the pages of a file that declares none, as `wherein.decoders.axes` reads it; None for not known.
    """

    path: str
    channel: str | None
    z: str
    alternative: str | None = None
    gain: int = 1
    bin: int = 1
    state: str | None = None
    axes: str | None = None


def to_uri(address: Address) -> str:
    """Write an address as `{path}#channel=0&z=max`; all but `z` is left out where it says nothing."""
    words = {
        "channel": address.channel,
        "z": address.z,
        "alternative": address.alternative,
        "gain": None if address.gain == 1 else address.gain,
        "bin": None if address.bin == 1 else address.bin,
        "axes": address.axes,
        "state": address.state,
    }
    return f"{address.path}#{urlencode({name: word for name, word in words.items() if word is not None})}"


def from_uri(uri: str) -> Address:
    """Read what `to_uri` wrote; the path may hold `#` itself.

    Raises:
        ValueError: no channel and plane follow the path.
    """
    path, mark, rest = uri.rpartition("#")
    words = {name: found[0] for name, found in parse_qs(rest).items()}
    if not mark or "z" not in words:
        raise ValueError(f"{uri!r} is no address of an image: it is written path#channel=0&z=max")
    return Address(
        path,
        words.get("channel"),
        words["z"],
        words.get("alternative"),
        int(words.get("gain", 1)),
        int(words.get("bin", 1)),
        words.get("state"),
        words.get("axes"),
    )


def is_remote(path: str) -> bool:
    """Whether an address leads to a server instead of a file on this machine."""
    return path.startswith(("https://", "http://"))
