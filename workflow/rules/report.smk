"""report: the ledger's balance, the figures, and the pages that people browse."""

import time


rule balance:
    input:
        fields="results/catalog/fields.parquet",
        files=per_shard("results/download/{shard}.parquet"),
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        segment_summaries=outlined_shards("results/summaries/segment/{shard}.json"),
        import_summaries=imported_shards("results/summaries/import_crops/{shard}.json"),
        embed_summaries=per_model_and_shard("results/summaries/embed/{model}/{shard}.json"),
        embeddings=per_model_and_shard("results/embeddings/{model}/{shard}.parquet"),
    output:
        left_out="results/report/left_out.tsv",
        overrides="results/report/overrides.tsv",
        balance=report(
            "results/report/balance.tsv",
            caption="../report/balance.rst",
            category="Overview",
            labels={"table": "the ledger's balance"},
        ),
        summary="results/summaries/balance/run.json",
    log:
        "logs/report/balance.log",
    benchmark:
        "results/benchmark/report/balance.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        left_out=left_out(config),
        without_crops=[name for name, source in config["sources"].items() if not has_crops(source)],
        overrides=[list(word) for word in read_overrides(config["overrides"])],
        code=code_digest("balance"),
    message:
        "Checking that no field and no cell was lost"
    script:
        "../scripts/balance.py"


rule plot_qc:
    input:
        fields="results/catalog/fields.parquet",
        listed="results/catalog/crops.parquet",
        files=per_shard("results/download/{shard}.parquet"),
        qc=per_shard("results/qc/{shard}.parquet"),
    output:
        measures=report(
            "results/report/figures/qc_measures.png",
            caption="../report/qc_measures.rst",
            category="Quality control",
            labels={"figure": "measures of every field"},
        ),
        examples=report(
            "results/report/figures/qc_examples.png",
            caption="../report/qc_examples.rst",
            category="Quality control",
            labels={"figure": "passed and rejected fields"},
        ),
    log:
        "logs/report/plot_qc.log",
    benchmark:
        "results/benchmark/report/plot_qc.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(3000),
        runtime=60,
    params:
        settings=config["report"],
        limits={
            name: for_source(config, "qc", name) for name, source in config["sources"].items() if is_outlined(source)
        },
        code=code_digest("plot_qc"),
    message:
        "Drawing what quality control found"
    script:
        "../scripts/plot_qc.py"


rule plot_segmentation:
    input:
        fields="results/catalog/fields.parquet",
        files=outlined_shards("results/download/{shard}.parquet"),
        qc=outlined_shards("results/qc/{shard}.parquet"),
        masks=outlined_shards("results/masks/{shard}.zarr"),
        cells=outlined_shards("results/cells/{shard}.parquet"),
    output:
        overlays=report(
            "results/report/figures/segmentation_overlays.png",
            caption="../report/segmentation_overlays.rst",
            category="Segmentation",
            labels={"figure": "outlines over fields"},
        ),
        measures=report(
            "results/report/figures/cells_measures.png",
            caption="../report/cells_measures.rst",
            category="Segmentation",
            labels={"figure": "sizes and counts"},
        ),
    log:
        "logs/report/plot_segmentation.log",
    benchmark:
        "results/benchmark/report/plot_segmentation.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(3000),
        runtime=60,
    params:
        settings=config["report"],
        code=code_digest("plot_segmentation"),
    message:
        "Drawing outlines over fields"
    script:
        "../scripts/plot_segmentation.py"


rule plot_model:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        units="results/atlas/{model}/units.parquet",
        clusters="results/atlas/{model}/clusters.tsv",
        classes="results/evaluation/{model}/classes.tsv",
        scores="results/evaluation/{model}/scores.json",
        enrichment="results/biology/{model}/enrichment.tsv",
        heterogeneity="results/biology/{model}/heterogeneity.tsv",
    output:
        umap_units=report(
            "results/report/figures/{model}/umap_units.png",
            caption="../report/umap_units.rst",
            category="Atlas",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "map of cells or fields"},
        ),
        umap_proteins=report(
            "results/report/figures/{model}/umap_proteins.png",
            caption="../report/umap_proteins.rst",
            category="Atlas",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "map of proteins"},
        ),
        heatmap=report(
            "results/report/figures/{model}/heatmap.png",
            caption="../report/heatmap.rst",
            category="Atlas",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "clustered heat map"},
        ),
        classes=report(
            "results/report/figures/{model}/classes.png",
            caption="../report/classes.rst",
            category="Evaluation",
            labels={"model": "{model}", "figure": "scores per class"},
        ),
        enrichment=report(
            "results/report/figures/{model}/enrichment.png",
            caption="../report/enrichment.rst",
            category="Biology",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "enrichment of clusters"},
        ),
        heterogeneity=report(
            "results/report/figures/{model}/heterogeneity.png",
            caption="../report/heterogeneity.rst",
            category="Biology",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "differences from cell to cell"},
        ),
    log:
        "logs/report/plot_model/{model}.log",
    benchmark:
        "results/benchmark/report/plot_model/{model}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=60,
    params:
        settings=config["report"],
        level=model_level,
        code=code_digest("plot_model"),
    message:
        "Drawing the maps of {wildcards.model}"
    script:
        "../scripts/plot_model.py"


rule plot_gene_sets:
    input:
        libraries="results/biology/{model}/enrichment_libraries.tsv",
        prerank="results/biology/{model}/prerank.tsv",
        curve="results/biology/{model}/complex_curve.tsv",
        pairs="results/biology/{model}/complex_pairs.tsv",
        set_pairs="results/biology/{model}/set_pairs.tsv",
    output:
        gene_sets=report(
            "results/report/figures/{model}/gene_sets.png",
            caption="../report/gene_sets.rst",
            category="Biology",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "terms found, by universe and correction"},
        ),
        complexes=report(
            "results/report/figures/{model}/complexes.png",
            caption="../report/complexes.rst",
            category="Biology",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "complexes among nearest proteins"},
        ),
        set_pairs=report(
            "results/report/figures/{model}/set_pairs.png",
            caption="../report/set_pairs.rst",
            category="Biology",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "gene sets told apart"},
        ),
        prerank=report(
            "results/report/figures/{model}/prerank.png",
            caption="../report/prerank.rst",
            category="Biology",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "gene sets at the ends of rankings"},
        ),
    log:
        "logs/report/plot_gene_sets/{model}.log",
    benchmark:
        "results/benchmark/report/plot_gene_sets/{model}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        settings=config["report"],
        code=code_digest("plot_gene_sets"),
    message:
        "Drawing what gene sets and complexes say by {wildcards.model}"
    script:
        "../scripts/plot_gene_sets.py"


rule plot_clusters:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        groups="results/atlas/{model}/groups.tsv",
        members="results/atlas/{model}/members.tsv",
        agreement="results/atlas/{model}/agreement.tsv",
        organelles="results/atlas/{model}/organelles.tsv",
        spectrum="results/atlas/{model}/spectrum.h5ad",
        terms="results/biology/{model}/enrichment_groups.tsv",
        trees="results/atlas/{model}/cell_trees.parquet",
        cells=per_shard("results/cells/{shard}.parquet"),
        crops=shards_with_crops("results/crops/{shard}.zarr"),
    output:
        spectrum=report(
            "results/report/figures/{model}/spectrum.png",
            caption="../report/spectrum.rst",
            category="Atlas",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "feature spectrum"},
        ),
        stability=report(
            "results/report/figures/{model}/stability.png",
            caption="../report/stability.rst",
            category="Atlas",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "how well clusters come again"},
        ),
        within=directory("results/report/figures/{model}/within"),
        cell_trees=directory("results/report/figures/{model}/cell_trees"),
    log:
        "logs/report/plot_clusters/{model}.log",
    benchmark:
        "results/benchmark/report/plot_clusters/{model}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=60,
    params:
        settings=config["report"],
        code=code_digest("plot_clusters"),
    message:
        "Drawing clusters, spectrum and trees of cells of {wildcards.model}"
    script:
        "../scripts/plot_clusters.py"


rule plot_single_cells:
    input:
        samples="results/biology/{model}/heterogeneity_samples.tsv",
        variance="results/biology/{model}/variance.tsv",
        published="results/biology/{model}/published_variation.tsv",
        compartments="results/biology/{model}/compartments.tsv",
        cells="results/biology/{model}/compartment_cells.parquet",
    output:
        tests=report(
            "results/report/figures/{model}/single_cells.png",
            caption="../report/single_cells.rst",
            category="Biology",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "single cells of one sample"},
        ),
        compartments=report(
            "results/report/figures/{model}/compartments.png",
            caption="../report/compartments.rst",
            category="Biology",
            subcategory="{model}",
            labels={"model": "{model}", "figure": "cells between compartments"},
        ),
    log:
        "logs/report/plot_single_cells/{model}.log",
    benchmark:
        "results/benchmark/report/plot_single_cells/{model}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        settings=config["report"],
        code=code_digest("plot_single_cells"),
    message:
        "Drawing the single cells of {wildcards.model}"
    script:
        "../scripts/plot_single_cells.py"


rule plot_scores:
    input:
        classes="results/evaluation/{model}/classes.tsv",
        groups="results/evaluation/{model}/groups.tsv",
        tests="results/evaluation/{model}/tests.tsv",
        curves="results/evaluation/{model}/curves.tsv",
        confusion="results/evaluation/{model}/confusion.tsv",
        neighbours="results/evaluation/{model}/neighbours.tsv",
        leaks="results/evaluation/{model}/leaks.json",
        judges="results/evaluation/{model}/judges.tsv",
    output:
        curves=report(
            "results/report/figures/{model}/curves.png",
            caption="../report/curves.rst",
            category="Evaluation",
            labels={"model": "{model}", "figure": "precision and recall"},
        ),
        confusion=report(
            "results/report/figures/{model}/confusion.png",
            caption="../report/confusion.rst",
            category="Evaluation",
            labels={"model": "{model}", "figure": "confusions"},
        ),
        groups=report(
            "results/report/figures/{model}/groups.png",
            caption="../report/groups.rst",
            category="Evaluation",
            labels={"model": "{model}", "figure": "groups of fields"},
        ),
        leaks=report(
            "results/report/figures/{model}/leaks.png",
            caption="../report/leaks.rst",
            category="Evaluation",
            labels={"model": "{model}", "figure": "leak and batch probes"},
        ),
        judges=report(
            "results/report/figures/{model}/judges.png",
            caption="../report/judges.rst",
            category="Evaluation",
            labels={"model": "{model}", "figure": "beside people"},
        ),
    log:
        "logs/report/plot_scores/{model}.log",
    benchmark:
        "results/benchmark/report/plot_scores/{model}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        settings=config["report"],
        code=code_digest("plot_scores"),
    message:
        "Drawing what the scores of {wildcards.model} are made of"
    script:
        "../scripts/plot_scores.py"


rule plot_training:
    input:
        history="results/models/{model}/history.csv",
        train="results/summaries/train/{model}.json",
        shares="results/evaluation/{model}/pointing.tsv",
    output:
        history=report(
            "results/report/figures/{model}/history.png",
            caption="../report/history.rst",
            category="Evaluation",
            labels={"model": "{model}", "figure": "training"},
        ),
        pointing=report(
            "results/report/figures/{model}/pointing.png",
            caption="../report/pointing.rst",
            category="Evaluation",
            labels={"model": "{model}", "figure": "where it looks"},
        ),
    log:
        "logs/report/plot_training/{model}.log",
    benchmark:
        "results/benchmark/report/plot_training/{model}.tsv"
    wildcard_constraints:
        model=learned_models(),
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        settings=config["report"],
        code=code_digest("plot_training"),
    message:
        "Drawing the training of {wildcards.model}"
    script:
        "../scripts/plot_training.py"


rule compare:
    input:
        fields="results/catalog/fields.parquet",
        split="results/split/split.parquet",
        scores=evaluated("results/evaluation/{model}/scores.json"),
        groups=evaluated("results/evaluation/{model}/groups.tsv"),
        scored=evaluated("results/evaluation/{model}/fields.parquet"),
        predictions=evaluated("results/evaluation/{model}/predictions.parquet"),
        breakdown=evaluated("results/evaluation/{model}/breakdown.json"),
        leaks=evaluated("results/evaluation/{model}/leaks.json"),
        tests=evaluated("results/evaluation/{model}/tests.tsv"),
        embed=per_model_and_shard("results/summaries/embed/{model}/{shard}.json"),
        train=ancient(learned_here("results/summaries/train/{model}.json")),
    output:
        models=report(
            "results/report/models.tsv",
            caption="../report/models.rst",
            category="Evaluation",
            labels={"table": "models side by side"},
        ),
        pairs=report(
            "results/report/models_pairs.tsv",
            caption="../report/models_pairs.rst",
            category="Evaluation",
            labels={"table": "each model against each other"},
        ),
        classes="results/report/models_classes.tsv",
        tests="results/report/models_tests.tsv",
        labels="results/report/labels.tsv",
        scores=report(
            "results/report/figures/models_scores.png",
            caption="../report/models.rst",
            category="Evaluation",
            labels={"figure": "scores of all models"},
        ),
        precision_recall="results/report/figures/models_precision_recall.png",
        classes_figure="results/report/figures/models_classes.png",
        training_counts="results/report/figures/models_training_counts.png",
        speed="results/report/figures/models_speed.png",
        input_sizes="results/report/figures/models_input_sizes.png",
        labels_figure="results/report/figures/labels.png",
        summary="results/summaries/compare/run.json",
    log:
        "logs/report/compare.log",
    benchmark:
        "results/benchmark/report/compare.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=60,
    params:
        models=config["models"],
        evaluation={key: config["evaluate"][key] for key in ("vocabulary", "controls", "draws", "seed")},
        settings=config["report"],
        code=code_digest("compare"),
    message:
        "Comparing the models"
    script:
        "../scripts/compare.py"


rule build_site:
    input:
        fields="results/catalog/fields.parquet",
        diff="results/catalog/release_diff.tsv",
        left_out="results/report/left_out.tsv",
        overrides="results/report/overrides.tsv",
        balance="results/report/balance.tsv",
        listed="results/catalog/crops.parquet",
        files=per_shard("results/download/{shard}.parquet"),
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        crops=shards_with_crops("results/crops/{shard}.zarr"),
        summaries=ancient(run_summaries),
        segmentation=segmentation_scores,
        segmentation_tables=segmentation_tables,
        quality=outlined_shards("results/segmentation/{shard}.parquet"),
        masks=outlined_shards("results/masks/{shard}.zarr"),
        weights="resources/weights.tsv",
        gene_sets=gene_set_files(config).values(),
        gene_set_licences="resources/gene_sets/licences.tsv",
        run_figures=[
            "results/report/figures/qc_measures.png",
            "results/report/figures/qc_examples.png",
            "results/report/figures/segmentation_overlays.png",
            "results/report/figures/cells_measures.png",
        ],
        comparison_figures=[
            "results/report/figures/models_scores.png",
            "results/report/figures/models_precision_recall.png",
            "results/report/figures/models_classes.png",
            "results/report/figures/models_training_counts.png",
            "results/report/figures/models_speed.png",
            "results/report/figures/models_input_sizes.png",
            "results/report/figures/labels.png",
        ],
        models_table="results/report/models.tsv",
        models_pairs="results/report/models_pairs.tsv",
        models_tests="results/report/models_tests.tsv",
        score_figures=evaluated("results/report/figures/{model}/leaks.png"),
        scored=evaluated("results/evaluation/{model}/fields.parquet"),
        groups=evaluated("results/evaluation/{model}/groups.tsv"),
        breakdown=evaluated("results/evaluation/{model}/breakdown.json"),
        leaks=evaluated("results/evaluation/{model}/leaks.json"),
        neighbours=evaluated("results/evaluation/{model}/neighbours.tsv"),
        judges=evaluated("results/evaluation/{model}/judges.tsv"),
        annotated=evaluated("results/evaluation/{model}/annotated.tsv"),
        cards=ancient(carded("results/models/{model}/card.md")),
        maps=learned_here("results/evaluation/{model}/attention.npz"),
        shares=learned_here("results/evaluation/{model}/pointing.tsv"),
        training_figures=learned_here("results/report/figures/{model}/history.png"),
        model_figures=evaluated("results/report/figures/{model}/umap_proteins.png"),
        units=evaluated("results/atlas/{model}/units.parquet"),
        proteins=evaluated("results/atlas/{model}/proteins.h5ad"),
        clusters=evaluated("results/atlas/{model}/clusters.tsv"),
        groups_of_proteins=evaluated("results/atlas/{model}/groups.tsv"),
        agreement=evaluated("results/atlas/{model}/agreement.tsv"),
        spectrum=evaluated("results/atlas/{model}/spectrum.h5ad"),
        group_terms=evaluated("results/biology/{model}/enrichment_groups.tsv"),
        within_figures=evaluated("results/report/figures/{model}/within"),
        cell_tree_figures=evaluated("results/report/figures/{model}/cell_trees"),
        moved=evaluated("results/atlas/{model}/moved.tsv"),
        nearest_proteins=evaluated("results/atlas/{model}/neighbours.parquet"),
        nearest_units=evaluated("results/atlas/{model}/unit_neighbours.parquet"),
        neighbour_summaries=evaluated("results/summaries/neighbours/{model}.json"),
        audit=evaluated("results/biology/{model}/audit.tsv"),
        audit_samples=evaluated("results/biology/{model}/audit_samples.tsv"),
        audit_scores=evaluated("results/evaluation/{model}/audit.json"),
        scores=evaluated("results/evaluation/{model}/scores.json"),
        classes=evaluated("results/evaluation/{model}/classes.tsv"),
        predictions=evaluated("results/evaluation/{model}/predictions.parquet"),
        enrichment=evaluated("results/biology/{model}/enrichment.tsv"),
        heterogeneity=evaluated("results/biology/{model}/heterogeneity.tsv"),
        heterogeneity_fields=evaluated("results/biology/{model}/heterogeneity_fields.tsv"),
        enrichment_libraries=evaluated("results/biology/{model}/enrichment_libraries.tsv"),
        identifiers=evaluated("results/biology/{model}/identifiers.tsv"),
        prerank=evaluated("results/biology/{model}/prerank.tsv"),
        complexes=evaluated("results/biology/{model}/complexes.tsv"),
        complex_neighbours=evaluated("results/biology/{model}/complex_neighbours.tsv"),
        complex_curve=evaluated("results/biology/{model}/complex_curve.tsv"),
        set_pairs=evaluated("results/biology/{model}/set_pairs.tsv"),
        gene_set_figures=evaluated("results/report/figures/{model}/gene_sets.png"),
        heterogeneity_samples=evaluated("results/biology/{model}/heterogeneity_samples.tsv"),
        cell_labels=evaluated("results/biology/{model}/cell_labels.tsv"),
        exclusive=evaluated("results/biology/{model}/exclusive.tsv"),
        compartments=evaluated("results/biology/{model}/compartments.tsv"),
        negative=evaluated("results/biology/{model}/negative.tsv"),
        abundance="results/biology/abundance.parquet",
        abundance_samples="results/biology/abundance_samples.parquet",
        abundance_background="results/biology/abundance_background.tsv",
        contrast_proteins=contrasted("results/biology/{model}/contrasts/{contrast}/proteins.tsv"),
        contrast_classes=contrasted("results/biology/{model}/contrasts/{contrast}/classes.tsv"),
        contrast_replicates=contrasted("results/biology/{model}/contrasts/{contrast}/replicates.tsv"),
        single_cells=evaluated("results/report/figures/{model}/single_cells.png"),
    output:
        site=report(
            directory("results/report/site"),
            htmlindex="index.html",
            caption="../report/site.rst",
            category="Browse",
            labels={"pages": "proteins, fields, maps, clusters"},
        ),
        summary="results/summaries/build_site/run.json",
    log:
        "logs/report/build_site.log",
    benchmark:
        "results/benchmark/report/build_site.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=120,
    params:
        settings=config["report"],
        sources=config["sources"],
        models=config["models"],
        gene_sets=credited_sets(config),
        code=code_digest("build_site"),
    message:
        "Building the pages"
    script:
        "../scripts/build_site.py"


rule cost:
    input:
        fields="results/catalog/fields.parquet",
        shards="results/catalog/shards.tsv",
        remote="results/catalog/remote.parquet",
        measured="resources/measured.tsv",
    output:
        table="results/report/cost.tsv",
        page="results/report/cost.html",
    log:
        "logs/report/cost.log",
    benchmark:
        "results/benchmark/report/cost.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=10,
    params:
        run=what_the_run_is,
        # it looks at results that are no inputs of it: whoever asks for it gets it anew
        asked=lambda wildcards: time.time_ns(),
        code=code_digest("cost"),
    message:
        "Counting what is still to do, to fetch and to write"
    script:
        "../scripts/cost.py"
