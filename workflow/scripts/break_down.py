"""Break the scores of one model down by groups of fields, and compare it with people."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.break_down import break_down

    break_down(
        model=snakemake.wildcards.model,
        scored=snakemake.input.scored,
        fields=snakemake.input.fields,
        split=snakemake.input.split,
        embeddings=snakemake.input.embeddings,
        training=snakemake.input.get("training") or [],
        annotations=snakemake.input.get("annotations") or None,
        evaluation=snakemake.params.evaluation,
        outputs=dict(snakemake.output.items()),
        summary=snakemake.output.summary,
    )
