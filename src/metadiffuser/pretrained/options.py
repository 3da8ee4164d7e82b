"""The option ``--pretrained`` of the command line: with it, a verb plays published models and trains nothing."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from metadiffuser.errors import InputError


def offer(
    verb: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], needed: Sequence[argparse.Action]
) -> None:
    """Add ``--pretrained`` to a verb.

    Args:
        verb: its parser.
        run: what the verb does with the option.
        needed: options of the verb that are required without it, and not with it.
    """

    class Pretrained(argparse.Action):
        def __call__(self, _: object, namespace: argparse.Namespace, *__: object) -> None:
            namespace.run = run
            for action in needed:
                action.required = False

    if needed:
        required = " ".join(f"{action.option_strings[0]} {action.dest.upper()}" for action in needed)
        verb.usage = f"{verb.prog} {required}\n       {verb.prog} --pretrained [--family FAMILY] [--tasks N]"
    verb.add_argument("--pretrained", action=Pretrained, nargs=0, help="play the models in pretrained/ instead")


def play(arguments: argparse.Namespace) -> None:
    """Do what ``view --pretrained`` or ``evaluate --pretrained`` asks for.

    Raises:
        InputError: an option that says nothing about published models, or those of ``view_published`` and
            ``play_published``.
    """
    if arguments.verb == "view":
        from metadiffuser.pretrained.watching import view_published

        view_published(arguments.family, arguments.task, arguments.method)
        return
    for name in ("representation", "seed"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name}: not with --pretrained, which plays the models that are in pretrained/")
    from metadiffuser.pretrained.playing import TASKS, play_published

    play_published(arguments.family, arguments.tasks or TASKS)
