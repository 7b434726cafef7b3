"""Fetching published weights; the sha256 of resources/weights.tsv is the judge of every file, wherever it is from."""

import logging
import shutil
from collections.abc import Mapping
from typing import Any

from wherein.atomic import atomic_path
from wherein.models.weights import WeightsError, read_weights
from wherein.sources.address import is_remote
from wherein.transfer.checks import UnfitError, file_with
from wherein.transfer.documents import Document, DocumentError, fetch_documents
from wherein.transfer.lock import Locked, record, today

log = logging.getLogger(__name__)


def fetch_weights(
    name: str, table: str, source: str | None, target: str, lock: str, settings: Mapping[str, Any]
) -> None:
    """Put a weights file where models read it, checked.

    Args:
        name: a name in the table.
        table: resources/weights.tsv.
        source: a local file or an address, which goes before the table's; None for none.
        target: the file to write; it appears when it is whole and right.
        lock: resources/lock.tsv.
        settings: section `download` of the configuration.

    Raises:
        WeightsError: the name is unknown, there is neither file nor address, the server does not give it, or it is
            another file than the table says.
    """
    known = read_weights(table)
    if name not in known:
        raise WeightsError(f"weights {name!r} are not in {table}: it has {', '.join(known)}")
    wanted = known[name]
    origin = source or wanted.url
    if not origin:
        raise WeightsError(
            f"weights {name!r} have no URL in {table}: get the file ({wanted.bytes} bytes, sha256 {wanted.sha256}; "
            f"{wanted.source}) and write its path or its address into the configuration:\n"
            f"weights:\n  {name}: path/to/file.npz"
        )
    check = file_with(wanted.sha256, wanted.bytes)
    with atomic_path(target) as partial:
        log.info("taking weights %s from %s", name, origin)
        if not is_remote(origin):
            shutil.copyfile(origin, partial)
            try:
                check(partial)
            except UnfitError as error:
                raise WeightsError(f"weights {name!r}: {origin} {error}") from error
            return
        try:
            (found,) = fetch_documents([Document((origin,), partial, check)], settings, lock)
        except DocumentError as error:
            raise WeightsError(
                f"weights {name!r}: {error}; or fetch the file by hand and write its path into the configuration under "
                f"weights.{name}"
            ) from error
        record(lock, [Locked(target, found.url, found.sha256, found.bytes, today())], target)
