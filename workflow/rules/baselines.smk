rule train_baseline:
    input:
        code=code_of("train_baseline"),
        tasks="artifacts/{preset}/tasks/{family}.json",
        dataset="artifacts/{preset}/datasets/{family}",
        context=expand(
            "artifacts/{preset}/context/{family}/{representation}/seed{seed}.safetensors",
            representation=PARAMS.representations[0],
            allow_missing=True,
        ),
    output:
        model="artifacts/{preset}/baselines/{family}/{method}/seed{seed}.safetensors",
        curve=directory(
            "results/{preset}/training/baselines/{family}/{method}/seed{seed}"
        ),
        timing="results/{preset}/timings/train_baseline-{family}-{method}-{seed}.json",
    log:
        "logs/{preset}/train_baseline/{family}-{method}-{seed}.log",
    benchmark:
        "logs/{preset}/train_baseline/{family}-{method}-{seed}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: threads_of("baseline.{method}")
    resources:
        runtime=2880,
        mem_mb=10000,
        gpu=0,
    params:
        parameters=params_of("train_baseline"),
    message:
        "{wildcards.family}: training the baseline {wildcards.method}, seed {wildcards.seed}"
    shell:
        "metadiffuser train_baseline --family {wildcards.family} --method {wildcards.method}"
        " --seed {wildcards.seed} > {log} 2>&1"


rule calibrate_baseline:
    input:
        code=code_of("calibrate_baseline"),
        tasks="artifacts/{preset}/tasks/{family}.json",
        dataset="artifacts/{preset}/datasets/{family}",
        context=expand(
            "artifacts/{preset}/context/{family}/{representation}/seed{seed}.safetensors",
            representation=PARAMS.representations[0],
            allow_missing=True,
        ),
        model="artifacts/{preset}/baselines/{family}/{method}/seed{seed}.safetensors",
    output:
        calibration="results/{preset}/metrics/calibration/baselines/{family}/{method}/seed{seed}.json",
        timing="results/{preset}/timings/calibrate_baseline-{family}-{method}-{seed}.json",
    log:
        "logs/{preset}/calibrate_baseline/{family}-{method}-{seed}.log",
    benchmark:
        "logs/{preset}/calibrate_baseline/{family}-{method}-{seed}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: threads_of("calibration")
    resources:
        runtime=240,
        mem_mb=8000,
        gpu=0,
    params:
        parameters=params_of("calibrate_baseline"),
    message:
        "{wildcards.family}: choosing the settings of {wildcards.method} on training tasks, seed {wildcards.seed}"
    shell:
        "metadiffuser calibrate_baseline --family {wildcards.family} --method {wildcards.method}"
        " --seed {wildcards.seed} > {log} 2>&1"


rule evaluate_baseline:
    input:
        code=code_of("evaluate_baseline"),
        tasks="artifacts/{preset}/tasks/{family}.json",
        dataset="artifacts/{preset}/datasets/{family}",
        context=expand(
            "artifacts/{preset}/context/{family}/{representation}/seed{seed}.safetensors",
            representation=PARAMS.representations[0],
            allow_missing=True,
        ),
        model="artifacts/{preset}/baselines/{family}/{method}/seed{seed}.safetensors",
        calibration="results/{preset}/metrics/calibration/baselines/{family}/{method}/seed{seed}.json",
    output:
        metrics="results/{preset}/metrics/baselines/{family}/{method}/seed{seed}.json",
        timing="results/{preset}/timings/evaluate_baseline-{family}-{method}-{seed}.json",
    log:
        "logs/{preset}/evaluate_baseline/{family}-{method}-{seed}.log",
    benchmark:
        "logs/{preset}/evaluate_baseline/{family}-{method}-{seed}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: threads_of("evaluation")
    resources:
        runtime=240,
        mem_mb=8000,
        gpu=0,
    params:
        parameters=params_of("evaluate_baseline"),
    message:
        "{wildcards.family}: evaluating the baseline {wildcards.method}, seed {wildcards.seed}"
    shell:
        "metadiffuser evaluate_baseline --family {wildcards.family} --method {wildcards.method}"
        " --seed {wildcards.seed} > {log} 2>&1"
