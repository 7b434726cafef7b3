"""A copy of the workflow in a folder of its own, and Snakemake run in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "config", "workflow", "profiles", "resources", "slurm")


class House:
    """One copy of the workflow; runs share its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_symlink():
                (folder / part).symlink_to(os.readlink(source))
            elif source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "images", "weights")
                shutil.copytree(source, folder / part, ignore=ignored)
            else:
                shutil.copy2(source, folder / part)

    def snakemake(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here; unless told otherwise it has to end well."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=1800,
            check=False,
        )
        if ok and done.returncode != 0:
            raise AssertionError(f"snakemake {' '.join(arguments)}:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}")
        return done

    def planned(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule a dry run plans, `all` left out."""
        done = self.snakemake("--dry-run", *arguments)
        return job_stats(done.stdout + done.stderr)


def job_stats(text: str) -> dict[str, int]:
    """The table «Job stats» that Snakemake prints, without `all` and `total`."""
    found = re.search(r"Job stats:\n(.*?)\n\n", text, re.S)
    if not found:
        return {}
    rows = [line.split() for line in found.group(1).splitlines()[2:]]
    return {row[0]: int(row[1]) for row in rows if row[0] not in ("all", "total")}
