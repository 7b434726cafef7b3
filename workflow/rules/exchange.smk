"""exchange: crops in the layouts of other programs. Nothing else in the run waits for it."""


rule export_crops:
    input:
        index="results/index",
        crops=shards_of_source("results/crops/{shard}.zarr"),
        cells=shards_of_source("results/cells/{shard}.parquet"),
    output:
        folder=directory("results/export/{layout}/{source}"),
        summary="results/summaries/export_crops/{layout}-{source}.json",
    log:
        "logs/export_crops/{layout}-{source}.log",
    benchmark:
        "results/benchmark/export_crops/{layout}-{source}.tsv"
    wildcard_constraints:
        layout="h5sc|cytoself|webdataset",
        source=r"[a-z][a-z0-9_]*",
    conda:
        "../envs/export.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=480,
    params:
        settings=export_settings,
        code=code_digest("export_crops"),
    message:
        "Exporting the crops of {wildcards.source} as {wildcards.layout}"
    script:
        "../scripts/export_crops.py"
