"""evaluate: how right the models and the segmentation are. Only these rules read the truth of simulated data."""

# results/evaluation/segmentation is no model's
every_model = either(config["models"])

# what classifiers and scores depend on: probes, people's annotations and other outlines train nothing anew
scoring = {
    key: value
    for key, value in config["evaluate"].items()
    if key not in ("methods", "annotations", "attention", "leak_deals", "leak_queries")
}


rule evaluate:
    input:
        fields="results/catalog/fields.parquet",
        split="results/split/split.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        predictions=per_shard("results/predictions/{model}/{shard}.parquet"),
        training=ancient(scored_apart),
        truth=truth_of_model,
    output:
        classes="results/evaluation/{model}/classes.tsv",
        scores="results/evaluation/{model}/scores.json",
        predictions="results/evaluation/{model}/predictions.parquet",
        fields="results/evaluation/{model}/fields.parquet",
        summary="results/summaries/evaluate/{model}.json",
    log:
        "logs/evaluate/{model}.log",
    benchmark:
        "results/benchmark/evaluate/{model}.tsv"
    wildcard_constraints:
        model=every_model,
    conda:
        "../envs/evaluate.yaml"
    threads: 2
    resources:
        mem_mb=mb(4000),
        runtime=120,
    params:
        settings=model_settings,
        evaluation=scoring,
        elsewhere=starts_elsewhere,
        relabelled=relabelled_cells(config["overrides"]),
        code=code_digest("evaluate"),
    message:
        "Scoring {wildcards.model} on folds it has not seen"
    script:
        "../scripts/evaluate.py"


rule break_down:
    input:
        scored="results/evaluation/{model}/fields.parquet",
        fields="results/catalog/fields.parquet",
        split="results/split/split.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        training=ancient(scored_apart),
        annotations=config["evaluate"]["annotations"] or [],
    output:
        groups="results/evaluation/{model}/groups.tsv",
        tests="results/evaluation/{model}/tests.tsv",
        curves="results/evaluation/{model}/curves.tsv",
        confusion="results/evaluation/{model}/confusion.tsv",
        judges="results/evaluation/{model}/judges.tsv",
        annotated="results/evaluation/{model}/annotated.tsv",
        breakdown="results/evaluation/{model}/breakdown.json",
        summary="results/summaries/break_down/{model}.json",
    log:
        "logs/evaluate/break_down/{model}.log",
    benchmark:
        "results/benchmark/evaluate/break_down/{model}.tsv"
    wildcard_constraints:
        model=every_model,
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=60,
    params:
        evaluation={key: config["evaluate"][key] for key in ("draws", "seed")},
        code=code_digest("break_down"),
    message:
        "Breaking down the scores of {wildcards.model}"
    script:
        "../scripts/break_down.py"


rule probe_leaks:
    input:
        scored="results/evaluation/{model}/fields.parquet",
        fields="results/catalog/fields.parquet",
        split="results/split/split.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
    output:
        neighbours="results/evaluation/{model}/neighbours.tsv",
        leaks="results/evaluation/{model}/leaks.json",
        summary="results/summaries/probe_leaks/{model}.json",
    log:
        "logs/evaluate/probe_leaks/{model}.log",
    benchmark:
        "results/benchmark/evaluate/probe_leaks/{model}.tsv"
    wildcard_constraints:
        model=every_model,
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=60,
    params:
        settings={key: config["evaluate"][key] for key in ("leak_deals", "leak_queries", "seed")},
        code=code_digest("probe_leaks"),
    message:
        "Probing what {wildcards.model} knows of plates and samples"
    script:
        "../scripts/probe_leaks.py"


rule evaluate_audit:
    input:
        by_protein="results/biology/{model}/audit.tsv",
        by_sample="results/biology/{model}/audit_samples.tsv",
        fields="results/catalog/fields.parquet",
        truth=truth_of_model,
    output:
        scores="results/evaluation/{model}/audit.json",
        summary="results/summaries/evaluate_audit/{model}.json",
    log:
        "logs/evaluate/audit/{model}.log",
    benchmark:
        "results/benchmark/evaluate/audit/{model}.tsv"
    wildcard_constraints:
        model=every_model,
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=mb(1000),
        runtime=30,
    params:
        code=code_digest("evaluate_audit"),
    message:
        "Counting the wrong labels that the audit of {wildcards.model} finds"
    script:
        "../scripts/evaluate_audit.py"


rule attend:
    input:
        weights="results/models/{model}/weights.pt",
        scored="results/evaluation/{model}/fields.parquet",
        predictions="results/evaluation/{model}/predictions.parquet",
        fields="results/catalog/fields.parquet",
        stores=seen_pixels,
        truth=truth_of_model,
    output:
        maps="results/evaluation/{model}/attention.tsv",
        shares="results/evaluation/{model}/pointing.tsv",
        pictures="results/evaluation/{model}/attention.npz",
        summary="results/summaries/attend/{model}.json",
    log:
        "logs/evaluate/attend/{model}.log",
    benchmark:
        "results/benchmark/evaluate/attend/{model}.tsv"
    wildcard_constraints:
        model=learned_models(),
    conda:
        "../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=mb(6000),
        runtime=240,
        gpu=gpus_of,
    params:
        settings=attention_settings,
        sources=simulated_sources(),
        code=code_digest("attend"),
        network_code=model_code,
    message:
        "Drawing where {wildcards.model} looks"
    script:
        "../scripts/attend.py"


rule segment_beside:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        files="results/download/{shard}.parquet",
        qc="results/qc/{shard}.parquet",
        weights=beside_weights,
    output:
        masks=directory("results/methods/{method}/{shard}.zarr"),
        quality="results/methods/{method}/{shard}.parquet",
        summary="results/summaries/segment_beside/{method}/{shard}.json",
    log:
        "logs/evaluate/segment_beside/{method}/{shard}.log",
    benchmark:
        "results/benchmark/evaluate/segment_beside/{method}/{shard}.tsv"
    conda:
        "../envs/segment_network.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=minutes_per_field(30),
        gpu=beside_gpus,
    params:
        settings=beside_settings,
        folder=folder_of_table,
        only=outlined_by_people,
        device=config["device"],
        members=shard_digest,
        code=code_digest("segment_beside"),
        method_code=beside_code,
    message:
        "Outlining the cells of {wildcards.shard} by {wildcards.method}, to judge it"
    script:
        "../scripts/segment_beside.py"


rule evaluate_segmentation:
    input:
        fields="results/catalog/fields.parquet",
        qc=judged_shards("results/qc/{shard}.parquet"),
        masks=judged_shards("results/masks/{shard}.zarr"),
        quality=judged_shards("results/segmentation/{shard}.parquet"),
        cells=judged_shards("results/cells/{shard}.parquet"),
        other_masks=judged_methods("results/methods/{method}/{shard}.zarr"),
        other_quality=judged_methods("results/methods/{method}/{shard}.parquet"),
        truth=simulated_shards("results/truth/{shard}"),
        labels=true_labels,
    output:
        objects="results/evaluation/segmentation/objects.parquet",
        fields="results/evaluation/segmentation/fields.tsv",
        methods=report(
            "results/evaluation/segmentation/methods.tsv",
            caption="../report/segmentation_methods.rst",
            category="Segmentation",
            labels={"table": "methods against the truth"},
        ),
        curves="results/evaluation/segmentation/curves.tsv",
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
        patterns=truth_patterns(config["sources"]),
        code=code_digest("evaluate_segmentation"),
    message:
        "Comparing outlines with the truth"
    script:
        "../scripts/evaluate_segmentation.py"
