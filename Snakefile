"""wherein: where in the cell each protein is, from fluorescence microscopy.

Results appear under results/, logs under logs/, downloads under resources/.
"""

from snakemake.utils import min_version

min_version("9.0")


# the demo, unless a configuration is given with --configfile
if "sources" not in config:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/catalog.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/qc.smk"
include: "workflow/rules/segmenter.smk"
include: "workflow/rules/segment.smk"
include: "workflow/rules/crop.smk"
include: "workflow/rules/import.smk"
include: "workflow/rules/vectors.smk"
include: "workflow/rules/split.smk"
include: "workflow/rules/reading.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/exchange.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/atlas.smk"
include: "workflow/rules/aligned.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/find.smk"
include: "workflow/rules/biology.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"


rule all:
    default_target: True
    input:
        "results/report/site",
        "results/report/balance.tsv",
