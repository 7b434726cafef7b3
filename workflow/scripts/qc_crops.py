"""Judge the fields of one shard of crops made elsewhere."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.exchange.judging import judge_crops

    judge_crops(
        shard=snakemake.wildcards.shard,
        fields=snakemake.input.fields,
        listed=snakemake.input.listed,
        files=snakemake.input.files,
        settings=snakemake.params.settings,
        overrides=snakemake.params.overrides,
        qc=snakemake.output.qc,
        summary=snakemake.output.summary,
    )
