"""The card of a trained model: what it is, what it learned from, how far to trust it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from wherein.models.networks.registry import NETWORKS

TEXT = """# Model {model}

{kind}: {source}. {parameters:,} parameters.

| | |
| --- | --- |
| says of | each {level}: {classes} of the vocabulary `{vocabulary}` |
| sees | {inputs}, in this order; {side_px} x {side_px} pixels, {grid} |
| intensities | `{normalization}` (docs/formats.md; wherein.reading.normalization) |
| vector | {embedding} numbers, the last layer before the classes |
| trained on | {device}, {precision}; {epochs} epochs of {seconds_per_epoch:.1f} s |
| speed | {images_per_second:.1f} images a second, {data_wait_share:.0%} of the time waiting for images |
| kept | epoch {best_epoch}, {score} on the validation rows |
| seed | {seed} of the weights, {order_seed} of the order and the changes |

## Learned from
Rows of `results/training/{model}.parquet`: genes of fold {validation_fold} chose the epoch, genes of fold {test_fold}
were never seen. No gene, reagent or near-duplicate image lies on two sides (rule `split`). Labels are
those of the release as they were when the table was written.{permuted}

| class | training rows | validation rows |
| --- | --- | --- |
{rows}

## Trained by
```yaml
{config}
```

## Validation
Scores on the unseen genes, with intervals, are in `results/evaluation/{model}/` and on the model's page of the report.
The validation score above is too good: the epoch was chosen by it.

## Use
For images made as these: the same roles, stains and microscopes; a class of few training rows, or of none, cannot be
told. From which probability on a class counts as predicted is in `results/evaluation/{model}/classes.tsv`: chosen on
what the model says of the validation rows with the tiles and the test-time changes that are scored. Look at the leak
probe before believing a score, and train anew rather than use the model on another kind of microscope.
"""

FALSE_LABELS = (
    "\n\n**Labels were exchanged between genes (`permuted`): this model is a control, and predicts nothing.**"
)


def card_text(facts: Mapping[str, Any], classes: pd.DataFrame) -> str:
    """Write the card of a trained network.

    Args:
        facts: what is known of network and training (`wherein.models.train`).
        classes: `class`, `n_train`, `n_validation`: rows of each class.

    Returns:
        Markdown.
    """
    network, training, table = NETWORKS[facts["kind"]], facts["training"], facts["table"]
    rows = [f"| {row['class']} | {row['n_train']} | {row['n_validation']} |" for _, row in classes.iterrows()]
    score = "no score, there are none"
    if facts["best_score"] is not None:
        score = f"{training['select_by'].replace('_', ' ')} {facts['best_score']:.4f}"
    own = {key: facts[key] for key in ("kind", "level", "inputs", "options")}
    config = yaml.safe_dump(
        {"models": {facts["model"]: {**own, "tile_px": facts["side_px"], "training": dict(training)}}},
        sort_keys=False,
        width=100,
    )
    known = {
        key: value for key, value in facts.items() if key not in ("classes", "inputs", "grid", "training", "table")
    }
    return TEXT.format(
        **known,
        source=network.source,
        embedding=network.embedding,
        classes=f"{len(facts['classes'])} classes" if "reagents" not in facts else "its vector alone, no classes",
        inputs=", ".join(facts["inputs"]),
        grid=grid_words(facts),
        score=score,
        order_seed=training["seed"],
        validation_fold=table["validation_fold"],
        test_fold=table["test_fold"],
        permuted=FALSE_LABELS if table["permuted"] else "",
        rows="\n".join(rows),
        config=config.rstrip(),
    )


def grid_words(facts: Mapping[str, Any]) -> str:
    """The grid of the images, in words."""
    grid = facts["grid"]
    if facts["level"] == "cell":
        size = facts["pixel_size_um"]
        return "crops on their own grid" if size is None else f"crops on a grid of {size:g} um"
    if grid == "source":
        return "windows of fields on their own grid"
    return f"windows of fields {'whose longer side is ' + grid if grid.endswith('px') else 'on a grid of ' + grid}"
