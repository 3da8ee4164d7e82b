rule calibrate:
    input:
        code=code_of("calibrate"),
        tasks="artifacts/{preset}/tasks/{family}.json",
        dataset="artifacts/{preset}/datasets/{family}",
        context="artifacts/{preset}/context/{family}/{representation}/seed{seed}.safetensors",
        diffusion="artifacts/{preset}/diffusion/{family}/{representation}/seed{seed}.safetensors",
    output:
        calibration="results/{preset}/metrics/calibration/planner/{family}/{representation}/seed{seed}.json",
        timing="results/{preset}/timings/calibrate-{family}-{representation}-{seed}.json",
    log:
        "logs/{preset}/calibrate/{family}-{representation}-{seed}.log",
    benchmark:
        "logs/{preset}/calibrate/{family}-{representation}-{seed}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: threads_of("calibration")
    resources:
        runtime=480,
        mem_mb=8000,
        gpu=GPUS,
    params:
        parameters=params_of("calibrate"),
    message:
        "{wildcards.family}: choosing the planner's settings on training tasks, {wildcards.representation}, seed {wildcards.seed}"
    shell:
        "metadiffuser calibrate --family {wildcards.family} --representation {wildcards.representation}"
        " --seed {wildcards.seed} > {log} 2>&1"


rule evaluate:
    input:
        code=code_of("evaluate"),
        tasks="artifacts/{preset}/tasks/{family}.json",
        dataset="artifacts/{preset}/datasets/{family}",
        context="artifacts/{preset}/context/{family}/{representation}/seed{seed}.safetensors",
        diffusion="artifacts/{preset}/diffusion/{family}/{representation}/seed{seed}.safetensors",
        calibration="results/{preset}/metrics/calibration/planner/{family}/{representation}/seed{seed}.json",
    output:
        metrics="results/{preset}/metrics/planner/{family}/{representation}/seed{seed}.json",
        rollouts="artifacts/{preset}/rollouts/{family}/{representation}/seed{seed}.safetensors",
        timing="results/{preset}/timings/evaluate-{family}-{representation}-{seed}.json",
    log:
        "logs/{preset}/evaluate/{family}-{representation}-{seed}.log",
    benchmark:
        "logs/{preset}/evaluate/{family}-{representation}-{seed}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: threads_of("evaluation")
    resources:
        runtime=1440,
        mem_mb=8000,
        gpu=GPUS,
    params:
        parameters=params_of("evaluate"),
    message:
        "{wildcards.family}: evaluating on unseen tasks, {wildcards.representation}, seed {wildcards.seed}"
    shell:
        "metadiffuser evaluate --family {wildcards.family} --representation {wildcards.representation}"
        " --seed {wildcards.seed} > {log} 2>&1"


rule render_rollouts:
    input:
        code=code_of("render_rollouts"),
        tasks="artifacts/{preset}/tasks/{family}.json",
        rollouts=expand(
            "artifacts/{preset}/rollouts/{family}/{representation}/seed{seed}.safetensors",
            representation=PARAMS.representations[0],
            seed=PARAMS.seeds[0],
            allow_missing=True,
        ),
    output:
        videos=report(
            directory("results/{preset}/videos/{family}"),
            patterns=["{name}.mp4", "{name}.png"],
            category="Rollouts",
            subcategory="{family}",
            caption="../report/videos.rst",
            labels={"family": "{family}", "file": "{name}"},
        ),
        timing="results/{preset}/timings/render_rollouts-{family}.json",
    log:
        "logs/{preset}/render_rollouts/{family}.log",
    benchmark:
        "logs/{preset}/render_rollouts/{family}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: 1
    resources:
        runtime=60,
        mem_mb=4000,
        gpu=0,
    params:
        parameters=params_of("render_rollouts"),
    message:
        "{wildcards.family}: rendering rollouts"
    shell:
        "metadiffuser render_rollouts --family {wildcards.family} > {log} 2>&1"
