"""Build the pages that people browse."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.site import build_site

    build_site(
        inputs=dict(snakemake.input.items()),
        settings=snakemake.params.settings,
        sources=snakemake.params.sources,
        models=snakemake.params.models,
        gene_sets=snakemake.params.gene_sets,
        site=snakemake.output.site,
        summary=snakemake.output.summary,
    )
