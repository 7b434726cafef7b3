"""Leaks: what a model's vectors know of how a field was prepared, and what the layout of the experiment gives away.

The neighbour probe asks what Ouyang et al. 2019 (Methods, analysis of the metric learning model) found by hand: of
images with a partner from the same sample in the training set, the share whose nearest training image is such a
partner (69.2 % there). The batch probe asks whether the plate alone tells the location, in which case no score of this
run can tell a model that sees proteins from one that sees plates.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein import tables
from wherein.atomic import write_json
from wherein.embeddings import read_embeddings
from wherein.metrics import classification
from wherein.models.scored import KEY
from wherein.models.statistics import mean_vectors, read_fields
from wherein.summary import stage_summary

ATTRIBUTES = ("sample", "reagent", "plate")
"""What a field may be recognized by beside its location."""

SPLITS = ("gene_fold", "field_fold")
"""The split by which models are scored, and one in which fields of a protein lie on both sides, for comparison."""

ALARM_P = 0.01
ALARM_LIFT = 0.1
"""An alarm asks for both: that it is no chance, and that it is a tenth at least of the way from chance to certainty."""

ROUNDING = 1e-6
"""Deviation over the mean below which a feature of float32 varies by rounding alone."""

CLIP = 10.0
"""Standardized features are limited to plus and minus this, so that one broken field rules no distance."""

NEIGHBOUR_COLUMNS = [
    *("split", "attribute", "n_fields", "n_with_partner", "found", "share", "chance", "p"),
    *("chance_alike", "p_alike", "alarm"),
]

QUERIES_AT_ONCE = 1024


class Deal(NamedTuple):
    """What finding partners by chance gives.

    Attributes:
        chance: mean share over the deals.
        p: share of the deals, the real one among them, that find as large a share.
    """

    chance: float
    p: float


def probe_leaks(
    model: str,
    scored: str,
    fields: str,
    split: str,
    embeddings: Sequence[str],
    settings: Mapping[str, Any],
    neighbours: str,
    leaks: str,
    summary: str,
) -> None:
    """Probe one model.

    Args:
        model: the model's name.
        scored: results/evaluation/{model}/fields.parquet.
        fields: fields.parquet.
        split: split.parquet.
        embeddings: the model's vectors.
        settings: `leak_deals`, `leak_queries`, `seed`.
        neighbours: table of the neighbour probe to write.
        leaks: JSON of both probes to write.
        summary: the job's summary.
    """
    with stage_summary(summary, "probe_leaks", model, ("numpy",)) as report:
        told, words = read_fields(scored)
        units, vectors, _, _, _ = read_embeddings(embeddings)
        rows, means = described(units, vectors, fields, split)
        seed, deals = settings["seed"], settings["leak_deals"]
        found = neighbour_probe(rows, means, deals, settings["leak_queries"], seed)
        tables.write_tsv(neighbours, found, NEIGHBOUR_COLUMNS)
        told = told._replace(units=by_source(told.units, tables.current_fields(fields)))
        batch = batch_probe(told.units, told.truth, told.probabilities, told.folds, deals, seed)
        alarms = sentences(found, batch)
        write_json(
            leaks, {"model": model, "vocabulary": words.name, "n_fields": len(rows), "batch": batch, "alarms": alarms}
        )
        report.counts = {"in": len(rows), "kept": len(rows)}
        report.notes += alarms


def described(units: pd.DataFrame, vectors: np.ndarray, fields: str, split: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Fields with their mean vectors.

    Args:
        units: field_id, version of each unit.
        vectors: (N, D), NaN where unknown.
        fields: fields.parquet.
        split: split.parquet.

    Returns:
        rows: current fields that have a fold and a vector and are no controls: field_id, version, sample, reagent,
            plate, cell_line, kind (published terms, sorted), gene_group, gene_fold, field_fold.
        means: (F, D) float32, NaN where unknown.
    """
    places = units.groupby(KEY, sort=False).indices
    have = pd.DataFrame(list(places), columns=KEY).assign(place=range(len(places)))
    catalog = tables.current_fields(fields)
    catalog = by_source(catalog, catalog)[[*KEY, "sample", "reagent", "plate", "cell_line", "labels", "control"]]
    folds = tables.read_tables([split], [*KEY, "gene_group", *SPLITS])
    rows = have.merge(catalog[~catalog["control"].astype(bool)], on=KEY).merge(folds, on=KEY)
    kind = [";".join(sorted({term.casefold() for term in own})) for own in rows["labels"]]
    rows = rows.assign(kind=kind).drop(columns=["labels", "control"])
    means = mean_vectors(vectors, places.values())[rows["place"]]
    return rows.drop(columns="place").reset_index(drop=True), means


def by_source(rows: pd.DataFrame, catalog: pd.DataFrame) -> pd.DataFrame:
    """Samples and plates under the name of their source: two sources may both have a plate 1.

    Args:
        rows: field_id, version, sample, plate of each field.
        catalog: rows of fields.parquet, with `source`.
    """
    known = catalog[[*KEY, "source"]].drop_duplicates(KEY).rename(columns={"source": "_source"})
    source = rows[KEY].merge(known, on=KEY, how="left")["_source"].fillna("").astype(object).to_numpy()
    named = {name: rows[name].astype(object).where(rows[name].notna()) for name in ("sample", "plate")}
    return rows.assign(**{name: (source + "/" + own.fillna("")).where(own.notna()) for name, own in named.items()})


def standardized(means: np.ndarray) -> np.ndarray:
    """(F, D) features of mean 0 and deviation 1, limited, unknown ones 0, each row of length 1 (0 for a row of 0)."""
    if not means.size:
        return np.zeros(means.shape, np.float32)
    known = np.isfinite(means)
    values = np.where(known, means, 0).astype(np.float64)
    count = np.maximum(known.sum(axis=0), 1)
    centre = values.sum(axis=0) / count
    values = np.where(known, values - centre, 0)
    spread = np.sqrt((values**2).sum(axis=0) / count)
    # what varies by rounding alone is the same for all
    alive = spread > ROUNDING * np.abs(centre)
    values = np.clip(np.divide(values, spread, out=np.zeros_like(values), where=alive), -CLIP, CLIP)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0).astype(np.float32)


def nearest_across(vectors: np.ndarray, folds: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The nearest field of another fold, by cosine; the first of equals.

    Args:
        vectors: (F, D) float32 rows of length 1.
        folds: (F,) int.
        queries: (Q,) rows to look for.

    Returns:
        (Q,) int; -1 where all fields are in one fold.
    """
    found = np.full(len(queries), -1)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = queries[start : start + QUERIES_AT_ONCE]
        near = vectors[part] @ vectors.T
        near[folds[part][:, None] == folds[None, :]] = -np.inf
        best = near.argmax(axis=1)
        found[start : start + len(part)] = np.where(np.isfinite(near[np.arange(len(part)), best]), best, -1)
    return found


def neighbour_probe(rows: pd.DataFrame, means: np.ndarray, deals: int, most: int, seed: int) -> pd.DataFrame:
    """Whether the nearest field on the other side of a split was prepared together with a field.

    Chance is measured by dealing the attribute anew: plates among samples, samples and reagents among fields, once
    among all, once (`alike`) among those of the same published locations and cell line, which look alike in any case.

    Args:
        rows: as of `described`.
        means: (F, D).
        deals: how often the attribute is dealt anew.
        most: fields that are looked up; of more, so many are drawn.
        seed: of the draw and the deals.

    Returns:
        One row a split and attribute: NEIGHBOUR_COLUMNS. Shares are of the fields that have a partner (a field with
        the same attribute on the other side); null where none has.
    """
    vectors = standardized(means)
    rng = np.random.default_rng(seed)
    queries = np.sort(rng.permutation(len(rows))[:most])
    found = []
    for split in SPLITS:
        folds = rows[split].to_numpy(int)
        nearest = nearest_across(vectors, folds, queries)
        for attribute in ATTRIBUTES:
            known = rows[attribute].notna().to_numpy()
            asked = queries[(nearest >= 0) & known[queries]]
            across = nearest[(nearest >= 0) & known[queries]]
            value = pd.factorize(rows[attribute])[0]
            partner = has_partner(value, folds)[asked]
            hit = (value[asked] == value[across]) & known[across]
            told = {
                "split": split,
                "attribute": attribute,
                "n_fields": len(asked),
                "n_with_partner": int(partner.sum()),
            }
            if partner.any():
                together = rows["sample"] if attribute == "plate" else None
                free = _deal(
                    value, folds, asked, across, _blocks(rows, together, alike=False), deals, hit[partner].mean(), rng
                )
                alike = _deal(
                    value, folds, asked, across, _blocks(rows, together, alike=True), deals, hit[partner].mean(), rng
                )
                share = float(hit[partner].mean())
                told |= {
                    "found": int(hit[partner].sum()),
                    "share": share,
                    "chance": free.chance,
                    "p": free.p,
                    "chance_alike": alike.chance,
                    "p_alike": alike.p,
                    "alarm": split == SPLITS[0] and _alarming(share, free),
                }
            found.append({"alarm": False, **told})
    return pd.DataFrame(found).reindex(columns=NEIGHBOUR_COLUMNS)


def _alarming(share: float, deal: Deal) -> bool:
    return bool(deal.p <= ALARM_P and share - deal.chance >= ALARM_LIFT * (1 - deal.chance))


def has_partner(value: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """(F,) bool: whether a field with the same value (-1 for unknown) lies in another fold."""
    known = value >= 0
    if not known.any():
        return known
    # an unknown value stands with the first; it has no partner in any case
    value = np.where(known, value, 0)
    both = value * (int(folds.max()) + 1) + folds
    total = np.bincount(value[known], minlength=value.max() + 1)
    inside = np.bincount(both[known], minlength=both.max() + 1)
    return known & (total[value] > inside[both])


class Blocks(NamedTuple):
    """What is dealt, and among whom.

    Attributes:
        unit: (F,) int, what is dealt as a whole: a field, or a sample.
        block: (U,) int, units of one block exchange what they have.
    """

    unit: np.ndarray
    block: np.ndarray


def _blocks(rows: pd.DataFrame, together: pd.Series | None, alike: bool) -> Blocks:
    names = rows["field_id"] if together is None else together.fillna(rows["field_id"])
    unit, first = pd.factorize(names)
    place = pd.Series(range(len(rows))).groupby(unit).first().to_numpy() if len(first) else np.zeros(0, int)
    same = rows["kind"] + " " + rows["cell_line"].fillna("")
    block = pd.factorize(same.iloc[place])[0] if alike else np.zeros(len(place), int)
    return Blocks(unit, block)


def _deal(
    value: np.ndarray,
    folds: np.ndarray,
    asked: np.ndarray,
    across: np.ndarray,
    blocks: Blocks,
    deals: int,
    share: float,
    rng: np.random.Generator,
) -> Deal:
    """The share that is found when values are dealt anew among the units of each block."""
    own = np.full(len(blocks.block), -1)
    own[blocks.unit] = value
    order = np.argsort(blocks.block, kind="stable")
    found = []
    for _ in range(deals):
        mixed = np.lexsort((rng.random(len(own)), blocks.block))
        dealt = np.empty_like(own)
        dealt[order] = own[mixed]
        again = dealt[blocks.unit]
        partner = has_partner(again, folds)[asked]
        if partner.any():
            found.append(float(((again[asked] == again[across]) & (again[across] >= 0))[partner].mean()))
    if not found:
        return Deal(float("nan"), float("nan"))
    return Deal(float(np.mean(found)), (1 + sum(other >= share - 1e-12 for other in found)) / (1 + len(found)))


def batch_probe(
    units: pd.DataFrame, truth: np.ndarray, probabilities: np.ndarray, folds: np.ndarray, deals: int, seed: int
) -> dict[str, Any]:
    """Whether the plate alone tells the location, and what is left of a model's score within plates.

    The plate's guess of a field is how frequent each class is among the fields of the same plate that show other
    genes. Its AUC is compared with that of plates dealt anew among samples.

    Args:
        units: `plate`, `sample`, `cluster`, `field_id` of each scored field.
        truth: (N, K) bool.
        probabilities: (N, K) of the model.
        folds: (N,) float, the classifier that each prediction is from.
        deals: how often plates are dealt anew.
        seed: of the deals.

    Returns:
        n_plates; plate_auc, chance, p (of the plate's guess); model_auc, model_auc_within (comparing only fields of
        one plate), n_classes, n_classes_within (that can be compared so); alarm. Figures are null where there are
        fewer than two plates, or nothing to compare.
    """
    plate = pd.factorize(units["plate"])[0]
    known = plate >= 0
    told: dict[str, Any] = {"n_plates": int(plate.max(initial=-1) + 1), "alarm": False}
    figures = dict.fromkeys(("plate_auc", "chance", "p", "model_auc", "model_auc_within"))
    if told["n_plates"] < 2:
        return {**told, **figures, "n_classes": 0, "n_classes_within": 0}
    plate, truth, probabilities = plate[known], truth[known], probabilities[known]
    cluster = pd.factorize(units.loc[known, "cluster"])[0]
    sample, names = pd.factorize(units.loc[known, "sample"].fillna(units.loc[known, "field_id"]))
    share = _mean(classification.auc(truth, plate_guess(truth, plate, cluster)))
    of_sample = np.zeros(len(names), int)
    of_sample[sample] = plate
    rng = np.random.default_rng(seed)
    dealt = (rng.permutation(of_sample)[sample] for _ in range(deals))
    chance = [_mean(classification.auc(truth, plate_guess(truth, again, cluster))) for again in dealt]
    within = classification.auc(truth, probabilities, pd.factorize(pd.Series(zip(folds[known], plate, strict=True)))[0])
    whole = classification.auc(truth, probabilities, folds[known])
    comparable = np.isfinite(within)
    deal = Deal(float(np.mean(chance)), (1 + sum(other >= share - 1e-12 for other in chance)) / (1 + deals))
    return {
        **told,
        "plate_auc": _plain(share),
        "chance": _plain(deal.chance),
        "p": _plain(deal.p),
        "model_auc": _plain(_mean(whole)),
        "model_auc_within": _plain(_mean(within)),
        "n_classes": int(np.isfinite(whole).sum()),
        "n_classes_within": int(comparable.sum()),
        "alarm": _alarming(share, deal),
    }


def plate_guess(truth: np.ndarray, plate: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """How frequent each class is among the fields of the same plate that show other genes.

    Args:
        truth: (N, K) bool.
        plate: (N,) int.
        cluster: (N,) int, the gene.

    Returns:
        (N, K) float; a class's share over all plates where a plate shows no other gene.
    """
    sums = _sums(truth, plate)
    counts = np.bincount(plate)
    both = pd.factorize(pd.Series(zip(plate, cluster, strict=True)))[0]
    others = sums[plate] - _sums(truth, both)[both]
    n = counts[plate] - np.bincount(both)[both]
    overall = np.broadcast_to(truth.mean(axis=0), truth.shape).copy()
    return np.divide(others, n[:, None], out=overall, where=n[:, None] > 0)


def _sums(truth: np.ndarray, group: np.ndarray) -> np.ndarray:
    table = np.zeros((int(group.max(initial=-1)) + 1, truth.shape[1]))
    np.add.at(table, group, truth)
    return table


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)


def sentences(neighbours: pd.DataFrame, batch: Mapping[str, Any]) -> list[str]:
    """What is alarming, in words."""
    return [*_of_neighbours(neighbours), *_of_batch(batch)]


def _of_neighbours(neighbours: pd.DataFrame) -> Iterator[str]:
    for row in neighbours[neighbours["alarm"].astype(bool)].itertuples():
        yield (
            f"the {row.attribute} of a field can be told across the split: the nearest field of another fold is of the "
            f"same {row.attribute} for {row.share:.0%} of {row.n_with_partner} fields, {row.chance:.0%} by chance"
        )


def _of_batch(batch: Mapping[str, Any]) -> Iterator[str]:
    if batch["alarm"]:
        yield (
            f"the plate alone tells the location (AUC {batch['plate_auc']:.2f}, {batch['chance']:.2f} by chance): a "
            "model that recognizes plates would score as well as one that sees where proteins are; "
            f"{batch['n_classes_within']} of {batch['n_classes']} locations can be compared within a plate"
        )
