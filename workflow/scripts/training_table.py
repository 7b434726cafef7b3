"""Write which units one model learns from, and by which labels."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.training_table import make_training_table
    from wherein.overrides import relabelled_cells

    make_training_table(
        model=snakemake.wildcards.model,
        fields=snakemake.input.fields,
        split=snakemake.input.split,
        samples=snakemake.input.samples,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        level=snakemake.params.level,
        settings=snakemake.params.settings,
        # no parameter of the rule: a curator's word does not make the table anew
        relabelled=relabelled_cells(snakemake.config["overrides"]),
        table=snakemake.output.table,
        shards=snakemake.output.shards,
        summary=snakemake.output.summary,
    )
