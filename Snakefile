from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"
include: "workflow/rules/behaviour.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/context.smk"
include: "workflow/rules/diffusion.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/baselines.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/records.smk"


report: "workflow/report/workflow.rst"


localrules:
    all,
    define_tasks,
    describe_dataset,
    make_tables,
    make_report,


rule all:
    default_target: True
    input:
        expand(rules.make_report.output, preset=PARAMS.preset),
        expand(rules.make_tables.output.tables, preset=PARAMS.preset),
        expand(rules.make_figures.output.figures, preset=PARAMS.preset),
