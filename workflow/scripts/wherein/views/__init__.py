"""Figures and pages: what the run found, for people to look at."""
