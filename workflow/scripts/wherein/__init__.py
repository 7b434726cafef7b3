"""The library behind the workflow's scripts: tables and arrays, images, metrics, models, analysis, views."""

__version__ = "0.2.0"
