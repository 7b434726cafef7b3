"""Compare the outlines of every method with the truth."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.metrics.segmentation_run import evaluate_segmentation

    evaluate_segmentation(
        inputs=dict(snakemake.input.items()),
        patterns=snakemake.params.patterns,
        outputs=dict(snakemake.output.items()),
    )
