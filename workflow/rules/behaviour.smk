rule define_tasks:
    input:
        code=code_of("define_tasks"),
    output:
        tasks="artifacts/{preset}/tasks/{family}.json",
        timing="results/{preset}/timings/define_tasks-{family}.json",
    log:
        "logs/{preset}/define_tasks/{family}.log",
    benchmark:
        "logs/{preset}/define_tasks/{family}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: 1
    resources:
        runtime=5,
        mem_mb=1000,
        gpu=0,
    params:
        parameters=params_of("define_tasks"),
    message:
        "{wildcards.family}: drawing the tasks"
    shell:
        "metadiffuser define_tasks --family {wildcards.family} > {log} 2>&1"


rule train_behaviour:
    input:
        code=code_of("train_behaviour"),
        tasks="artifacts/{preset}/tasks/{family}.json",
    output:
        policies="artifacts/{preset}/behaviour/{family}/shard{shard}.safetensors",
        curve=directory("results/{preset}/training/behaviour/{family}/shard{shard}"),
        timing="results/{preset}/timings/train_behaviour-{family}-{shard}.json",
    log:
        "logs/{preset}/train_behaviour/{family}-{shard}.log",
    benchmark:
        "logs/{preset}/train_behaviour/{family}-{shard}.tsv"
    conda:
        "../envs/metadiffuser.yaml"
    threads: threads_of("behaviour")
    resources:
        runtime=1440,
        mem_mb=4000,
        gpu=GPUS,
    params:
        parameters=params_of("train_behaviour"),
    message:
        "{wildcards.family}: training behaviour policies, shard {wildcards.shard}"
    shell:
        "metadiffuser train_behaviour --family {wildcards.family} --shard {wildcards.shard} > {log} 2>&1"
