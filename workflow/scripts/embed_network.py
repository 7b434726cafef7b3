"""Describe every cell or field of one shard by a network that was trained here."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.inference import embed_network

    embed_network(
        shard=snakemake.wildcards.shard,
        model=snakemake.wildcards.model,
        fields=snakemake.input.fields,
        cells=snakemake.input.cells,
        qc=snakemake.input.qc,
        store=snakemake.input.store,
        weights=snakemake.input.weights,
        settings=snakemake.params.settings,
        device=snakemake.params.device,
        threads=snakemake.threads,
        embeddings=snakemake.output.embeddings,
        predictions=snakemake.output.predictions,
        summary=snakemake.output.summary,
    )
