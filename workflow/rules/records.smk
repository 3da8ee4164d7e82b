"""Before and after a run: the records of Snakemake and DVC are made to agree (metadiffuser.bridge)."""

import sys

from metadiffuser import bridge, locks


def take_checkout():
    """Keep other engines out for the whole run; a job on a cluster learns whose job it is."""
    try:
        bridge.take_checkout(sys.argv) if workflow.is_main_process else locks.pass_on()
    except InputError as error:
        refuse(error)


take_checkout()
BRIDGED = workflow.is_main_process and bridge.wanted(sys.argv)


def make_records_agree():
    """Go by params.yaml as it is now, which is what DVC reads: it may have been edited since the run began."""
    if BRIDGED:
        commands = {step.name: step.shellcmd for step in workflow.rules}
        try:
            bridge.reconcile(read_params(), commands)
        except InputError as error:
            refuse(error)


bridge.find_programs()
make_records_agree()


onsuccess:
    make_records_agree()


onerror:
    make_records_agree()
