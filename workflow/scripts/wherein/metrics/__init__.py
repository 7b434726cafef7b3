"""Definitions of the measures by which results are judged."""
