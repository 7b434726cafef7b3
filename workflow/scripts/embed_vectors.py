"""Hand the vectors of one shard on, and their class probabilities."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.exchange.vector_embedding import embed_vectors

    embed_vectors(
        model=snakemake.wildcards.model,
        shard=snakemake.wildcards.shard,
        listed=snakemake.input.listed,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        source=snakemake.params.source,
        embeddings=snakemake.output.embeddings,
        predictions=snakemake.output.predictions,
        summary=snakemake.output.summary,
    )
