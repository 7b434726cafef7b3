"""Train the two networks of one segmenter."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.segmentation.networks.train import train_segmenter

    train_segmenter(
        segmenter=snakemake.wildcards.segmenter,
        settings=snakemake.params.settings,
        device=snakemake.params.device,
        weights=snakemake.output.weights,
        card=snakemake.output.card,
        history=snakemake.output.history,
        summary=snakemake.output.summary,
    )
