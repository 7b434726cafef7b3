"""Ask of every protein and sample whether its neighbours have its labels."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.audit import audit_labels

    audit_labels(
        model=snakemake.wildcards.model,
        level=snakemake.params.level,
        proteins=snakemake.input.proteins,
        fields=snakemake.input.fields,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        embeddings=snakemake.input.embeddings,
        predictions=snakemake.input.predictions,
        settings=snakemake.params.settings,
        by_protein=snakemake.output.by_protein,
        by_sample=snakemake.output.by_sample,
        summary=snakemake.output.summary,
    )
