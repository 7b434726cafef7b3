"""Image formats that are told by name, because they are not read directly."""

VENDOR_FORMATS = {
    "czi": "Zeiss CZI",
    "lif": "Leica LIF",
    "lof": "Leica LOF",
    "xlef": "Leica XLEF",
    "nd2": "Nikon ND2",
    "oib": "Olympus OIB",
    "oif": "Olympus OIF",
    "oir": "Olympus OIR",
    "vsi": "Olympus VSI",
    "ims": "Imaris IMS",
    "dv": "DeltaVision DV",
    "r3d": "DeltaVision R3D",
    "c01": "Cellomics C01",
    "dib": "Cellomics DIB",
    "flex": "Opera FLEX",
    "sldy": "SlideBook SLDY",
    "mrxs": "MIRAX",
}
"""Makers' own formats, by the ending of the file's name."""

CONVERTER = "convert it to OME-Zarr with bioformats2raw (https://github.com/glencoesoftware/bioformats2raw)"
"""What to do with a file in a maker's own format."""

READABLE = "TIFF, gzipped TIFF, PNG, JPEG or OME-Zarr"
"""Formats that are read directly."""


def vendor_format(path: str) -> str | None:
    """Name of the maker's format that a file's ending tells, None for any other ending."""
    return VENDOR_FORMATS.get(path[path.rfind(".") + 1 :].lower())
