"""Snakemake's Kubernetes executor for a checkout on a volume that all pods mount at the same path.

``snakemake-executor-plugin-kubernetes`` declares that its pods share no folder; Snakemake then takes files through a
bucket, which jobs that read and write the project's own paths cannot use. This executor is the same one with the
opposite declaration: a pod begins in the checkout, and nothing is copied. Its options are the plug-in's with the prefix
``--kubernetes-shared-``.
"""

from __future__ import annotations

import shlex
from dataclasses import replace

import snakemake_executor_plugin_kubernetes as plugin
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

ExecutorSettings = plugin.ExecutorSettings

common_settings = replace(
    plugin.common_settings,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(plugin.Executor):  # type: ignore[misc]
    """Runs each job as a Kubernetes job whose container begins in the checkout."""

    def get_job_exec_prefix(self, job: JobExecutorInterface) -> str:
        """Return the shell command that comes before the job's own."""
        return f"cd {shlex.quote(str(self.workflow.workdir_init))}"
