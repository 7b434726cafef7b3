"""Tell what the run costs before it is run."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.cost import write_cost

    write_cost(
        config=snakemake.config,
        run=snakemake.params.run,
        fields=snakemake.input.fields,
        shards=snakemake.input.shards,
        remote=snakemake.input.remote,
        measured=snakemake.input.measured,
        table=snakemake.output.table,
        page=snakemake.output.page,
    )
