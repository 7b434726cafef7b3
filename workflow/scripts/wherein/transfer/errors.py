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
