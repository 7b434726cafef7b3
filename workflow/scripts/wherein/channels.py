"""Roles: what a channel shows. Code asks for roles, never for colours or positions."""

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


def uri_column(role: str) -> str:
    """Column of fields.parquet that holds the address of a role's image."""
    return f"uri_{role}"
