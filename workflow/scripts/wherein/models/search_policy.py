"""The search for a policy of augmentation: short trainings on part of the training rows, scored on others of them.

Policies are drawn as AutoAugment's are (Cubuk et al. 2019, section 3: five sub-policies of two operations); which of
them is best is found by successive halving (Jamieson and Talwalkar 2016): all are trained for a few epochs, the better
part for longer, and so on. No policy at all is one of the candidates in every round. Rows that a network is chosen by
or scored on take no part.
"""

import csv
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein import tables
from wherein.atomic import write_json
from wherein.digest import digest, sha256_of
from wherein.models.policies import NAMES, Step
from wherein.models.train import files_of, train_model
from wherein.models.training_table import TRAIN, VALIDATION, schema
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

PROBABILITIES = np.linspace(0.1, 1, 10)
MAGNITUDES = np.linspace(0.1, 1, 10)
"""Values that are drawn from (Cubuk et al. 2019, section 3, have 11 and 10; those that change nothing are left out)."""

NONE = 0
"""Number of the trial without a policy."""

COLUMNS = ("round", "trial", "epochs", "loss", "macro_f1", "chosen", "policy")
"""Of the table of trials; see docs/formats.md."""

Policy = list[list[Step]]


def search_policy(
    model: str,
    table: str,
    stores: Sequence[str],
    teacher: Sequence[str],
    settings: Mapping[str, Any],
    search: Mapping[str, Any],
    device: str,
    threads: int,
    checkpoint_minutes: float,
    state: str,
    policy: str,
    trials: str,
    summary: str,
    start: str | None = None,
) -> None:
    """Search a policy for one network, or go on with a search that was stopped.

    Args:
        model: the model's name.
        table: its training table.
        stores: stores of fields or of crops.
        teacher: predictions to learn from beside the labels; empty for none.
        settings: `wherein.models.learned.search_settings`.
        search: `models.<name>.training.policy_search` of the configuration.
        device: `auto`, `cuda` or `cpu`.
        threads: of the processor.
        checkpoint_minutes: minutes between two states of a training that are saved.
        state: folder of what a search goes on from.
        policy: JSON to write (`wherein.models.policies.read_policy`).
        trials: TSV to write, one row a training.
        summary: the job's summary.
        start: weights to start each training from; None for random ones.

    Raises:
        ValueError: there are too few genes to learn from and to score on.
        SystemExit: told to stop; the state is saved.
    """
    with stage_summary(summary, "search_policy", model, ("numpy", "torch", "monai")) as report:
        reads = [sha256_of(path) for path in (table, *([start] if start else []), *files_of(settings))]
        kept = Path(state) / digest([dict(settings), dict(search), reads])
        small = kept / "table.parquet"
        counts = split_rows(table, search, small)
        candidates = {NONE: [], **dict(enumerate(drawn_policies(search), start=NONE + 1))}
        rows: list[dict[str, Any]] = []
        left = list(candidates)
        for number in range(search["rounds"]):
            epochs = search["epochs"] * search["keep_one_in"] ** number
            found = {}
            for trial in left:
                folder = kept / f"{number}-{trial}"
                found[trial] = _tried(
                    folder, candidates[trial], epochs, settings,
                    model=model, table=str(small), stores=stores, teacher=teacher, start=start, device=device,
                    threads=threads, checkpoint_minutes=checkpoint_minutes,
                )  # fmt: skip
                LOG.info("round %d, trial %d of %s: loss %.4f", number + 1, trial, left, found[trial]["loss"])
                rows.append({"round": number + 1, "trial": trial, "epochs": epochs, **found[trial]})
            left = survivors({trial: told["loss"] for trial, told in found.items()}, search["keep_one_in"])
        best = min(found, key=lambda trial: (found[trial]["loss"], trial))
        _write(trials, policy, rows, best, candidates, model)
        report.counts = counts
        report.extra |= {"trials": len(candidates), "best_trial": best, "seed": search["seed"]}
        report.extra |= {"best_loss": found[best]["loss"], "loss_without": found[NONE]["loss"]}
        if best == NONE:
            report.notes.append("no policy did better than none: the file holds an empty one")
    shutil.rmtree(state, ignore_errors=True)


def split_rows(table: str, search: Mapping[str, Any], small: Path) -> dict[str, int]:
    """Write the training table of the trials: some training genes to learn from, others to score on.

    Args:
        table: the model's training table.
        search: `share` and `held_out`, of the training genes, and `seed`.
        small: the table to write.

    Returns:
        Numbers of rows: `in` of the table, `kept` to learn from, `validation` to score on, `left_out` of the others.

    Raises:
        ValueError: one of the two would be empty.
    """
    rows, known = tables.read_tables([table]), tables.read_metadata(table)
    own = rows[rows["part"] == TRAIN]
    genes = np.random.default_rng(search["seed"]).permutation(np.sort(own["gene_group"].unique()))
    scored = round(len(genes) * search["held_out"])
    learned = min(ceil(len(genes) * search["share"]), len(genes) - scored)
    if not scored or not learned:
        raise ValueError(
            f"a policy is searched on training genes, and there are {len(genes)}: too few to score on a share of "
            f"{search['held_out']:g} of them and to learn from another (policy_search.held_out)"
        )
    part = pd.Series(VALIDATION, index=genes[:scored])
    part = pd.concat([part, pd.Series(TRAIN, index=genes[scored : scored + learned])])
    found = own[own["gene_group"].isin(part.index)]
    found = found.assign(part=found["gene_group"].map(part)).reset_index(drop=True)
    tables.write_table(small, found, schema(known["classes"]), known)
    counts = found["part"].value_counts()
    return {
        "in": len(rows),
        "kept": int(counts[TRAIN]),
        "validation": int(counts[VALIDATION]),
        "left_out": len(rows) - len(found),
    }


def drawn_policies(search: Mapping[str, Any]) -> list[Policy]:
    """`trials` policies of `subpolicies` times `operations` random steps each, by the search's seed."""
    rng = np.random.default_rng([search["seed"], 1])

    def step() -> Step:
        return Step(str(rng.choice(NAMES)), float(rng.choice(PROBABILITIES)), float(rng.choice(MAGNITUDES)))

    return [
        [[step() for _ in range(search["operations"])] for _ in range(search["subpolicies"])]
        for _ in range(search["trials"])
    ]


def survivors(losses: Mapping[int, float], keep_one_in: int) -> list[int]:
    """Trials of the next round: one in so many, those of the lowest loss, and always the one without a policy."""
    ranked = sorted((trial for trial in losses if trial != NONE), key=lambda trial: (losses[trial], trial))
    return [NONE, *sorted(ranked[: max(ceil(len(ranked) / keep_one_in), 1)])]


def _tried(
    folder: Path, candidate: Policy, epochs: int, settings: Mapping[str, Any], **same: Any
) -> dict[str, float | None]:
    """Loss and macro-F1 of a training with a policy, best epoch; from an earlier try of the search, where it ended."""
    done = folder / "done.json"
    if not done.is_file():
        write_json(folder / "policy.json", {"subpolicies": candidate})
        training = {
            **settings["training"],
            "epochs": epochs,
            # macro-F1 is 0 for most classes after a few epochs, and tells policies apart later than the loss does
            "select_by": "loss",
            "early_stopping_epochs": None,
            "augmentation": {
                **settings["training"]["augmentation"],
                "policy": {"kind": "searched", "file": str(folder / "policy.json")},
            },
        }
        train_model(
            **same,
            settings={**settings, "training": training},
            state=str(folder / "state"),
            weights=str(folder / "weights.pt"),
            history=str(folder / "history.csv"),
            card=str(folder / "card.md"),
            summary=str(folder / "summary.json"),
        )
        with (folder / "history.csv").open() as lines:
            rows = [row for row in csv.DictReader(lines) if row["validation_loss"]]
        best = min(rows, key=lambda row: float(row["validation_loss"]))
        write_json(done, {"loss": float(best["validation_loss"]), "macro_f1": float(best["macro_f1"])})
        for name in ("weights.pt", "history.csv", "card.md", "summary.json"):
            (folder / name).unlink(missing_ok=True)
    return json.loads(done.read_text())


def _write(
    trials: str,
    policy: str,
    rows: Sequence[Mapping[str, Any]],
    best: int,
    candidates: Mapping[int, Policy],
    model: str,
) -> None:
    last = max(row["round"] for row in rows)
    told = [
        {
            **row,
            "chosen": "yes" if row["trial"] == best and row["round"] == last else "no",
            "policy": json.dumps(candidates[row["trial"]]),
        }
        for row in rows
    ]
    tables.write_tsv(trials, pd.DataFrame(told), list(COLUMNS))
    final = {row["trial"]: row["loss"] for row in rows if row["round"] == last}
    write_json(
        policy,
        {
            "model": model,
            "trials": len(candidates) - 1,
            "loss": final[best],
            "loss_without": final[NONE],
            "subpolicies": candidates[best],
        },
    )
