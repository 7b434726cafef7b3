"""Check that no field and no cell was lost on the way."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.balance import write_balance

    write_balance(
        fields=snakemake.input.fields,
        files=snakemake.input.files,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        segment_summaries=snakemake.input.segment_summaries,
        import_summaries=snakemake.input.import_summaries,
        embed_summaries=snakemake.input.embed_summaries,
        embeddings=snakemake.input.embeddings,
        left_out=snakemake.params.left_out,
        without_crops=snakemake.params.without_crops,
        overrides=snakemake.params.overrides,
        balance=snakemake.output.balance,
        out_left_out=snakemake.output.left_out,
        out_overrides=snakemake.output.overrides,
        summary=snakemake.output.summary,
    )
