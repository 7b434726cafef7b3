"""biology: what the clusters have in common, and which proteins differ from cell to cell."""


rule fetch_gene_sets:
    input:
        [],
    output:
        "resources/gene_sets/fetched/{gene_sets}.gmt",
    log:
        "logs/gene_sets/{gene_sets}.log",
    benchmark:
        "results/benchmark/gene_sets/{gene_sets}.tsv"
    wildcard_constraints:
        gene_sets=fetched_gene_sets(),
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=mb(1000),
        runtime=60,
    params:
        source=source_of_gene_sets,
        server=config["biology"]["gene_set_server"],
        code=code_digest("fetch_gene_sets"),
    message:
        "Fetching and checking the gene sets {wildcards.gene_sets}"
    script:
        "../scripts/fetch_gene_sets.py"


rule make_gene_sets:
    input:
        files=files_of_annotations,
    output:
        gene_sets="results/gene_sets/{made_sets}.gmt",
        summary="results/summaries/make_gene_sets/{made_sets}.json",
    log:
        "logs/gene_sets/make/{made_sets}.log",
    benchmark:
        "results/benchmark/make_gene_sets/{made_sets}.tsv"
    wildcard_constraints:
        made_sets=annotated_gene_sets(),
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        source=source_of_made_sets,
        code=code_digest("make_gene_sets"),
    message:
        "Making the gene sets {wildcards.made_sets} from annotations"
    script:
        "../scripts/make_gene_sets.py"


rule enrich:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        gene_sets=gene_set_files(config).values(),
        tables=gene_tables(config),
    output:
        enrichment="results/biology/{model}/enrichment.tsv",
        libraries="results/biology/{model}/enrichment_libraries.tsv",
        identifiers="results/biology/{model}/identifiers.tsv",
        summary="results/summaries/enrich/{model}.json",
    log:
        "logs/enrich/{model}.log",
    benchmark:
        "results/benchmark/enrich/{model}.tsv"
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=120,
    params:
        settings=enrichment_settings(config),
        code=code_digest("enrich"),
    message:
        "Asking what the clusters of {wildcards.model} have in common"
    script:
        "../scripts/enrich.py"


rule heterogeneity:
    input:
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        quality=outlined_shards("results/segmentation/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        predictions="results/evaluation/{model}/predictions.parquet",
    output:
        heterogeneity="results/biology/{model}/heterogeneity.tsv",
        fields="results/biology/{model}/heterogeneity_fields.tsv",
        samples="results/biology/{model}/heterogeneity_samples.tsv",
        variance="results/biology/{model}/variance.tsv",
        compartments="results/biology/{model}/compartments.tsv",
        compartment_cells="results/biology/{model}/compartment_cells.parquet",
        published="results/biology/{model}/published_variation.tsv",
        summary="results/summaries/heterogeneity/{model}.json",
    log:
        "logs/heterogeneity/{model}.log",
    benchmark:
        "results/benchmark/heterogeneity/{model}.tsv"
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        # 7.2 MB a thousand cells, most of it scores on 100 components: 11 GB of 1.5 million
        mem_mb=mb(12000),
        runtime=120,
    params:
        settings=heterogeneity_settings(config),
        words=config["atlas"]["vocabulary"],
        code=code_digest("heterogeneity"),
    message:
        "Asking which proteins differ from cell to cell by {wildcards.model}"
    script:
        "../scripts/heterogeneity.py"


rule prerank:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        heterogeneity="results/biology/{model}/heterogeneity.tsv",
        gene_sets=gene_set_files(config).values(),
        tables=gene_tables(config),
    output:
        prerank="results/biology/{model}/prerank.tsv",
        summary="results/summaries/prerank/{model}.json",
    log:
        "logs/prerank/{model}.log",
    benchmark:
        "results/benchmark/prerank/{model}.tsv"
    conda:
        "../envs/biology.yaml"
    threads: 4
    resources:
        # of each set gseapy keeps the running sum over all proteins: 0.7 MB of 12,000
        mem_mb=mb(8000),
        runtime=120,
    params:
        settings=prerank_settings(config),
        code=code_digest("prerank"),
    message:
        "Asking which gene sets gather at the ends of rankings by {wildcards.model}"
    script:
        "../scripts/prerank.py"


rule complexes:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        gene_sets=complexes_settings(config)["gene_sets"].values(),
        tables=gene_tables(config),
        complexes=config["biology"]["complexes"]["file"] or [],
    output:
        neighbours="results/biology/{model}/complex_neighbours.tsv",
        curve="results/biology/{model}/complex_curve.tsv",
        pairs="results/biology/{model}/complex_pairs.tsv",
        complexes="results/biology/{model}/complexes.tsv",
        set_pairs="results/biology/{model}/set_pairs.tsv",
        summary="results/summaries/complexes/{model}.json",
    log:
        "logs/complexes/{model}.log",
    benchmark:
        "results/benchmark/complexes/{model}.tsv"
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        mem_mb=mb(6000),
        runtime=60,
    params:
        settings=complexes_settings(config),
        code=code_digest("complexes"),
    message:
        "Asking whether complexes look alike by {wildcards.model}"
    script:
        "../scripts/complexes.py"


rule cell_labels:
    input:
        fields="results/catalog/fields.parquet",
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        predictions="results/evaluation/{model}/predictions.parquet",
    output:
        limits="results/biology/{model}/negative.tsv",
        labels="results/biology/{model}/cell_labels.tsv",
        exclusive="results/biology/{model}/exclusive.tsv",
        summary="results/summaries/cell_labels/{model}.json",
    log:
        "logs/cell_labels/{model}.log",
    benchmark:
        "results/benchmark/cell_labels/{model}.tsv"
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=60,
    params:
        settings=cell_label_settings(config),
        code=code_digest("cell_labels"),
    message:
        "Comparing the labels of single cells with those of their images by {wildcards.model}"
    script:
        "../scripts/cell_labels.py"


rule abundance:
    input:
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
    output:
        proteins="results/biology/abundance.parquet",
        preparations="results/biology/abundance_samples.parquet",
        background="results/biology/abundance_background.tsv",
        summary="results/summaries/abundance/run.json",
    log:
        "logs/abundance/run.log",
    benchmark:
        "results/benchmark/abundance/run.tsv"
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        settings=abundance_settings(config),
        code=code_digest("abundance"),
    message:
        "Measuring how much of each protein there is"
    script:
        "../scripts/abundance.py"


rule contrast:
    input:
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        predictions="results/evaluation/{model}/predictions.parquet",
        abundance="results/biology/abundance_samples.parquet",
    output:
        proteins="results/biology/{model}/contrasts/{contrast}/proteins.tsv",
        classes="results/biology/{model}/contrasts/{contrast}/classes.tsv",
        replicates="results/biology/{model}/contrasts/{contrast}/replicates.tsv",
        summary="results/summaries/contrast/{model}/{contrast}.json",
    log:
        "logs/contrast/{model}/{contrast}.log",
    benchmark:
        "results/benchmark/contrast/{model}/{contrast}.tsv"
    wildcard_constraints:
        contrast=either([contrast["name"] for contrast in config["biology"]["contrasts"]]),
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=120,
    params:
        settings=settings_of_contrast,
        level=model_level,
        code=code_digest("contrast"),
    message:
        "Comparing {wildcards.contrast} protein by protein by {wildcards.model}"
    script:
        "../scripts/contrast.py"
