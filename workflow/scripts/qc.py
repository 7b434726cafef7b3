"""Judge the fields of one shard."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.qc import judge_shard

    judge_shard(
        shard=snakemake.wildcards.shard,
        fields=snakemake.input.fields,
        files=snakemake.input.files,
        settings=snakemake.params.settings,
        overrides=snakemake.params.overrides,
        qc=snakemake.output.qc,
        summary=snakemake.output.summary,
    )
