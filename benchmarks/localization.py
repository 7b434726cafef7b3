"""Networks and the hand-crafted baseline on simulated fields: trained, and scored on genes that none of them has seen.

Draws the fields (once: a folder that is given is used again), then takes each network through the functions of its own
rules: training table, training, inference, thresholds, scores with intervals over genes. The baseline is the random
forest on the features `classic` of whole fields, scored on the same genes. `--permuted` trains on labels exchanged
between genes, which has to score as chance; `--confounded` draws fields whose plate tells the class; `--overfit 32` has
each network learn so many fields by heart, by the settings in BY_HEART. Prints a table and, last, one JSON line;
`alarms` there are what the probes for leaks say of each model (`wherein.analysis.leaks`).
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein import tables  # noqa: E402
from wherein.analysis.leaks import probe_leaks  # noqa: E402
from wherein.catalog import build_catalog  # noqa: E402
from wherein.crops.samples import count_samples  # noqa: E402
from wherein.models.embed import embed_shard  # noqa: E402
from wherein.models.evaluate import evaluate_model  # noqa: E402
from wherein.models.field_store import shrink_shard  # noqa: E402
from wherein.models.inference import embed_network  # noqa: E402
from wherein.models.learned import inference_settings, table_settings, training_settings  # noqa: E402
from wherein.models.networks.registry import NETWORKS  # noqa: E402
from wherein.models.train import train_model  # noqa: E402
from wherein.models.training_table import make_training_table, schema  # noqa: E402
from wherein.settings import check_config  # noqa: E402
from wherein.shards import read_shards  # noqa: E402
from wherein.simulate.shard import simulate_shard  # noqa: E402
from wherein.split import split_run  # noqa: E402

LOG = logging.getLogger(__name__)


class ByHeart(NamedTuple):
    """How a network learns a few fields by heart in minutes on one core.

    Attributes:
        px: side of its images.
        epochs: of the training.
        learning_rate: highest.
        options: of the network: what would keep it from learning by heart is off.
    """

    px: int
    epochs: int
    learning_rate: float
    options: Mapping[str, Any] = MappingProxyType({})


BY_HEART = {
    "gapnet-pl": ByHeart(128, 200, 0.002, {"dropout": 0}),
    "densenet121": ByHeart(64, 40, 0.001, {"dropout": 0}),
    "mcnn": ByHeart(128, 50, 0.0005),
    "deeploc": ByHeart(64, 60, 0.0005),
    "mil": ByHeart(128, 200, 0.001, {"dropout": [0, 0]}),
    "fcn-seg": ByHeart(128, 200, 0.003),
    "densenet121-large": ByHeart(64, 40, 0.001, {"dropout": 0}),
    "inception-v3": ByHeart(96, 40, 0.001, {"dropout": 0}),
    "multi-scale": ByHeart(192, 60, 0.002, {"dropout": 0}),
    "resnet50": ByHeart(64, 40, 0.001),
    "se-resnext50": ByHeart(64, 40, 0.001),
    "efficientnet-b0": ByHeart(64, 60, 0.002),
    "vit": ByHeart(48, 40, 0.0002),
}
"""For `--overfit`: AdamW without decay, one cycle, at most 800 steps."""

ALONE = {"batch": 8, "schedule": "one_cycle", "weight_decay": 0, "validation_epochs": 10}


def configured(options: argparse.Namespace) -> dict[str, Any]:
    """The configuration of a run, with all defaults."""
    own = json.loads(options.training)
    models = {"classic": {"kind": "classic", "level": "field"}}
    for name in options.networks:
        heart = BY_HEART[name]
        px = heart.px if options.overfit else options.px
        side = (0 if options.overfit else options.tile_px) or px
        side = max(side - side % NETWORKS[name].multiple_of_px, NETWORKS[name].smallest_px)
        training = {"epochs": options.epochs, "permuted": options.permuted}
        if options.overfit:
            training |= {**ALONE, "epochs": heart.epochs, "learning_rate": heart.learning_rate}
        training |= {**own.get("all", {}), **own.get(name, {})}
        models[name] = {
            "kind": name,
            "level": "field",
            "options": dict(heart.options) if options.overfit else {},
            "field_px": px,
            "tile_px": side,
            "normalization": "rumetshofer2019",
            "training": training,
        }
    source = {
        "kind": "simulated",
        "mode": "four_roles",
        "proteins": options.proteins,
        "fields_per_protein": options.fields,
        "controls": options.controls,
        "faults": 0,
        "mislabelled": 0,
        "field_px": max(options.px, 256),
        "pixel_size_um": options.pixel_size_um,
        "confounded": options.confounded,
        "seed": options.seed,
    }
    config = {"sources": {"sim": source}, "shards": {"fields": 50}, "models": models, "device": options.device}
    check_config(config)
    return config


class Run:
    """A folder with the tables of a run.

    Args:
        folder: of the run.
        config: with all defaults.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder, self.config = folder, config
        self.shards: list[str] = []

    def path(self, *parts: str) -> str:
        """A file of the run, its folder made."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def each(self, what: str, *ending: str) -> list[str]:
        """A file of every shard."""
        return [self.path(what, *ending, f"{shard}.parquet") for shard in self.shards]

    def draw(self) -> None:
        """Draw all fields that are not there yet, and share them out."""
        build_catalog(
            self.config["sources"], None, self.config["shards"]["fields"], self.path("fields.parquet"),
            self.path("shards.tsv"), self.path("diff.tsv"), self.path("summary", "catalog.json"),
        )  # fmt: skip
        self.shards = list(read_shards(self.path("shards.tsv")))
        for shard in self.shards:
            if not Path(self.path("qc", f"{shard}.parquet")).exists():
                self._draw_shard(shard)
        if not Path(self.path("split.parquet")).exists():
            split_run(
                self.path("fields.parquet"), self.each("qc"), self.each("cells"), self.config["split"],
                self.path("split.parquet"), self.path("summary", "split.json"),
            )  # fmt: skip
        count_samples(
            self.path("fields.parquet"), self.each("cells"), {"sim": 0}, self.path("samples.parquet"),
            self.path("summary", "samples.json"),
        )  # fmt: skip

    def _draw_shard(self, shard: str) -> None:
        simulate_shard(
            shard, self.config["sources"]["sim"], self.path("fields.parquet"), self.path("images", shard),
            self.path("truth", shard), self.path("download", f"{shard}.parquet"), self.path("summary", f"{shard}.json"),
        )  # fmt: skip
        members = tables.fields_of_shard(self.path("fields.parquet"), shard)
        px = self.config["sources"]["sim"]["field_px"]
        roles = ("nucleus", "microtubules", "er", "protein")
        known = members[["field_id", "version", "shard", "source"]].assign(
            status="passed", reason="passed", height=px, width=px, dtype="uint16", phash=None
        )
        tables.write_table(self.path("cells", f"{shard}.parquet"), pd.DataFrame(), tables.cells_schema(roles))
        tables.write_table(self.path("qc", f"{shard}.parquet"), known, tables.qc_schema(roles))

    def baseline(self) -> None:
        """Features of whole fields."""
        for shard in self.shards:
            out = self.path("embeddings", "classic", f"{shard}.parquet")
            if not Path(out).exists():
                embed_shard(
                    shard=shard, model="classic", fields=self.path("fields.parquet"),
                    files=self.path("download", f"{shard}.parquet"), qc=self.path("qc", f"{shard}.parquet"),
                    cells=self.path("cells", f"{shard}.parquet"), crops="", weights=None,
                    settings=self.config["models"]["classic"], device="cpu", embeddings=out,
                    predictions=self.path("predictions", "classic", f"{shard}.parquet"),
                    summary=self.path("summary", "classic", f"{shard}.json"),
                )  # fmt: skip

    def shrink(self, grid: str) -> list[str]:
        """Stores of all fields on a grid."""
        stores = [self.path("fields", grid, f"{shard}.zarr") for shard in self.shards]
        for shard, store in zip(self.shards, stores, strict=True):
            if not Path(store).exists():
                shrink_shard(
                    shard,
                    grid,
                    self.path("fields.parquet"),
                    self.path("download", f"{shard}.parquet"),
                    self.path("qc", f"{shard}.parquet"),
                    store,
                    self.path("summary", "shrink", f"{shard}.json"),
                )
        return stores

    def table(self, model: str, settings: dict[str, Any]) -> str:
        """The training table of a network."""
        table = self.path("training", f"{model}.parquet")
        make_training_table(
            model,
            self.path("fields.parquet"),
            self.path("split.parquet"),
            self.path("samples.parquet"),
            self.each("qc"),
            self.each("cells"),
            "field",
            table_settings(settings),
            [],
            table,
            self.path("training", f"{model}.tsv"),
            self.path("summary", "table", f"{model}.json"),
        )
        return table

    def train(self, model: str, table: str, stores: list[str], trained: dict[str, Any], threads: int) -> str:
        """Train a network on a table; gives its weights."""
        folder = ("models", model)
        weights = self.path(*folder, "weights.pt")
        train_model(
            model=model,
            table=table,
            stores=stores,
            teacher=[],
            settings=trained,
            device=self.config["device"],
            threads=threads,
            checkpoint_minutes=10,
            state=self.path(*folder, "state"),
            weights=weights,
            history=self.path(*folder, "history.csv"),
            card=self.path(*folder, "card.md"),
            summary=self.path("summary", "train", f"{model}.json"),
        )
        return weights

    def learn(self, model: str, threads: int) -> None:
        """Training table, training and inference of one network."""
        settings = self.config["models"][model]
        trained = training_settings(settings)
        stores = self.shrink(trained["grid"])
        weights = self.train(model, self.table(model, settings), stores, trained, threads)
        for shard, store in zip(self.shards, stores, strict=True):
            embed_network(
                shard=shard, model=model, fields=self.path("fields.parquet"),
                cells=self.path("cells", f"{shard}.parquet"), qc=self.path("qc", f"{shard}.parquet"), store=store,
                weights=weights, settings=inference_settings(settings), device=self.config["device"], threads=threads,
                embeddings=self.path("embeddings", model, f"{shard}.parquet"),
                predictions=self.path("predictions", model, f"{shard}.parquet"),
                summary=self.path("summary", "embed", model, f"{shard}.json"),
            )  # fmt: skip

    def overfit(self, model: str, count: int, threads: int) -> dict[str, Any]:
        """Train a network on a few fields and look at these alone: what it cannot learn by heart it cannot learn."""
        settings = self.config["models"][model]
        trained = training_settings(settings) | {"training": {**settings["training"], "augmentation": {}}}
        stores = self.shrink(trained["grid"])
        table = self.table(model, settings)
        rows = tables.read_tables([table])
        # of any part: nothing is scored here but what was learned
        few = rows.sample(count, random_state=0).assign(part="train")
        twice = pd.concat([few, few.assign(part="validation")], ignore_index=True)
        small = self.path("training", f"{model}-{count}.parquet")
        tables.write_table(small, twice, schema(tables.read_metadata(table)["classes"]), tables.read_metadata(table))
        start = time.monotonic()
        self.train(f"{model}-{count}", small, stores, trained, threads)
        told = json.loads(Path(self.path("summary", "train", f"{model}-{count}.json")).read_text())
        shown = {"px": settings["tile_px"], "classes": int(few[tables.read_metadata(table)["classes"]].any().sum())}
        shown |= {key: told[key] for key in ("parameters", "epochs", "best_epoch", "best_score", "images_per_second")}
        return {"model": model, **shown, "minutes": round((time.monotonic() - start) / 60, 1)}

    def score(self, model: str, table: str, threads: int) -> dict[str, Any]:
        """Scores of a model on the test genes of a training table."""
        evaluate_model(
            model=model, fields=self.path("fields.parquet"), split=self.path("split.parquet"), qc=self.each("qc"),
            cells=self.each("cells"), embeddings=self.each("embeddings", model),
            predictions=self.each("predictions", model), truth=[], settings=self.config["models"][model],
            evaluation=self.config["evaluate"], relabelled=[], threads=threads, samples=None, training=[table],
            classes=self.path("evaluation", model, "classes.tsv"),
            scores=self.path("evaluation", model, "scores.json"),
            out_predictions=self.path("evaluation", model, "predictions.parquet"),
            out_fields=self.path("evaluation", model, "fields.parquet"),
            summary=self.path("summary", "evaluate", f"{model}.json"),
        )  # fmt: skip
        return json.loads(Path(self.path("evaluation", model, "scores.json")).read_text())

    def leaks(self, model: str) -> list[str]:
        """What is alarming about a scored model: whether plates, samples or reagents give its answers away."""
        evaluation = self.config["evaluate"]
        probe_leaks(
            model=model, scored=self.path("evaluation", model, "fields.parquet"), fields=self.path("fields.parquet"),
            split=self.path("split.parquet"), embeddings=self.each("embeddings", model),
            settings={key: evaluation[key] for key in ("leak_deals", "leak_queries", "seed")},
            neighbours=self.path("evaluation", model, "neighbours.tsv"),
            leaks=self.path("evaluation", model, "leaks.json"),
            summary=self.path("summary", "probe_leaks", f"{model}.json"),
        )  # fmt: skip
        return json.loads(Path(self.path("evaluation", model, "leaks.json")).read_text())["alarms"]


def row_of(model: str, scores: dict[str, Any], seconds: float, run: Run) -> dict[str, Any]:
    """What is told of one model."""
    row = {"model": model, "macro_f1": scores["macro_f1"], "interval": scores["intervals"]["macro_f1"]}
    row |= {"chance": scores["baseline_macro_f1"], "micro_f1": scores["micro_f1"], "macro_auc": scores["macro_auc"]}
    row |= {"fields": scores["n_fields"], "genes": scores["n_genes"], "minutes": round(seconds / 60, 1)}
    if model != "classic":
        told = json.loads(Path(run.path("summary", "train", f"{model}.json")).read_text())
        row |= {key: told[key] for key in ("parameters", "epochs", "best_epoch", "images_per_second")}
    return row


def main() -> None:
    """Draw, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="of the run; what is there is used again")
    parser.add_argument("--networks", nargs="*", default=["gapnet-pl", "densenet121"], choices=list(NETWORKS))
    parser.add_argument("--proteins", type=int, default=150)
    parser.add_argument("--fields", type=int, default=4, help="fields of each protein")
    parser.add_argument("--controls", type=int, default=12)
    parser.add_argument("--px", type=int, default=256)
    parser.add_argument(
        "--tile-px", type=int, default=0, help="side of the windows that networks see; 0 for whole fields"
    )
    parser.add_argument("--pixel-size-um", type=float, default=0.32)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--training", default="{}", help="JSON: settings of the training by network, or of `all`")
    parser.add_argument("--overfit", type=int, default=0, help="fields to learn by heart, in place of all the rest")
    parser.add_argument("--permuted", action="store_true")
    parser.add_argument("--confounded", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run = Run(options.folder, configured(options))
    run.draw()
    if options.overfit:
        found = []
        for model in options.networks:
            found.append(run.overfit(model, options.overfit, options.threads))
            print(json.dumps(found[-1]), flush=True)
        print(pd.DataFrame(found).to_string(index=False))
        print(json.dumps({"fields": options.overfit, **{row["model"]: row["best_score"] for row in found}}))
        return
    run.baseline()
    rows, alarms = [], {}
    for model in [*options.networks, "classic"]:
        start = time.monotonic()
        if model != "classic":
            run.learn(model, options.threads)
        table = run.path("training", f"{model if model != 'classic' else options.networks[0]}.parquet")
        rows.append(row_of(model, run.score(model, table, options.threads), time.monotonic() - start, run))
        alarms[model] = run.leaks(model)
        print(json.dumps(rows[-1]), flush=True)
    print(pd.DataFrame(rows).to_string(index=False))
    best = max(rows[:-1], key=lambda row: row["macro_f1"])
    told = {"best": best["model"], "best_macro_f1": best["macro_f1"], "best_interval": best["interval"]}
    told |= {"baseline_macro_f1": rows[-1]["macro_f1"], "baseline_interval": rows[-1]["interval"]}
    told |= {"gain": round(best["macro_f1"] - rows[-1]["macro_f1"], 4), "chance": best["chance"]}
    told |= {"apart": best["interval"][0] > rows[-1]["interval"][1], "permuted": options.permuted}
    told |= {"confounded": options.confounded, "alarms": alarms}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
