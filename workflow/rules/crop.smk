"""crop: the pixels around every cell, and the ledger in which every cell has its row."""


rule crop:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        files="results/download/{shard}.parquet",
        qc="results/qc/{shard}.parquet",
        masks="results/masks/{shard}.zarr",
    output:
        crops=directory("results/crops/{shard}.zarr"),
        cells="results/cells/{shard}.parquet",
        summary="results/summaries/crop/{shard}.json",
    log:
        "logs/crop/{shard}.log",
    benchmark:
        "results/benchmark/crop/{shard}.tsv"
    wildcard_constraints:
        shard=sources_with_fields(),
    conda:
        "../envs/crop.yaml"
    threads: 1
    resources:
        mem_mb=mb(3000),
        runtime=minutes_per_field(5),
    params:
        settings=source_settings("crop"),
        overrides=overrides_of("crop"),
        members=shard_digest,
        code=code_digest("crop"),
    message:
        "Cutting out the cells of {wildcards.shard}"
    script:
        "../scripts/crop.py"


rule samples:
    input:
        fields="results/catalog/fields.parquet",
        cells=per_shard("results/cells/{shard}.parquet"),
    output:
        samples="results/samples/samples.parquet",
        summary="results/summaries/samples/run.json",
    log:
        "logs/samples/run.log",
    benchmark:
        "results/benchmark/samples/run.tsv"
    conda:
        "../envs/crop.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        least={source: least_sample(source) for source in config["sources"]},
        code=code_digest("samples"),
    message:
        "Counting the cells of every sample"
    script:
        "../scripts/samples.py"
