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
    wildcard_constraints:
        model=ready_models(),
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


rule embed_network:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        qc="results/qc/{shard}.parquet",
        cells="results/cells/{shard}.parquet",
        store=shard_pixels,
        weights="results/models/{model}/weights.pt",
    output:
        embeddings="results/embeddings/{model}/{shard}.parquet",
        predictions="results/predictions/{model}/{shard}.parquet",
        summary="results/summaries/embed/{model}/{shard}.json",
    log:
        "logs/embed/{model}/{shard}.log",
    benchmark:
        "results/benchmark/embed/{model}/{shard}.tsv"
    wildcard_constraints:
        model=learned_models(),
    conda:
        "../envs/train.yaml"
    threads: decoders_of
    resources:
        mem_mb=mb(6000),
        runtime=minutes_per_field(20),
        gpu=gpus_of,
    params:
        settings=model_inference,
        device=config["device"],
        members=shard_digest,
        code=code_digest("embed_network"),
        network_code=model_code,
    message:
        "Embedding {wildcards.shard} with {wildcards.model}, which was trained here"
    script:
        "../scripts/embed_network.py"


rule combine:
    input:
        table=ancient(member_table),
        predictions=ancient(member_predictions),
        weights=member_files("results/models/{model}/weights.pt"),
    output:
        weights="results/models/{model}/combination.json",
        card="results/models/{model}/card.md",
        summary="results/summaries/combine/{model}.json",
    log:
        "logs/train/combine/{model}.log",
    benchmark:
        "results/benchmark/combine/{model}.tsv"
    wildcard_constraints:
        model=ensembles(),
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=60,
    params:
        settings=model_members,
        code=code_digest("combine"),
    message:
        "Putting the models of {wildcards.model} together"
    script:
        "../scripts/combine.py"


rule embed_ensemble:
    input:
        weights="results/models/{model}/combination.json",
        member_embeddings=member_files("results/embeddings/{model}/{shard}.parquet"),
        member_predictions=member_files("results/predictions/{model}/{shard}.parquet"),
    output:
        embeddings="results/embeddings/{model}/{shard}.parquet",
        predictions="results/predictions/{model}/{shard}.parquet",
        summary="results/summaries/embed/{model}/{shard}.json",
    log:
        "logs/embed/{model}/{shard}.log",
    benchmark:
        "results/benchmark/embed/{model}/{shard}.tsv"
    wildcard_constraints:
        model=ensembles(),
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=60,
    params:
        members=shard_digest,
        code=code_digest("embed_ensemble"),
    message:
        "Putting together what the models of {wildcards.model} say of {wildcards.shard}"
    script:
        "../scripts/embed_ensemble.py"
