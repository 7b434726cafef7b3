"""Planted heterogeneity: how many of the planted samples are found, how many others, and whether p holds without any.

Each draw has samples of 25 cells in two fields, in two cell lines on plates, of which some have a minority of 20 to
50 % that shows another pattern (`wherein.simulate.vectors`); some further ones have cells that are outlined badly and
look as if they did. Judged as the stage judges them, at a false discovery rate of 5 %. Beside it stands the trimmed
mean distance of the cells from their field's mean, judged against the other samples (`spread`). Prints a table and,
last, one JSON line.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, false_discovery_control, kstest, t

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.analysis.aggregate import group_means  # noqa: E402
from wherein.analysis.covariates import explained, standardized, without_covariates  # noqa: E402
from wherein.analysis.heterogeneous_samples import EXPLAINS  # noqa: E402
from wherein.analysis.spread import against_others, cell_residuals, distances, trimmed, whiten  # noqa: E402
from wherein.analysis.within_samples import judge_samples  # noqa: E402
from wherein.simulate.vectors import COVARIATES, PlantedCells, plant_cells  # noqa: E402

RATE = 0.05


def judged(planted: PlantedCells) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Samples called heterogeneous, those that follow the outline, p, and seconds."""
    start = time.perf_counter()
    lines = planted.line[planted.sample]
    covariates = standardized(planted.covariates, planted.field, lines)
    means = group_means(planted.vectors, planted.field, planted.field.max() + 1)[planted.field]
    left = without_covariates(planted.vectors - means, covariates, planted.field, lines)
    pairs = np.stack([planted.line, planted.plate], axis=1)
    batches = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    found = judge_samples(means + left, planted.field, planted.sample, planted.line, batches, 5, 6, 0)
    follows = explained(found.axis, covariates, COVARIATES, planted.field, planted.sample, len(planted.line))
    hits = false_discovery_control(found.p) <= RATE
    return hits, follows["outline_p"].to_numpy() <= EXPLAINS, found.p, time.perf_counter() - start


def by_spread(planted: PlantedCells) -> np.ndarray:
    """Samples whose spread alone is significant."""
    far = distances(whiten(cell_residuals(planted.vectors, planted.field)))
    each = [trimmed(far[planted.sample == sample]) for sample in range(len(planted.line))]
    values, variations = np.array(each).T
    sizes = np.bincount(planted.sample)
    return false_discovery_control(against_others(values, variations / sizes, planted.line, 6).p) <= RATE


def interval(values: list[float]) -> str:
    """Mean and 95 % interval over draws, by Student's t."""
    mean = float(np.mean(values))
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def main() -> None:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--separations", type=float, nargs="+", default=[4.0, 4.5, 5.0])
    parser.add_argument("--dispersions", type=float, nargs="+", default=[0.1])
    options = parser.parse_args()
    print("separation | accuracy of single cells | dispersion | power | observed FDR | FDR, all draws together "
          "| badly outlined, called | power of spread | its FDR | seconds")  # fmt: skip
    told = {}
    for separation in options.separations:
        for dispersion in options.dispersions:
            told = row(separation, dispersion, options.draws) | told
    p, uniform, called = [], [], 0
    for seed in range(options.draws):
        planted = plant_cells(10_000 + seed, heterogeneous=0, usual=1200)
        hits, _, own, _ = judged(planted)
        p += own.tolist()
        uniform.append(float(kstest(own, "uniform").pvalue))
        called += int(hits.any())
    shares = {str(level): float(np.mean(np.array(p) <= level)) for level in (0.05, 0.01, 0.001)}
    print(f"nothing planted: share of p at most {shares}; Kolmogorov-Smirnov p of each draw: smallest "
          f"{min(uniform):.3f}, {sum(value < 0.05 for value in uniform)} of {len(uniform)} below 0.05; draws with any "
          f"sample called: {called} of {options.draws}")  # fmt: skip
    print(
        json.dumps({"benchmark": "heterogeneity"} | told | {"null_p_at_most": shares, "null_ks_smallest": min(uniform)})
    )


def row(separation: float, dispersion: float, draws: int) -> dict[str, float]:
    """One row of the table; its means by name."""
    power, false, outlined, seconds, accuracy, other, other_false = [], [], [], [], [], [], []
    wrong = total = 0
    for seed in range(draws):
        planted = plant_cells(seed, outlined=20, separation=separation, dispersion=dispersion)
        hits, follow, _, took = judged(planted)
        usual = ~(planted.heterogeneous | planted.outlined)
        called = hits & ~follow
        power.append(float(called[planted.heterogeneous].mean()))
        wrong, total = wrong + int((called & usual).sum()), total + int((called & ~planted.outlined).sum())
        false.append((called & usual).sum() / max(1, (called & ~planted.outlined).sum()))
        outlined.append(float(called[planted.outlined].mean()))
        spread = by_spread(planted)
        other.append(float(spread[planted.heterogeneous].mean()))
        other_false.append((spread & usual).sum() / max(1, (spread & ~planted.outlined).sum()))
        seconds.append(took)
        accuracy.append(planted.accuracy)
    ends = binomtest(wrong, max(1, total)).proportion_ci(method="wilson")
    print(f"{separation:g} | {np.mean(accuracy):.2f} | {dispersion:g} | {interval(power)} | {interval(false)} "
          f"| {wrong / max(1, total):.3f} [{ends.low:.3f}, {ends.high:.3f}] | {np.mean(outlined):.2f} "
          f"| {interval(other)} | {interval(other_false)} | {np.mean(seconds):.1f}", flush=True)  # fmt: skip
    name = f"{separation:g}_{dispersion:g}"
    return {f"power_{name}": float(np.mean(power)), f"fdr_{name}": float(np.mean(false))}


if __name__ == "__main__":
    main()
