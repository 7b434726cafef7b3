"""atlas, on request: maps of proteins of several models, or releases, laid over one another by AlignedUMAP."""


rule align_models:
    input:
        proteins=aligned_models("results/atlas/{model}/proteins.h5ad"),
    output:
        aligned="results/aligned/models.parquet",
        summary="results/summaries/align_models/run.json",
    log:
        "logs/align_models/run.log",
    benchmark:
        "results/benchmark/align_models/run.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=240,
    params:
        models=names_of_aligned_models,
        settings=alignment_settings(config),
        code=code_digest("align_models"),
    message:
        "Laying the models' maps of proteins over one another"
    script:
        "../scripts/align_models.py"


rule align_releases:
    input:
        history=ancient("results/atlas/{model}/history.parquet"),
        proteins="results/atlas/{model}/proteins.h5ad",
    output:
        aligned="results/aligned/releases/{model}.parquet",
        summary="results/summaries/align_releases/{model}.json",
    log:
        "logs/align_releases/{model}.log",
    benchmark:
        "results/benchmark/align_releases/{model}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=240,
    params:
        settings=alignment_settings(config),
        code=code_digest("align_releases"),
    message:
        "Laying the releases' maps of proteins by {wildcards.model} over one another"
    script:
        "../scripts/align_releases.py"


rule plot_aligned:
    input:
        aligned="results/aligned/{aligned}.parquet",
    output:
        figure=report(
            "results/report/figures/aligned/{aligned}.png",
            caption="../report/aligned.rst",
            category="Atlas",
            subcategory="aligned maps",
            labels={"maps": "{aligned}", "figure": "aligned maps of proteins"},
        ),
    log:
        "logs/report/plot_aligned/{aligned}.log",
    benchmark:
        "results/benchmark/report/plot_aligned/{aligned}.tsv"
    wildcard_constraints:
        aligned=r"models|releases/[A-Za-z0-9_.-]+",
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        vocabulary=config["atlas"]["vocabulary"],
        settings=config["report"],
        code=code_digest("plot_aligned"),
    message:
        "Drawing the aligned maps {wildcards.aligned}"
    script:
        "../scripts/plot_aligned.py"
