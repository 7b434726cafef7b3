"""Group the proteins of an atlas in further ways, and tell how far to trust each group."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.groupings import group_proteins

    group_proteins(
        model=snakemake.wildcards.model,
        proteins=snakemake.input.proteins,
        settings=snakemake.params.settings,
        biology=snakemake.params.biology,
        groups=snakemake.output.groups,
        members=snakemake.output.members,
        agreements=snakemake.output.agreement,
        organelle=snakemake.output.organelles,
        spectrum=snakemake.output.spectrum,
        terms=snakemake.output.terms,
        summary=snakemake.output.summary,
    )
