"""Score one model on folds that it has not seen."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.evaluate import evaluate_model

    evaluate_model(
        model=snakemake.wildcards.model,
        fields=snakemake.input.fields,
        split=snakemake.input.split,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        embeddings=snakemake.input.embeddings,
        predictions=snakemake.input.predictions,
        training=snakemake.input.get("training") or [],
        elsewhere=snakemake.params.elsewhere,
        truth=snakemake.input.get("truth") or [],
        settings=snakemake.params.settings,
        evaluation=snakemake.params.evaluation,
        relabelled=snakemake.params.relabelled,
        threads=snakemake.threads,
        classes=snakemake.output.classes,
        scores=snakemake.output.scores,
        out_predictions=snakemake.output.predictions,
        out_fields=snakemake.output.fields,
        summary=snakemake.output.summary,
    )
