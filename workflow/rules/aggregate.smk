"""aggregate: cells and fields put together to fields, samples, reagents and proteins, for other programs to read."""


rule aggregate:
    input:
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        quality=outlined_shards("results/segmentation/{shard}.parquet"),
        predictions="results/evaluation/{model}/predictions.parquet",
        proteins="results/atlas/{model}/proteins.h5ad",
        units="results/atlas/{model}/units.parquet",
    output:
        folder=directory("results/aggregates/{model}"),
        summary="results/summaries/aggregate/{model}.json",
    log:
        "logs/aggregate/{model}.log",
    benchmark:
        "results/benchmark/aggregate/{model}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        mem_mb=mb(8000),
        runtime=240,
    params:
        settings={key: config["atlas"][key] for key in ("aggregation", "weights", "vocabulary")},
        level=model_level,
        code=code_digest("aggregate"),
    message:
        "Putting the units of {wildcards.model} together to fields, samples, reagents and proteins"
    script:
        "../scripts/aggregate.py"
