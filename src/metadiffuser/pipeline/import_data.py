"""``metadiffuser import``: use data from elsewhere in place of drawn tasks and collected episodes.

The data are kept as one file named after its contents, and ``params.yaml`` names that hash for the family. From then
on ``define_tasks``, ``train_behaviour`` and ``collect_dataset`` go by it, under either engine: the first takes the
task list, the second has nothing to train, the third writes the datasets. They, and the stage that describes the
datasets, are run here at once.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path

from ruamel.yaml import YAML

from metadiffuser import paths
from metadiffuser.artifacts import write_text
from metadiffuser.config.consistency import too_few_tasks
from metadiffuser.config.loading import PARAMS, parse
from metadiffuser.config.params import Params, override_in
from metadiffuser.envs import get_family
from metadiffuser.errors import InputError
from metadiffuser.importing.assemble import assemble
from metadiffuser.importing.comparison import Tolerances
from metadiffuser.importing.summary import summarise
from metadiffuser.importing.tasklist import read_task_list
from metadiffuser.pipeline import dag, locks, presets, records
from metadiffuser.pipeline.run import execute

STAGES = ("define_tasks", "train_behaviour", "collect_dataset", "describe_dataset")


def import_data(
    params: Params,
    name: str,
    source: Path,
    task_list: Path | None,
    tolerances: Tolerances,
    action_scale: float = 1.0,
) -> None:
    """Check data, keep them, name them in params.yaml and run the stages whose place they take.

    Args:
        params: the parameters in force.
        name: key of the family.
        source: folder of data, in any of the layouts of ``importing.readers``.
        task_list: the list of tasks, by default ``tasks.json`` in the folder.
        tolerances: differences from the family's own simulator that are accepted.
        action_scale: what the stored actions are multiplied by to be the family's, in [-1, 1].

    Raises:
        InputError: the data are not the family's or too few, and nothing has been written; or an engine is at work.
    """
    records.check_source()
    family = get_family(name)
    if name not in params.families:
        raise InputError(f"--family {name}: not in params.yaml, which has {', '.join(params.families)}")
    locks.check_idle()
    threads = params.section("dataset", name).threads
    sources = read_task_list(source, task_list, family)
    train, test = (sum(each.task.split == split for each in sources) for split in ("train", "test"))
    for inconsistency in too_few_tasks(params, name, train, test, str(task_list or source)):
        raise InputError(inconsistency)
    imported = assemble(sources, family, tolerances, threads, action_scale)
    _text_naming(name, "0" * 32)  # a parameter file that cannot be edited is refused before anything is written
    locks.check_idle()  # again, for playing the data in the simulator may have taken minutes
    digest = imported.write(Path(paths.IMPORTED.format(family=name, digest="")).parent)
    text = _text_naming(name, digest)
    in_force = parse(text)
    write_text(PARAMS, text)
    logging.getLogger("metadiffuser.stages.train_behaviour").setLevel(logging.ERROR)  # that there is nothing to train
    for job in dag.jobs(in_force):
        if job.stage.name in STAGES and job.wildcards["family"] == name and not records.is_current(job):
            execute(job, in_force, PARAMS)
    summary = summarise(imported)
    named = f"in place of generated data; {PARAMS} names them by their hash, {digest}."
    print("\n".join([f"{summary[0]}, {named}", *summary[1:], _waiting(in_force)]))


def _text_naming(family: str, digest: str) -> str:
    """Return the text of params.yaml with the hash named for the family, and all else as it is."""
    text = PARAMS.read_text(encoding="utf-8-sig")
    wanted = parse(text).model_dump()
    override_in(wanted, family, "tasks")["imported"] = digest
    editor = YAML()
    editor.width = 100_000
    editor.preserve_quotes = True
    editor.indent(mapping=2, sequence=4, offset=2)  # as 'metadiffuser use' writes
    tree = editor.load(text)
    override_in(tree, family, "tasks")["imported"] = digest
    stream = io.StringIO()
    editor.dump(tree, stream)
    if parse(stream.getvalue()).model_dump() != wanted:
        remedy = f"write 'imported: {digest}' there by hand"
        raise InputError(f"{PARAMS}: overrides.{family}.tasks cannot be edited safely; {remedy}")
    return stream.getvalue()


def _waiting(params: Params) -> str:
    """Return how many of the jobs are to be run."""
    recorded = {job.name for job in dag.jobs(params) if job.stage.name in STAGES and records.is_current(job)}
    waiting = [name for name in presets.stale(params) if name not in recorded]
    return f"To be run: {len(waiting)} of {len(dag.jobs(params))} jobs."
