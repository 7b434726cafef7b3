"""How fast the atlas' XML is read, and in how much memory.

An XML of many genes is generated and gzipped, then all its images are read, none is kept. Most of each entry is
expression data that no image needs, as in the atlas' own file. Prints a table and, last, one JSON line.
"""

import argparse
import gzip
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.sources.hpa_xml import read_images  # noqa: E402

MB = 1e6


def entry(number: int, expression: int, bulk: str) -> str:
    """The XML of one gene: two antibodies, three cell lines each, two images a line; elements `bulk` around them."""
    gene = f"ENSG{number:011d}"
    samples = "".join(
        f'<sample id="{i}"><expRNA type="TPM">{i * 0.37:.2f}</expRNA><sex>female</sex><age>{i % 90}</age></sample>'
        for i in range(expression)
    )
    rna = f'<{bulk} source="HPA" technology="RNAseq"><data><tissue>liver</tissue>{samples}</data></{bulk}>'
    antibodies = "".join(antibody(number * 2 + i, samples, bulk) for i in range(2))
    return (
        f'<entry version="20.1" url="https://v20.proteinatlas.org/{gene}"><name>GENE{number}</name>'
        f'<identifier id="{gene}" db="Ensembl"/>{rna}{antibodies}</entry>\n'
    )


def antibody(number: int, samples: str, bulk: str) -> str:
    """The XML of one antibody, with tissue data that are to be passed over."""
    lines = "".join(
        f'<data><cellLine organ="any">{line}</cellLine><location status="main">Cytosol</location>'
        f'<location status="additional">Nucleoplasm</location><assayImage>{images(number, line)}</assayImage></data>'
        for line in ("U-2 OS", "A-431", "RH-30")
    )
    return (
        f'<antibody id="HPA{number:06d}" releaseVersion="10"><antigenSequence>{"MKLV" * 20}</antigenSequence>'
        f'<{bulk} source="HPA" technology="IHC"><data>{samples}</data></{bulk}>'
        f'<cellExpression source="HPA" technology="ICC/IF"><verification type="validation">supported</verification>'
        f'<subAssay type="human">{lines}</subAssay></cellExpression></antibody>'
    )


def images(number: int, line: str) -> str:
    """The XML of two images."""
    colours = "".join(f'<channel color="{colour}">x</channel>' for colour in ("blue", "red", "green"))
    return "".join(
        f'<image imageType="sampleImage">{colours}<imageUrl>http://v20.proteinatlas.org/images/{number}/'
        f"{number % 2000}_{line[0]}{number % 12}_{i}_blue_red_green.jpg</imageUrl></image>"
        for i in (1, 2)
    )


def write(path: str, size_mb: float, expression: int, bulk: str) -> float:
    """Write a gzipped XML of about so many MB unpacked. Returns MB unpacked."""
    written, number = 0, 0
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<proteinAtlas schemaVersion="2.6">\n')
        while written < size_mb * MB:
            number += 1
            written += file.write(entry(number, expression, bulk).encode())
        file.write(b"</proteinAtlas>")
    return written / MB


def main() -> None:
    """Write the file, read it, print what it took."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mb", type=float, default=2000, help="size unpacked in MB")
    options.add_argument("--samples", type=int, default=400, help="samples in each table that no image needs")
    options.add_argument(
        "--bulk", default="rnaExpression", help="element that these tables are in; one of another name is parsed, too"
    )
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "proteinatlas.xml.gz")
        size_mb = write(path, given.mb, given.samples, given.bulk)
        zipped = os.path.getsize(path) / MB
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seen: Counter[str] = Counter()
        start = time.perf_counter()
        found = sum(1 for _ in read_images(path, seen))
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{size_mb:.0f} MB unpacked, {zipped:.0f} MB gzipped, {seen['genes']} genes, {found} images")
    print(f"{seconds:.1f} s, {size_mb / seconds:.1f} MB/s, peak memory {peak:.0f} MB ({peak - before:.0f} MB more)")
    result = {
        "mb": round(size_mb, 1),
        "gz_mb": round(zipped, 1),
        "genes": seen["genes"],
        "images": found,
        "seconds": round(seconds, 2),
        "mb_per_s": round(size_mb / seconds, 1),
        "peak_rss_mb": round(peak, 1),
        "growth_mb": round(peak - before, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
