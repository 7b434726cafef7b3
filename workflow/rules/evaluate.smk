"""evaluate: how right the models and the segmentation are. Only these rules read the truth of simulated data."""


rule evaluate:
    input:
        fields="results/catalog/fields.parquet",
        split="results/split/split.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        predictions=per_shard("results/predictions/{model}/{shard}.parquet"),
        truth=truth_of_model,
    output:
        classes="results/evaluation/{model}/classes.tsv",
        scores="results/evaluation/{model}/scores.json",
        predictions="results/evaluation/{model}/predictions.parquet",
        summary="results/summaries/evaluate/{model}.json",
    log:
        "logs/evaluate/{model}.log",
    benchmark:
        "results/benchmark/evaluate/{model}.tsv"
    conda:
        "../envs/evaluate.yaml"
    threads: 2
    resources:
        mem_mb=mb(4000),
        runtime=120,
    params:
        settings=model_settings,
        evaluation=config["evaluate"],
        relabelled=relabelled_cells(config["overrides"]),
        code=code_digest("evaluate"),
    message:
        "Scoring {wildcards.model} on folds it has not seen"
    script:
        "../scripts/evaluate.py"


rule evaluate_segmentation:
    input:
        qc=simulated_shards("results/qc/{shard}.parquet"),
        masks=simulated_shards("results/masks/{shard}.zarr"),
        cells=simulated_shards("results/cells/{shard}.parquet"),
        truth=simulated_shards("results/truth/{shard}"),
    output:
        fields="results/evaluation/segmentation/fields.tsv",
        scores="results/evaluation/segmentation/scores.json",
        summary="results/summaries/evaluate/segmentation.json",
    log:
        "logs/evaluate/segmentation.log",
    benchmark:
        "results/benchmark/evaluate/segmentation.tsv"
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=mb(3000),
        runtime=120,
    params:
        evaluation=config["evaluate"],
        code=code_digest("evaluate_segmentation"),
    message:
        "Comparing outlines with the simulated truth"
    script:
        "../scripts/evaluate_segmentation.py"
