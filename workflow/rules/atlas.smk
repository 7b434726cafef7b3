"""atlas: proteins and cells on one map, the clusters they form, and what moved since the last release."""


rule atlas:
    input:
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        onto=saved_map,
        quality=weighing_shards("results/segmentation/{shard}.parquet"),
    output:
        proteins="results/atlas/{model}/proteins.h5ad",
        units="results/atlas/{model}/units.parquet",
        clusters="results/atlas/{model}/clusters.tsv",
        unit_map="results/atlas/{model}/map.npz",
        # a table that is added to: what it says of other releases can be made again from them only
        history=update("results/atlas/{model}/history.parquet"),
        moved="results/atlas/{model}/moved.tsv",
        summary="results/summaries/atlas/{model}.json",
    log:
        "logs/atlas/{model}.log",
    benchmark:
        "results/benchmark/atlas/{model}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 2
    resources:
        mem_mb=mb(8000),
        runtime=240,
    params:
        settings=atlas_settings(config),
        level=model_level,
        code=code_digest("atlas"),
    message:
        "Mapping and clustering the proteins by {wildcards.model}"
    script:
        "../scripts/atlas.py"


rule cluster:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        gene_sets=gene_set_files(config).values(),
    output:
        groups="results/atlas/{model}/groups.tsv",
        members="results/atlas/{model}/members.tsv",
        agreement="results/atlas/{model}/agreement.tsv",
        organelles="results/atlas/{model}/organelles.tsv",
        spectrum="results/atlas/{model}/spectrum.h5ad",
        terms="results/biology/{model}/enrichment_groups.tsv",
        summary="results/summaries/cluster/{model}.json",
    log:
        "logs/cluster/{model}.log",
    benchmark:
        "results/benchmark/cluster/{model}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        mem_mb=mb(6000),
        runtime=240,
    params:
        settings=without(config["atlas"], "neighbours", "audit", "find", "cell_trees"),
        biology=terms_settings(config),
        code=code_digest("cluster"),
    message:
        "Grouping the proteins of {wildcards.model} in further ways, and again with others left out"
    script:
        "../scripts/cluster.py"


rule cell_trees:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        fields="results/catalog/fields.parquet",
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        predictions="results/evaluation/{model}/predictions.parquet",
        heterogeneity="results/biology/{model}/heterogeneity.tsv",
    output:
        trees="results/atlas/{model}/cell_trees.parquet",
        summary="results/summaries/cell_trees/{model}.json",
    log:
        "logs/cell_trees/{model}.log",
    benchmark:
        "results/benchmark/cell_trees/{model}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=60,
    params:
        settings=without(config["atlas"], "neighbours", "audit", "find", "groupings"),
        level=model_level,
        code=code_digest("cell_trees"),
    message:
        "Joining the cells of single proteins into trees by {wildcards.model}"
    script:
        "../scripts/cell_trees.py"


rule neighbours:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        unit_map="results/atlas/{model}/map.npz",
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
    output:
        neighbours="results/atlas/{model}/neighbours.parquet",
        unit_neighbours="results/atlas/{model}/unit_neighbours.parquet",
        summary="results/summaries/neighbours/{model}.json",
    log:
        "logs/neighbours/{model}.log",
    benchmark:
        "results/benchmark/neighbours/{model}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        mem_mb=mb(6000),
        runtime=240,
    params:
        settings=neighbour_settings(config),
        level=model_level,
        code=code_digest("neighbours"),
    message:
        "Finding the nearest proteins and cells by {wildcards.model}"
    script:
        "../scripts/neighbours.py"


rule audit_labels:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        predictions="results/evaluation/{model}/predictions.parquet",
    output:
        by_protein="results/biology/{model}/audit.tsv",
        by_sample="results/biology/{model}/audit_samples.tsv",
        summary="results/summaries/audit_labels/{model}.json",
    log:
        "logs/audit_labels/{model}.log",
    benchmark:
        "results/benchmark/audit_labels/{model}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=120,
    params:
        settings=audit_settings(config),
        level=model_level,
        code=code_digest("audit_labels"),
    message:
        "Asking whether labels are those of the neighbours by {wildcards.model}"
    script:
        "../scripts/audit_labels.py"
