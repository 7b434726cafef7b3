"""Fetch the files of an image release from which the catalog lists its fields."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.sources.fetch_release import fetch_release

    fetch_release(
        name=snakemake.wildcards.source,
        source=snakemake.params.source,
        folder=snakemake.output.folder,
        lock="resources/lock.tsv",
        # how files are fetched is no parameter: another timeout fetches nothing again
        settings=snakemake.config["download"],
    )
