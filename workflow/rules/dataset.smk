rule collect_dataset:
    input:
        code=code_of("collect_dataset"),
        tasks="artifacts/{preset}/tasks/{family}.json",
        policies=per_job(
            "artifacts/{preset}/behaviour/{{family}}/shard{shard}.safetensors"
        ),
    output:
        dataset=directory("artifacts/{preset}/datasets/{family}"),
        metrics="results/{preset}/metrics/dataset/{family}.json",
        timing="results/{preset}/timings/collect_dataset-{family}.json",
    log:
        "logs/{preset}/collect_dataset/{family}.log",
    benchmark:
        "logs/{preset}/collect_dataset/{family}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: threads_of("dataset")
    resources:
        runtime=240,
        mem_mb=4000,
        gpu=GPUS,
    params:
        parameters=params_of("collect_dataset"),
    message:
        "{wildcards.family}: collecting the datasets"
    shell:
        "metadiffuser collect_dataset --family {wildcards.family} > {log} 2>&1"


rule describe_dataset:
    input:
        code=code_of("describe_dataset"),
        metrics="results/{preset}/metrics/dataset/{family}.json",
    output:
        card=report(
            directory("results/{preset}/datasets/{family}"),
            patterns=["{name}.png"],
            category="Datasets",
            caption="../report/datasets.rst",
            labels={"family": "{family}"},
        ),
        timing="results/{preset}/timings/describe_dataset-{family}.json",
    log:
        "logs/{preset}/describe_dataset/{family}.log",
    benchmark:
        "logs/{preset}/describe_dataset/{family}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: 1
    resources:
        runtime=10,
        mem_mb=2000,
        gpu=0,
    params:
        parameters=params_of("describe_dataset"),
    message:
        "{wildcards.family}: describing the datasets"
    shell:
        "metadiffuser describe_dataset --family {wildcards.family} > {log} 2>&1"
