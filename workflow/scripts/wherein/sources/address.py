"""Addresses of images: a path, then the channel and the plane to take from it."""

from typing import NamedTuple
from urllib.parse import parse_qs, urlencode


class Address(NamedTuple):
    """Where the image of one role is.

    Attributes:
        path: absolute path of the file or folder; empty where the table names none.
        channel: index or name of the channel; None for the only one.
        z: `max`, `focus` or an index.
    """

    path: str
    channel: str | None
    z: str


def to_uri(address: Address) -> str:
    """Write an address as `{path}#channel=0&z=max`; `channel` is left out where it is None."""
    parts = {} if address.channel is None else {"channel": address.channel}
    return f"{address.path}#{urlencode({**parts, 'z': address.z})}"


def from_uri(uri: str) -> Address:
    """Read what `to_uri` wrote; the path may hold `#` itself.

    Raises:
        ValueError: no channel and plane follow the path.
    """
    path, mark, rest = uri.rpartition("#")
    parts = parse_qs(rest)
    if not mark or "z" not in parts:
        raise ValueError(f"{uri!r} is no address of an image: it is written path#channel=0&z=max")
    return Address(path, parts.get("channel", [None])[0], parts["z"][0])
