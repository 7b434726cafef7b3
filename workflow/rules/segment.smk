"""segment: the outline of every nucleus and every cell."""


rule segment:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        files="results/download/{shard}.parquet",
        qc="results/qc/{shard}.parquet",
    output:
        masks=directory("results/masks/{shard}.zarr"),
        summary="results/summaries/segment/{shard}.json",
    log:
        "logs/segment/{shard}.log",
    benchmark:
        "results/benchmark/segment/{shard}.tsv"
    conda:
        "../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=mb(3000),
        runtime=minutes_per_field(10),
    params:
        settings=source_settings("segment"),
        members=shard_digest,
        code=code_digest("segment"),
    message:
        "Outlining the cells of {wildcards.shard}"
    script:
        "../scripts/segment.py"
