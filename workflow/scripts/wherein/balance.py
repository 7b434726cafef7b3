"""The balance of a run: every field and every cell that came in went on, or has a reason."""

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from wherein.atomic import atomic_path
from wherein.crops.samples import SMALL, in_small_sample
from wherein.overrides import COLUMNS as OVERRIDE_COLUMNS
from wherein.reasons import CELL_REASONS, FIELD_REASONS, KEPT, PASSED
from wherein.summary import stage_summary
from wherein.tables import read_tables
from wherein.tallies import BalanceError, download_fates, embed_lines, import_check, segment_lines

log = logging.getLogger(__name__)

COLUMNS = ("stage", "source", "item", "reason", "count")

STAGES = ("catalog", "download", "qc", "segment", "crop", "samples", "embed")

OVERRIDES = (*OVERRIDE_COLUMNS, "found")

LEFT_OUT = ("what", "name", "source", "reason")

RETIRED = "retired"

KEY = ["field_id", "version"]


def write_balance(
    fields: str | Path,
    files: Sequence[str | Path],
    qc: Sequence[str | Path],
    cells: Sequence[str | Path],
    segment_summaries: Sequence[str | Path],
    embed_summaries: Sequence[str | Path],
    embeddings: Sequence[str | Path],
    left_out: Sequence[Sequence[str]],
    overrides: Sequence[Sequence[str]],
    balance: str | Path,
    out_left_out: str | Path,
    out_overrides: str | Path,
    summary: str | Path,
    samples: str | Path | None = None,
    import_summaries: Sequence[str | Path] = (),
    without_crops: Sequence[str] = (),
) -> None:
    """Count what came in, what was kept and what fell to each reason, per stage and source.

    Fields are followed through `catalog`, `download` and `qc`: at each of these stages every field version of the
    run's shards comes in. Versions that the catalog has retired fall to the reason `retired` at every stage, whatever
    became of them before. Cells are counted at `crop`: every label of every field that passed.

    Args:
        fields: results/catalog/fields.parquet.
        files: results/download/{shard}.parquet of every shard of the run.
        qc: results/qc/{shard}.parquet of every shard.
        cells: results/cells/{shard}.parquet of every shard.
        segment_summaries: results/summaries/segment/{shard}.json of every shard that is outlined.
        embed_summaries: results/summaries/embed/{model}/{shard}.json of every model and its shards.
        embeddings: results/embeddings/{model}/{shard}.parquet, in the same order.
        left_out: what the configuration leaves out: what, name, source, reason.
        overrides: curators' words, in the order of `wherein.overrides.COLUMNS`.
        balance: table to write, results/report/balance.tsv.
        out_left_out: table to write, results/report/left_out.tsv.
        out_overrides: table to write, results/report/overrides.tsv.
        summary: JSON to write.
        samples: results/samples/samples.parquet; without it, samples of any size count.
        import_summaries: results/summaries/import_crops/{shard}.json of every shard of crops made elsewhere.
        without_crops: sources of vectors made elsewhere, whose cells have no pixels.

    Raises:
        BalanceError: a field has no row at a stage or two of them, a reason is unknown, or the sums do not agree.
    """
    with stage_summary(summary, "balance", "run") as report:
        catalog = read_tables([fields], [*KEY, "source", "shard", "retired_in"])
        ledger = read_tables(cells, ["cell_id", *KEY, "source", "shard", "status", "reason", "crop_index"])
        judged = read_tables(qc, [*KEY, "shard", "source", "status", "reason"])
        rows = balance_rows(
            catalog=catalog,
            files=read_tables(files, [*KEY, "role", "status", "reason"]),
            qc=judged,
            cells=ledger,
            shards={Path(path).stem for path in qc},
            without_crops=without_crops,
        )
        rows += _sample_lines(ledger, catalog, samples) if samples is not None and len(ledger) else []
        rows += segment_lines(segment_summaries, judged, ledger)
        import_check(import_summaries, judged, ledger)
        rows += embed_lines(embed_summaries, embeddings, judged, ledger)
        rows.sort(key=lambda row: STAGES.index(row[0].split()[0]))
        _write_rows(balance, [COLUMNS, *rows])
        _write_rows(out_left_out, [LEFT_OUT, *left_out])
        words = words_followed(overrides, catalog, ledger)
        _write_rows(out_overrides, [OVERRIDES, *words])
        report.notes += [
            f"{level} {name} is decided on, but is not there" for level, name, *_, found in words if not found
        ]
        cells_in = sum(row[4] for row in rows if row[0] == "crop" and row[3] == "in")
        report.counts = {"in": cells_in, "kept": cells_in}
        report.notes += [f"{what} {name} leaves out source {source}: {why}" for what, name, source, why in left_out]
        log.info("%d lines add up", len(rows))


def balance_rows(
    catalog: pd.DataFrame,
    files: pd.DataFrame,
    qc: pd.DataFrame,
    cells: pd.DataFrame,
    shards: Iterable[str],
    without_crops: Sequence[str] = (),
) -> list[tuple[str, str, str, str, int]]:
    """Lines of the balance, each stage's checked against what the stage before it knows.

    Args:
        catalog: field_id, version, source, shard, retired_in; every version, once.
        files: field_id, version, role, status, reason.
        qc: field_id, version, source, status, reason.
        cells: cell_id, field_id, version, source, shard, status, reason, crop_index.
        shards: shards of the run; versions of other shards (of sources that the configuration no longer names) are
            left aside.
        without_crops: sources whose cells have no crop.

    Returns:
        (stage, source, item, reason, count), `in` and `kept` of every stage first.

    Raises:
        BalanceError: see `write_balance`.
    """
    catalog = catalog[catalog["shard"].isin(set(shards))]
    _check_once(catalog, "the catalog")
    source = catalog.set_index(KEY)["source"]
    retired = catalog["retired_in"].notna().set_axis(source.index)
    fate = pd.Series(KEPT, index=source.index, dtype=object)
    lines = _lines("catalog", "fields", source, fate.mask(retired, RETIRED))
    lines += _lines("download", "fields", source, _fates(download_fates(files), source, retired, "download"))
    _check_once(qc, "qc")
    judged = qc.set_index(KEY)
    verdict = judged["reason"].where(judged["status"] != PASSED, KEPT)
    lines += _lines("qc", "fields", source, _fates(verdict, source, retired, "qc"))
    lines += _cell_lines(cells, set(judged.index[judged["status"] == PASSED]), retired, without_crops)
    return lines


def _cell_lines(
    cells: pd.DataFrame, passed: set[tuple[str, str]], retired: pd.Series, without_crops: Sequence[str]
) -> list:
    """Lines of the stage crop, once the ledger is sound."""
    if not len(cells):
        return []
    twice = cells["cell_id"][cells["cell_id"].duplicated()]
    if len(twice):
        raise BalanceError(f"the ledger has {len(twice)} cells twice, {twice.iloc[0]} the first: run `crop` again")
    keys = pd.MultiIndex.from_frame(cells[KEY])
    stray = [key for key in keys.unique() if key not in passed]
    if stray:
        raise BalanceError(
            f"the ledger has cells of {len(stray)} fields that did not pass qc, {'@'.join(stray[0])} the first: "
            "run `crop` again"
        )
    kept = cells["status"] == KEPT
    cut = kept & ~cells["source"].isin(list(without_crops))
    wrong = cells[(kept != (cells["reason"] == KEPT)) | (cut != cells["crop_index"].notna())]
    if len(wrong):
        row = wrong.iloc[0]
        raise BalanceError(
            f"{len(wrong)} cells are kept without a crop or rejected with one, or have a reason that their status "
            f"contradicts: {row['cell_id']} is {row['status']}, reason {row['reason']}, crop {row['crop_index']}"
        )
    for shard, rows in cells[cut].groupby("shard"):
        places = sorted(rows["crop_index"].astype(int))
        if places != list(range(len(places))):
            raise BalanceError(f"the crops of {shard} are not numbered 0 to {len(places) - 1}: run `crop` again")
    fate = cells["reason"].where(~retired.reindex(keys).to_numpy(bool), RETIRED)
    _check_reasons(fate, {KEPT, RETIRED, *CELL_REASONS}, "crop")
    return _lines("crop", "cells", cells["source"], fate)


def _sample_lines(cells: pd.DataFrame, catalog: pd.DataFrame, samples: str | Path) -> list:
    """Lines of the kept cells of current field versions: those of samples with too few of them fall out."""
    current = catalog.loc[catalog["retired_in"].isna(), KEY]
    kept = cells[cells["status"] == KEPT].merge(current, on=KEY)
    small = in_small_sample(kept, samples)
    return _lines("samples", "cells", kept["source"], small.map({True: SMALL, False: KEPT}))


def _fates(fate: pd.Series, source: pd.Series, retired: pd.Series, stage: str) -> pd.Series:
    """Fates in the catalog's order; every version of the catalog and no other must have one."""
    missing = source.index.difference(fate.index)
    if len(missing):
        raise BalanceError(
            f"{stage}: {len(missing)} of {len(source)} field versions have no row, {'@'.join(missing[0])} the first: "
            f"run `{stage}` again on their shards"
        )
    unknown = fate.index.difference(source.index)
    if len(unknown):
        raise BalanceError(
            f"{stage}: {len(unknown)} field versions are not in the catalog, {'@'.join(unknown[0])} the first: "
            "run `catalog` again"
        )
    fate = fate.reindex(source.index).mask(retired, RETIRED)
    _check_reasons(fate, {KEPT, RETIRED, *FIELD_REASONS}, stage)
    return fate


def _lines(stage: str, item: str, source: pd.Series, fate: pd.Series) -> list[tuple[str, str, str, str, int]]:
    """`in`, `kept`, then each reason that occurs, the most frequent first; per source."""
    lines = []
    for name in sorted(source.unique()):
        here = fate[(source == name).to_numpy()]
        counts = Counter(here)
        kept = counts.pop(KEPT, 0)
        if len(here) != kept + sum(counts.values()):
            raise BalanceError(f"{stage}, {name}: {len(here)} {item} came in, {kept} were kept, {dict(counts)} fell")
        reasons = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        lines += [(stage, name, item, reason, n) for reason, n in [("in", len(here)), (KEPT, kept), *reasons]]
    return lines


def _check_once(frame: pd.DataFrame, where: str) -> None:
    twice = frame[frame.duplicated(KEY)]
    if len(twice):
        raise BalanceError(f"{where} has {len(twice)} field versions twice, {'@'.join(twice.iloc[0][KEY])} the first")


def _check_reasons(fate: pd.Series, allowed: set[str], stage: str) -> None:
    unknown = sorted({str(reason) for reason in fate.unique()} - allowed)
    if unknown:
        raise BalanceError(f"{stage}: unknown reason {', '.join(unknown)}; known are {', '.join(sorted(allowed))}")


def words_followed(
    overrides: Sequence[Sequence[str]], catalog: pd.DataFrame, cells: pd.DataFrame
) -> list[list[str | bool]]:
    """Curators' words, and whether what they name is there.

    Args:
        overrides: level, id, action, value, who, why.
        catalog: field_id, retired_in.
        cells: cell_id.

    Returns:
        The same rows, each with True if its field is in the catalog or its cell in the ledger.
    """
    there = {
        "field": set(catalog["field_id"][catalog["retired_in"].isna()]),
        "cell": set(cells["cell_id"]) if len(cells) else set(),
    }
    return [[*word, word[1] in there[word[0]]] for word in overrides]


def _write_rows(path: str | Path, rows: Iterable[Sequence[object]]) -> None:
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines, delimiter="\t", lineterminator="\n").writerows(rows)
