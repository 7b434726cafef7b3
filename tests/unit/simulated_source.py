"""Configuration of a simulated source, with its defaults, and what its tests ask of a field."""

from wherein.settings import fill_defaults, schema


def source(**words):
    """A simulated source's configuration as a run has it; small fields."""
    config = {"kind": "simulated", "field_px": 256, **words}
    fill_defaults({"sources": {"demo": config}}, schema())
    return config


def main_class(spec):
    """Class of a field: its protein's main location."""
    return (spec.locations or ("Negative",))[0]
