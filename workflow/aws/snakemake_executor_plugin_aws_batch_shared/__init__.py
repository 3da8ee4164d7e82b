"""Snakemake's AWS Batch executor for a checkout on an EFS file system that all containers mount at the same path.

``snakemake-executor-plugin-aws-batch`` declares that its nodes share no folder; Snakemake then takes files through a
bucket, which jobs that read and write the project's own paths cannot use. This executor is the same one with the
opposite declaration. It adds to each job's definition the file system, and what the rule declares: memory as it is (the
plug-in gives a job whose memory is not among Fargate's sizes the smallest one), GPUs and the time limit. Its options
are the plug-in's with the prefix ``--aws-batch-shared-``, and two more.
"""

import shlex
from dataclasses import dataclass, field, replace
from typing import Any, Optional

import snakemake_executor_plugin_aws_batch as plugin
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

common_settings = replace(
    plugin.common_settings,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    auto_deploy_default_storage_provider=False,
)

VOLUME = "project"


@dataclass
class ExecutorSettings(plugin.ExecutorSettings):  # type: ignore[misc]
    """The plug-in's settings, and where the project lies."""

    file_system: Optional[str] = field(  # noqa: UP045 - Snakemake reads no other spelling of it
        default=None, metadata={"help": "EFS file system that holds the checkout (fs-...)", "required": True}
    )
    mount_path: Optional[str] = field(  # noqa: UP045 - Snakemake reads no other spelling of it
        default=None, metadata={"help": "Path of the file system in containers and on the head node", "required": True}
    )


def definition(given: dict[str, Any], resources: Any, cores: int, file_system: str, mount_path: str) -> dict[str, Any]:
    """Return a job definition of the plug-in's with the file system and with what the rule declares.

    Args:
        given: arguments of ``register_job_definition``.
        resources: the job's, by name.
        cores: of the job.
        file_system: EFS id.
        mount_path: where containers mount it.
    """
    needed = {"VCPU": cores, "MEMORY": resources.get("mem_mb", 2048), "GPU": resources.get("gpu", 0)}
    container = given["containerProperties"] | {
        "resourceRequirements": [{"type": kind, "value": str(count)} for kind, count in needed.items() if count],
        "volumes": [
            {
                "name": VOLUME,
                "efsVolumeConfiguration": {"fileSystemId": file_system, "transitEncryption": "ENABLED"},
            }
        ],
        "mountPoints": [{"sourceVolume": VOLUME, "containerPath": mount_path}],
        "privileged": False,
    }
    seconds = 60 * int(resources.get("runtime", 0)) or given["timeout"]["attemptDurationSeconds"]
    return given | {"containerProperties": container, "timeout": {"attemptDurationSeconds": seconds}}


class Executor(plugin.Executor):  # type: ignore[misc]
    """Runs each job as an AWS Batch job whose container begins in the checkout."""

    def get_job_exec_prefix(self, job: JobExecutorInterface) -> str:
        """Return the shell command that comes before the job's own."""
        return f"cd {shlex.quote(str(self.workflow.workdir_init))}"

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit a job."""
        client, register = self.batch_client, self.batch_client.client.register_job_definition
        settings = self.workflow.executor_settings
        place = (settings.file_system, settings.mount_path)
        cores = int(job.resources.get("_cores", 1))
        client.register_job_definition = lambda **given: register(**definition(given, job.resources, cores, *place))
        super().run_job(job)
