"""The catalog: which fields there are, in which version, and which shard works on each."""

from wherein.catalog.build import build_catalog

__all__ = ["build_catalog"]
