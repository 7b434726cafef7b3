"""What keeps a file from arriving."""


class TransferError(Exception):
    """A file did not arrive.

    Attributes:
        reason: one of `wherein.reasons.DOWNLOAD_REASONS`; `str()` is a sentence on what was found.
        final: trying again now is of no use.
        wait_s: seconds that the server asks to wait before the next try; None where it does not say.
    """

    def __init__(self, reason: str, detail: str, final: bool = False, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.reason, self.final, self.wait_s = reason, final, wait_s


def described(start: bytes) -> str:
    """What a file that is not what it should be seems to be, by its first bytes."""
    if not start:
        return "an empty file"
    head = start.lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a HTML page"
    if head.startswith((b"<?xml", b"<error")):
        return "an XML message"
    return f"a file that starts with {start[:8]!r}"
