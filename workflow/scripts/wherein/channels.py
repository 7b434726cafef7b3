"""Roles: what a channel shows. Code asks for roles, never for colours or positions."""

from collections.abc import Sequence

ROLES = ("nucleus", "microtubules", "er", "protein", "reference")
"""Every role, in the order in which channels are stored."""

MARKERS = ("microtubules", "er", "reference")
"""Roles that outline the cell: structural markers other than the nucleus."""


def in_order(roles: object) -> list[str]:
    """Sort roles into the order of storage.

    Args:
        roles: an iterable of role names.

    Returns:
        The same roles, each once, in the order of ROLES.

    Raises:
        ValueError: a name is no role.
    """
    given = set(roles)  # type: ignore[call-overload]
    unknown = sorted(given - set(ROLES))
    if unknown:
        raise ValueError(f"unknown role {', '.join(unknown)}: roles are {', '.join(ROLES)}")
    return [role for role in ROLES if role in given]


def places_of(roles: Sequence[str], stored: Sequence[str], where: object) -> list[int]:
    """Places of roles among the channels of a store.

    Args:
        roles: wanted, in order.
        stored: roles of the store's channels, in order.
        where: the store, as the message names it.

    Raises:
        ValueError: the store lacks a role.
    """
    if lacking := [role for role in roles if role not in stored]:
        raise ValueError(f"{where} has no {' and no '.join(lacking)}: it has {', '.join(stored)}")
    return [stored.index(role) for role in roles]


def uri_column(role: str) -> str:
    """Column of fields.parquet that holds the address of a role's image."""
    return f"uri_{role}"
