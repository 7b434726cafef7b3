"""Outline the nuclei and cells of one shard's fields with a network."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.segmentation.shard import segment_shard

    segment_shard(
        shard=snakemake.wildcards.shard,
        fields=snakemake.input.fields,
        files=snakemake.input.files,
        qc=snakemake.input.qc,
        settings=snakemake.params.settings,
        folder=snakemake.params.folder,
        device=snakemake.params.device,
        threads=snakemake.threads,
        masks=snakemake.output.masks,
        quality=snakemake.output.quality,
        summary=snakemake.output.summary,
    )
