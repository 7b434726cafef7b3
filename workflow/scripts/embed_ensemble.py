"""Put together what the models of one ensemble say of one shard."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.ensemble import embed_ensemble

    embed_ensemble(
        shard=snakemake.wildcards.shard,
        model=snakemake.wildcards.model,
        weights=snakemake.input.weights,
        member_embeddings=snakemake.input.member_embeddings,
        member_predictions=snakemake.input.member_predictions,
        embeddings=snakemake.output.embeddings,
        predictions=snakemake.output.predictions,
        summary=snakemake.output.summary,
    )
