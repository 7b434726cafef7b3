"""What a server says of a file without sending it, and whether two such words speak of the same content."""

from typing import NamedTuple


class RemoteState(NamedTuple):
    """What tells the content of a file on a server.

    Attributes:
        etag: the server's tag, as `bare` writes it; None where it gives none.
        last_modified: the server's date, as it wrote it; None where it gives none.
        bytes: size; None where it is not known.
    """

    etag: str | None = None
    last_modified: str | None = None
    bytes: int | None = None

    @property
    def name(self) -> str | None:
        """The tag, else the date, else the size in words; None where nothing is known."""
        return self.etag or self.last_modified or (None if self.bytes is None else f"{self.bytes} bytes")

    def is_called(self, name: str) -> bool:
        """Whether the tag, the date or the size is the one that `name` gives."""
        return name in (self.etag, self.last_modified, f"{self.bytes} bytes")

    def differs(self, other: "RemoteState") -> bool:
        """Whether the content is another one: by the tags where both have one, else by date and size."""
        if self.etag and other.etag:
            return self.etag != other.etag
        pairs = ((self.last_modified, other.last_modified), (self.bytes, other.bytes))
        return any(one is not None and two is not None and one != two for one, two in pairs)


def bare(etag: str | None) -> str | None:
    """A tag without its quotes, and without the W/ of servers that vouch for the image and not for every byte."""
    return (etag or "").strip().removeprefix("W/").strip('"') or None
