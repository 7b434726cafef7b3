"""Judge the rows of a table of vectors made elsewhere, for one shard."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.exchange.vector_importing import import_vectors

    import_vectors(
        shard=snakemake.wildcards.shard,
        fields=snakemake.input.fields,
        listed=snakemake.input.listed,
        source=snakemake.params.source,
        settings=snakemake.params.settings,
        field_words=snakemake.params.field_words,
        cell_words=snakemake.params.cell_words,
        files=snakemake.output.files,
        qc=snakemake.output.qc,
        cells=snakemake.output.cells,
        summary=snakemake.output.summary,
    )
