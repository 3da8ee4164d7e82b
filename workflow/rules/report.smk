DATASET_METRICS = "results/{preset}/metrics/dataset/{family}.json"
CONTEXT_METRICS = (
    "results/{preset}/metrics/context/{family}/{representation}/seed{seed}.json"
)
PLANNER_METRICS = (
    "results/{preset}/metrics/planner/{family}/{representation}/seed{seed}.json"
)
CALIBRATION = "results/{preset}/metrics/calibration/planner/{family}/{representation}/seed{seed}.json"
BASELINE_CALIBRATION = (
    "results/{preset}/metrics/calibration/baselines/{family}/{method}/seed{seed}.json"
)
BASELINE_METRICS = (
    "results/{preset}/metrics/baselines/{family}/{method}/seed{seed}.json"
)


rule make_tables:
    input:
        code=code_of("make_tables"),
        dataset=per_job(DATASET_METRICS),
        context=per_job(CONTEXT_METRICS),
        planner=per_job(PLANNER_METRICS),
        baselines=per_job(BASELINE_METRICS),
        calibration=per_job(CALIBRATION),
        baseline_calibration=per_job(BASELINE_CALIBRATION),
    output:
        tables=report(
            directory("results/{preset}/tables"),
            patterns=["{name}.csv", "{name}.md"],
            category="Tables",
            caption="../report/tables.rst",
            labels={"table": "{name}"},
        ),
        timing="results/{preset}/timings/make_tables.json",
    log:
        "logs/{preset}/make_tables/all.log",
    benchmark:
        "logs/{preset}/make_tables/all.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: 1
    resources:
        runtime=10,
        mem_mb=2000,
        gpu=0,
    params:
        parameters=params_of("make_tables"),
    message:
        "Making the tables"
    shell:
        "metadiffuser make_tables > {log} 2>&1"


rule make_figures:
    input:
        code=code_of("make_figures"),
        dataset=per_job(DATASET_METRICS),
        context=per_job(CONTEXT_METRICS),
        planner=per_job(PLANNER_METRICS),
        baselines=per_job(BASELINE_METRICS),
        behaviour_curves=per_job(
            "results/{preset}/training/behaviour/{family}/shard{shard}"
        ),
        context_curves=per_job(
            "results/{preset}/training/context/{family}/{representation}/seed{seed}"
        ),
        diffusion_curves=per_job(
            "results/{preset}/training/diffusion/{family}/{representation}/seed{seed}"
        ),
        baseline_curves=per_job(
            "results/{preset}/training/baselines/{family}/{method}/seed{seed}"
        ),
    output:
        figures=report(
            directory("results/{preset}/figures"),
            patterns=["{name}.png"],
            category="Figures",
            caption="../report/figures.rst",
            labels={"figure": "{name}"},
        ),
        timing="results/{preset}/timings/make_figures.json",
    log:
        "logs/{preset}/make_figures/all.log",
    benchmark:
        "logs/{preset}/make_figures/all.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: 1
    resources:
        runtime=10,
        mem_mb=2000,
        gpu=0,
    params:
        parameters=params_of("make_figures"),
    message:
        "Drawing the figures"
    shell:
        "metadiffuser make_figures > {log} 2>&1"


rule make_report:
    input:
        code=code_of("make_report"),
        tables="results/{preset}/tables",
        figures="results/{preset}/figures",
        videos=per_job("results/{preset}/videos/{family}"),
        timings=dag.expand(dag.paths.TIMING, {"preset": PARAMS.preset}, PARAMS),
    output:
        report(
            "results/{preset}/report.html",
            category="Report",
            caption="../report/report.rst",
        ),
    log:
        "logs/{preset}/make_report/all.log",
    benchmark:
        "logs/{preset}/make_report/all.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: 1
    resources:
        runtime=10,
        mem_mb=2000,
        gpu=0,
    params:
        parameters=params_of("make_report"),
    message:
        "Making the report"
    shell:
        "metadiffuser make_report > {log} 2>&1"
