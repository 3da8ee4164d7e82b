rule train_diffusion:
    input:
        code=code_of("train_diffusion"),
        tasks="artifacts/{preset}/tasks/{family}.json",
        dataset="artifacts/{preset}/datasets/{family}",
        context="artifacts/{preset}/context/{family}/{representation}/seed{seed}.safetensors",
    output:
        model="artifacts/{preset}/diffusion/{family}/{representation}/seed{seed}.safetensors",
        curve=directory(
            "results/{preset}/training/diffusion/{family}/{representation}/seed{seed}"
        ),
        timing="results/{preset}/timings/train_diffusion-{family}-{representation}-{seed}.json",
    log:
        "logs/{preset}/train_diffusion/{family}-{representation}-{seed}.log",
    benchmark:
        "logs/{preset}/train_diffusion/{family}-{representation}-{seed}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: threads_of("diffusion")
    resources:
        runtime=4320,
        mem_mb=10000,
        gpu=GPUS,
    params:
        parameters=params_of("train_diffusion"),
    message:
        "{wildcards.family}: training the diffusion model, {wildcards.representation}, seed {wildcards.seed}"
    shell:
        "metadiffuser train_diffusion --family {wildcards.family} --representation {wildcards.representation}"
        " --seed {wildcards.seed} > {log} 2>&1"
