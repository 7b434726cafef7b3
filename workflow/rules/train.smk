"""train: networks that learn locations, from fields or cells as they were when the training table was made."""


rule shrink:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        files="results/download/{shard}.parquet",
        qc="results/qc/{shard}.parquet",
    output:
        store=directory("results/fields/{grid}/{shard}.zarr"),
        summary="results/summaries/shrink/{grid}/{shard}.json",
    log:
        "logs/train/shrink/{grid}/{shard}.log",
    benchmark:
        "results/benchmark/shrink/{grid}/{shard}.tsv"
    conda:
        "../envs/crop.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=minutes_per_field(4),
    params:
        members=shard_digest,
        code=code_digest("shrink"),
    message:
        "Shrinking the fields of {wildcards.shard} to the grid {wildcards.grid}"
    script:
        "../scripts/shrink.py"


rule training_table:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        split=ancient("results/split/split.parquet"),
        samples=ancient("results/samples/samples.parquet"),
        qc=ancient(learned_shards("results/qc/{shard}.parquet")),
        cells=ancient(learned_shards("results/cells/{shard}.parquet")),
    output:
        table="results/training/{model}.parquet",
        shards=update("results/training/{model}.shards.tsv"),
        summary="results/summaries/training_table/{model}.json",
    log:
        "logs/train/training_table/{model}.log",
    benchmark:
        "results/benchmark/training_table/{model}.tsv"
    wildcard_constraints:
        model=learned_models(),
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=60,
    params:
        level=model_level,
        settings=model_table,
        code=code_digest("training_table"),
    message:
        "Writing what {wildcards.model} learns from"
    script:
        "../scripts/training_table.py"


rule search_policy:
    input:
        table=ancient("results/training/{model}.parquet"),
        stores=ancient(learned_pixels),
        teacher=ancient(teacher_predictions),
        start=start_weights,
    output:
        policy="results/models/{model}/policy.json",
        trials="results/models/{model}/policy_trials.tsv",
        summary="results/summaries/search_policy/{model}.json",
    log:
        "logs/train/search_policy/{model}.log",
    benchmark:
        "results/benchmark/search_policy/{model}.tsv"
    wildcard_constraints:
        model=learned_models(),
    conda:
        "../envs/train.yaml"
    threads: 8
    resources:
        mem_mb=mb(12000),
        runtime=2880,
        gpu=gpus_of,
    params:
        settings=model_search,
        search=policy_search,
        state="results/models/{model}/search",
        code=code_digest("search_policy"),
        network_code=model_code,
    message:
        "Searching a policy of augmentation for {wildcards.model}"
    script:
        "../scripts/search_policy.py"


rule train:
    input:
        table=ancient("results/training/{model}.parquet"),
        stores=ancient(learned_pixels),
        teacher=ancient(teacher_predictions),
        start=start_weights,
        policy=policy_of,
    output:
        weights="results/models/{model}/weights.pt",
        history="results/models/{model}/history.csv",
        card="results/models/{model}/card.md",
        summary="results/summaries/train/{model}.json",
    log:
        "logs/train/{model}.log",
    benchmark:
        "results/benchmark/train/{model}.tsv"
    wildcard_constraints:
        model=learned_models(),
    conda:
        "../envs/train.yaml"
    threads: training_threads
    resources:
        mem_mb=training_memory,
        runtime=2880,
        gpu=training_gpus,
    params:
        settings=model_training,
        state="results/models/{model}/state",
        code=code_digest("train"),
        network_code=model_code,
    message:
        "Training {wildcards.model}"
    script:
        "../scripts/train.py"


rule export_model:
    input:
        weights="results/models/{model}/weights.pt",
        card="results/models/{model}/card.md",
    output:
        package="results/models/{model}/bioimageio.zip",
        summary="results/summaries/export_model/{model}.json",
    log:
        "logs/train/export_model/{model}.log",
    benchmark:
        "results/benchmark/export_model/{model}.tsv"
    wildcard_constraints:
        model=learned_models(),
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=30,
    params:
        settings=config["package"],
        code=code_digest("export_model"),
        network_code=model_code,
    message:
        "Packing {wildcards.model} for the model zoo"
    script:
        "../scripts/export_model.py"
