"""reading: what a model needs to draw from all crops at once. Nothing else in the run waits for it."""


rule index_crops:
    input:
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        crops=shards_with_crops("results/crops/{shard}.zarr"),
        split="results/split/split.parquet",
        samples="results/samples/samples.parquet",
    output:
        index=directory("results/index"),
        summary="results/summaries/index_crops/run.json",
    log:
        "logs/index_crops/run.log",
    benchmark:
        "results/benchmark/index_crops/run.tsv"
    conda:
        "../envs/crop.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=60,
    params:
        code=code_digest("index_crops"),
    message:
        "Indexing the crops of all shards"
    script:
        "../scripts/index_crops.py"


rule crop_statistics:
    input:
        fields="results/catalog/fields.parquet",
        cells=per_shard("results/cells/{shard}.parquet"),
        crops=shards_with_crops("results/crops/{shard}.zarr"),
    output:
        statistics="results/statistics/crops.tsv",
        histograms="results/statistics/histograms.parquet",
        summary="results/summaries/crop_statistics/run.json",
    log:
        "logs/crop_statistics/run.log",
    benchmark:
        "results/benchmark/crop_statistics/run.tsv"
    conda:
        "../envs/crop.yaml"
    threads: 2
    resources:
        mem_mb=mb(4000),
        runtime=240,
    params:
        code=code_digest("crop_statistics"),
    message:
        "Counting the intensities of all crops"
    script:
        "../scripts/crop_statistics.py"
