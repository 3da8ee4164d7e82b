"""Before and after a run: the records of Snakemake and DVC are made to agree (metadiffuser.pipeline.sync)."""

import sys

from metadiffuser.pipeline import locks, sync


def take_checkout():
    """Keep other engines out for the whole run; a job on a cluster learns whose job it is."""
    try:
        sync.take_checkout(sys.argv) if workflow.is_main_process else locks.pass_on()
    except InputError as error:
        refuse(error)


take_checkout()
RECONCILED = workflow.is_main_process and sync.wanted(sys.argv)


def make_records_agree():
    """Go by params.yaml as it is now, which is what DVC reads: it may have been edited since the run began."""
    if RECONCILED:
        commands = {step.name: step.shellcmd for step in workflow.rules}
        try:
            sync.reconcile(read_params(), commands)
        except InputError as error:
            refuse(error)


sync.find_programs()
make_records_agree()


onsuccess:
    make_records_agree()


onerror:
    make_records_agree()
