"""Addresses of images: a path or URL, then the channel and the plane to take from it."""

from typing import NamedTuple
from urllib.parse import parse_qs, urlencode


class Address(NamedTuple):
    """Where the image of one role is.

    Attributes:
        path: absolute path of the file or folder, or its URL; empty where the table names none.
        channel: index or name of the channel; None for the only one.
        z: `max`, `focus` or an index.
        alternative: URL of another file of the same image, to be taken where `path` is refused; None for none.
    """

    path: str
    channel: str | None
    z: str
    alternative: str | None = None


def to_uri(address: Address) -> str:
    """Write an address as `{path}#channel=0&z=max`; `channel` and `alternative` are left out where they are None."""
    channel = {} if address.channel is None else {"channel": address.channel}
    alternative = {} if address.alternative is None else {"alternative": address.alternative}
    return f"{address.path}#{urlencode({**channel, 'z': address.z, **alternative})}"


def from_uri(uri: str) -> Address:
    """Read what `to_uri` wrote; the path may hold `#` itself.

    Raises:
        ValueError: no channel and plane follow the path.
    """
    path, mark, rest = uri.rpartition("#")
    parts = parse_qs(rest)
    if not mark or "z" not in parts:
        raise ValueError(f"{uri!r} is no address of an image: it is written path#channel=0&z=max")
    return Address(path, parts.get("channel", [None])[0], parts["z"][0], parts.get("alternative", [None])[0])


def is_remote(path: str) -> bool:
    """Whether an address leads to a server instead of a file on this machine."""
    return path.startswith(("https://", "http://"))
