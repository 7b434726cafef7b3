"""Fetch published weights and check their sha256."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.fetch_weights import fetch_weights

    fetch_weights(
        name=snakemake.wildcards.weights,
        table=snakemake.input.table,
        # where they come from is no parameter: by their sha256 they are the same
        source=snakemake.config["weights"].get(snakemake.wildcards.weights),
        target=snakemake.output[0],
        lock="resources/lock.tsv",
        # how files are fetched is no parameter: another timeout fetches nothing again
        settings=snakemake.config["download"],
    )
