"""Compare outlines with the simulated truth."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.metrics.segmentation_run import evaluate_segmentation

    evaluate_segmentation(
        qc=snakemake.input.qc,
        masks=snakemake.input.masks,
        cells=snakemake.input.cells,
        truth=snakemake.input.truth,
        evaluation=snakemake.params.evaluation,
        fields=snakemake.output.fields,
        scores=snakemake.output.scores,
        summary=snakemake.output.summary,
    )
