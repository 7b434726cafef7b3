"""Planted moves between two conditions: how many are found, how many others, and whether p holds without any.

Each draw has 1,000 proteins in 2 to 4 replicates a condition, dealt at random to eight plates. A replicate's mean
vector of 64 features is its protein's, its plate's shift, the treatment's general effect that all proteins share, and
noise whose directions are correlated and whose size differs between proteins. Proteins are near one of twelve
compartments; 100 move part of the way to another one. Judged as the rule `contrast` judges them, at a false discovery
rate of 5 %. Beside it: the moderated F alone, and what is called where the shared shift stays in. Prints a table and,
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

from wherein.analysis.projection import fit_components  # noqa: E402
from wherein.analysis.shifts import Design, Moved, find_moved, shared_groups, without_shared  # noqa: E402

RATE = 0.05
PROTEINS, MOVED, PLATES, FEATURES, COMPARTMENTS = 1000, 100, 8, 64, 12
LEADING, COMPONENTS, PERMUTATIONS = 50, 20, 100
"""As the rule has them by default."""


def plant(replicates: int, part: float, seed: int) -> tuple[np.ndarray, Design]:
    """Mean vectors of replicates, of which the first MOVED proteins go `part` of the way to another compartment."""
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(PROTEINS), 2 * replicates)
    side = np.tile(np.repeat([False, True], replicates), PROTEINS)
    plate = rng.integers(PLATES, size=len(row))
    places = 1.5 * rng.normal(size=(COMPARTMENTS, FEATURES))
    own = rng.integers(COMPARTMENTS, size=PROTEINS)
    other = (own + rng.integers(1, COMPARTMENTS, size=PROTEINS)) % COMPARTMENTS
    way = part * (places[other] - places[own])
    way[MOVED if part else 0 :] = 0
    mixing = 0.6 * np.eye(FEATURES) + 0.5 * rng.normal(size=(FEATURES, FEATURES)) / np.sqrt(FEATURES)
    size = np.exp(rng.normal(0, 0.25, PROTEINS))
    values = places[own][row] + 0.4 * rng.normal(size=(PROTEINS, FEATURES))[row]
    values += rng.normal(size=(PLATES, FEATURES))[plate] + side[:, None] * (way[row] + rng.normal(size=FEATURES))
    values += size[row, None] * (rng.normal(size=(len(row), FEATURES)) @ mixing)
    return values, Design(row, side, shared_groups(plate, side), np.arange(PROTEINS), PROTEINS)


def judged(values: np.ndarray, design: Design, shared: bool = True) -> tuple[Moved, float]:
    """What the rule finds, and seconds; `shared` takes out what all proteins share."""
    start = time.perf_counter()
    leading = fit_components(values.astype(np.float32), LEADING).scores(values).astype(float)
    places = without_shared(leading, design)[0] if shared else leading
    own = fit_components(places, COMPONENTS).scores(places).astype(float)
    asked = np.ones(PROTEINS, bool)
    return find_moved(own, design, asked, PERMUTATIONS, 0, places), time.perf_counter() - start


def interval(values: list[float]) -> str:
    """Mean and 95 % interval over draws, by Student's t."""
    mean = float(np.mean(values))
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def row(replicates: int, part: float, draws: int) -> dict[str, float]:
    """One row of the table; its means by name."""
    power, false, alone, alone_false, left_in, seconds = [], [], [], [], [], []
    wrong = total = 0
    truth = np.arange(PROTEINS) < MOVED
    for seed in range(draws):
        values, design = plant(replicates, part, seed)
        found, took = judged(values, design)
        calls = false_discovery_control(found.p) <= RATE
        power.append(float(calls[truth].mean()))
        false.append(float((calls & ~truth).sum() / max(1, calls.sum())))
        wrong, total = wrong + int((calls & ~truth).sum()), total + int(calls.sum())
        calls = false_discovery_control(found.p_moderated) <= RATE
        alone.append(float(calls[truth].mean()))
        alone_false.append(float((calls & ~truth).sum() / max(1, calls.sum())))
        seconds.append(took)
        if seed < 2:
            calls = false_discovery_control(judged(values, design, shared=False)[0].p_moderated) <= RATE
            left_in.append(float((calls & ~truth).sum() / max(1, calls.sum())))
    ends = binomtest(wrong, max(1, total)).proportion_ci(method="wilson")
    print(f"{replicates} | {part:g} | {interval(power)} | {interval(false)} | {wrong / max(1, total):.3f} "
          f"[{ends.low:.3f}, {ends.high:.3f}] | {interval(alone)} | {interval(alone_false)} | {np.mean(left_in):.2f} "
          f"| {np.mean(seconds):.1f}", flush=True)  # fmt: skip
    name = f"{replicates}_{part:g}"
    return {f"power_{name}": round(float(np.mean(power)), 4), f"fdr_{name}": round(float(np.mean(false)), 4)}


def main() -> None:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--replicates", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--parts", type=float, nargs="+", default=[0.2, 0.3, 0.4])
    options = parser.parse_args()
    print("replicates | part of the way | power | observed FDR | FDR, all draws together | power of the moderated F "
          "alone | its FDR | moderated F's FDR with the shared shift left in | seconds")  # fmt: skip
    told: dict[str, float] = {}
    for replicates in options.replicates:
        for part in options.parts:
            told |= row(replicates, part, options.draws)
    p, smallest, called = [], [], 0
    for seed in range(options.draws):
        found, _ = judged(*plant(2 + seed % 3, 0.0, 1000 + seed))
        p += found.p.tolist()
        smallest.append(float(kstest(found.p, "uniform").pvalue))
        called += int((false_discovery_control(found.p) <= RATE).any())
    shares = {str(level): round(float(np.mean(np.array(p) <= level)), 5) for level in (0.05, 0.01, 0.001)}
    print(f"nothing planted: share of p at most {shares}; Kolmogorov-Smirnov p of each draw: smallest "
          f"{min(smallest):.3f}; draws with any call: {called} of {options.draws}")  # fmt: skip
    print(json.dumps({"benchmark": "contrasts"} | told | {"null_p_at_most": shares, "null_ks_smallest": min(smallest)}))


if __name__ == "__main__":
    main()
