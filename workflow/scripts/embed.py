"""Describe every cell or field of one shard by one model."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.embed import embed_shard

    embed_shard(
        shard=snakemake.wildcards.shard,
        model=snakemake.wildcards.model,
        fields=snakemake.input.fields,
        files=snakemake.input.files,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        crops=snakemake.input.crops,
        weights=snakemake.input.get("weights") or None,
        settings=snakemake.params.settings,
        device=snakemake.params.device,
        embeddings=snakemake.output.embeddings,
        predictions=snakemake.output.predictions,
        summary=snakemake.output.summary,
    )
