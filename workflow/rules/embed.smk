"""embed: one vector, and the model's own predictions, for every cell or field."""


rule fetch_weights:
    input:
        table="resources/weights.tsv",
        file=weights_file,
    output:
        "resources/weights/{weights}.npz",
    log:
        "logs/weights/{weights}.log",
    benchmark:
        "results/benchmark/weights/{weights}.tsv"
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=mb(1000),
        runtime=30,
    params:
        code=code_digest("fetch_weights"),
    message:
        "Fetching and checking the weights {wildcards.weights}"
    script:
        "../scripts/fetch_weights.py"


rule embed:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        files="results/download/{shard}.parquet",
        qc="results/qc/{shard}.parquet",
        cells="results/cells/{shard}.parquet",
        crops="results/crops/{shard}.zarr",
        weights=ancient(weights_of),
    output:
        embeddings="results/embeddings/{model}/{shard}.parquet",
        predictions="results/predictions/{model}/{shard}.parquet",
        summary="results/summaries/embed/{model}/{shard}.json",
    log:
        "logs/embed/{model}/{shard}.log",
    benchmark:
        "results/benchmark/embed/{model}/{shard}.tsv"
    conda:
        "../envs/embed.yaml"
    threads: 1
    resources:
        mem_mb=mb(6000),
        runtime=minutes_per_field(20),
        gpu=gpus_of,
    params:
        settings=model_settings,
        device=config["device"],
        weights=weights_sha256,
        members=shard_digest,
        code=code_digest("embed"),
    message:
        "Embedding {wildcards.shard} with {wildcards.model}"
    script:
        "../scripts/embed.py"
