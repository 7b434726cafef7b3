"""Compare the label audit with the samples whose labels are known to be wrong."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.metrics.label_audit import evaluate_audit

    evaluate_audit(
        model=snakemake.wildcards.model,
        by_protein=snakemake.input.by_protein,
        by_sample=snakemake.input.by_sample,
        fields=snakemake.input.fields,
        truth=snakemake.input.get("truth") or [],
        scores=snakemake.output.scores,
        summary=snakemake.output.summary,
    )
