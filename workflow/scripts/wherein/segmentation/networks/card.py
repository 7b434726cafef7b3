"""The card of a segmenter: what it is, how it was trained, what it may be used for."""

from typing import Any

import yaml

TEXT = """# Segmenter {name}

Two networks that outline nuclei and cells in fluorescence images, for the method `unet` (`segment.unet.weights`).
Shape `{architecture}`, on a grid of {grid_um} um.

| network | channels | values | steps | loss on held-out patches |
| --- | --- | --- | --- | --- |
{rows}

`stand_in` is another reference, or the protein, where there are neither microtubules nor er; a channel that a field
does not have is zero. Each network gives the chances of background, border and body. The loss is binary cross-entropy
and Dice (Le et al. 2022, methods, segmentation).

## Learned from
{learned}. {n_learned} fields to learn from, {n_held_out} held out.

## Made by
```
snakemake --cores 1 results/segmenters/{name}/weights.npz --configfile segmenter.yaml
```
with the run's `sources`, and in segmenter.yaml:
```yaml
{config}
```

## Use
For adherent cells with a nucleus channel. What the networks have not learned from (other stains, tissues, phase
contrast, yeast) has to be looked at before it is believed: compare with the outlines of `watershed` (`segment.second`),
or train on masks of your own (`segmenters.<name>.table`).
"""


def card_text(facts: dict[str, Any]) -> str:
    """Write the card of a segmenter.

    Args:
        facts: what stands in the weights' file: `name`, `architecture`, `grid_um`, `inputs`, `settings`, `parameters`,
            `examples`, `held_out_loss`.

    Returns:
        Markdown.
    """
    name, settings, examples = facts["name"], facts["settings"], facts["examples"]
    learned = []
    if settings["simulated"]["fields"]:
        pixels = ", ".join(str(size) for size in settings["simulated"]["pixel_sizes_um"])
        learned.append(
            f"{settings['simulated']['fields']} simulated fields of {settings['simulated']['field_um']} um (seed "
            f"{settings['seed']}; cells between and a little beyond the simulator's human lines; pixels of {pixels} um)"
        )
    if settings["table"]:
        learned.append(f"the fields of {settings['table']} with the masks given there")
    rows = [
        f"| {part} | {', '.join(facts['inputs'][part])} | {facts['parameters'][part]:,} | "
        f"{settings['steps'][part]:,} | {facts['held_out_loss'][part]:.4f} |"
        for part in facts["inputs"]
    ]
    config = yaml.safe_dump({"segmenters": {name: settings}}, sort_keys=False, default_flow_style=None, width=100)
    return TEXT.format(
        name=name,
        architecture=facts["architecture"],
        grid_um=facts["grid_um"],
        rows="\n".join(rows),
        learned="; ".join(learned),
        n_learned=examples["learned_from"],
        n_held_out=examples["held_out"],
        config=config.rstrip(),
    )
