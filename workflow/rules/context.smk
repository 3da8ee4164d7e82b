rule train_context:
    input:
        code=code_of("train_context"),
        tasks="artifacts/{preset}/tasks/{family}.json",
        dataset="artifacts/{preset}/datasets/{family}",
    output:
        model="artifacts/{preset}/context/{family}/{representation}/seed{seed}.safetensors",
        curve=directory(
            "results/{preset}/training/context/{family}/{representation}/seed{seed}"
        ),
        metrics="results/{preset}/metrics/context/{family}/{representation}/seed{seed}.json",
        timing="results/{preset}/timings/train_context-{family}-{representation}-{seed}.json",
    log:
        "logs/{preset}/train_context/{family}-{representation}-{seed}.log",
    benchmark:
        "logs/{preset}/train_context/{family}-{representation}-{seed}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: threads_of("context")
    resources:
        runtime=1440,
        mem_mb=10000,
        gpu=0,
    params:
        parameters=params_of("train_context"),
    message:
        "{wildcards.family}: training the {wildcards.representation} context encoder, seed {wildcards.seed}"
    shell:
        "metadiffuser train_context --family {wildcards.family} --representation {wildcards.representation}"
        " --seed {wildcards.seed} > {log} 2>&1"
