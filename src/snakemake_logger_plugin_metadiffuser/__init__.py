"""The console of a run: one line a job, and jobs done, running and time left below; a logger plug-in of Snakemake.

Snakemake finds it by the name of this package and uses it with ``--logger metadiffuser``, which the profiles in
``workflow/profiles`` ask for. Its own output prints some twenty paths a job as the reason to run it, and can leave
them out (``--quiet``) but shows neither what runs nor how long it takes still; the plug-ins on PyPI show no time left
and print nothing while jobs run where there is no terminal. The full account is in ``.snakemake/log`` as ever.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase

from metadiffuser.errors import one_line
from metadiffuser.pipeline.account import name_user

if TYPE_CHECKING:
    from rich.live import Live

    from metadiffuser.pipeline.board import Board

name_user()  # Snakemake loads its plug-ins before it makes its folders, and the Snakefile after

SILENCE = 300.0  # seconds without a line after which a log without a terminal gets one about what runs
TAIL = 15  # lines of a failed job's log that are shown
NOISE = re.compile(
    r"Assuming unrestricted shared filesystem|Building DAG of jobs|Using shell|Conda environments: ignored"
    r"|Singularity containers: ignored|Group jobs: inactive|Select jobs to execute|Execute \d+ jobs|Provided "
    r"|Rules claiming more threads|host: |None$"
    r"|Reasons:|Some jobs were triggered by provenance|Rules with provenance"  # of a dry run, said beside each job
)
FILES = 3  # edited files that are named as a reason to run a job
REASONS = (
    "Missing",
    "Incomplete",
    "Updated",
    "Input files updated",
    "Set of",
    "Code has",
    "Params have",
    "Software",
    "Forced",
)
TARGET = "all"  # the rule that only collects the results of others, no job to anybody


class LogHandler(LogHandlerBase):
    """What Snakemake looks for in a logger plug-in."""

    def __post_init__(self) -> None:
        """Prepare to print; the terminal is not touched before jobs run."""
        from metadiffuser.pipeline.board import Board

        self.stream: IO[str] = sys.stdout if self.common_settings.stdout else sys.stderr
        self.quiet = {str(kind).rpartition(".")[2].lower() for kind in self.common_settings.quiet or ()}
        self.board: Board = Board()
        self.announced = False
        self._live: Live | None = None
        self._spoken = time.monotonic()
        self._ended = threading.Event()

    @property
    def writes_to_stream(self) -> bool:
        """It takes the place of Snakemake's own output."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """It writes no file."""
        return False

    @property
    def has_filter(self) -> bool:
        """Snakemake's filter applies, and with it ``--quiet``."""
        return False

    @property
    def has_formatter(self) -> bool:
        """Snakemake's formatter writes what has no form of its own here."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """The graph of the rules is not shown."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a record says."""
        try:
            action = getattr(self, f"_on_{getattr(record, 'event', None) or 'message'}", self._on_other)
            action(record)
        except (OSError, ValueError):  # the stream is closed: the run goes on unseen
            self._stop()
        except Exception:  # a line that is lost is no reason to lose a run
            self.handleError(record)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._stop()
        super().close()

    def _on_message(self, record: logging.LogRecord) -> None:
        message = str(record.msg or "")
        if message.startswith("Exiting because a job execution failed") and self.board.failed:
            self._stop()
            self._print(f"{self.board.status()}: {'; '.join(self.board.failed)}")
        elif record.levelno >= logging.WARNING or (message and not NOISE.match(message)):
            self._print(message)

    def _on_error(self, record: logging.LogRecord) -> None:
        if "CalledProcessError in " not in str(record.msg):  # a failed job's, which is shown with its log
            self._print(self.format(record))

    def _on_other(self, record: logging.LogRecord) -> None:
        self._print(self.format(record))

    def _on_workflow_started(self, record: logging.LogRecord) -> None:
        """Versions and paths are in Snakemake's own log."""

    def _on_job_started(self, record: logging.LogRecord) -> None:
        """Which jobs these are is said for each of them."""

    def _on_resources_info(self, record: logging.LogRecord) -> None:
        count = _of(record, "cores") or _of(record, "nodes")
        if count:
            self.board.cores = min(int(count), 10_000)

    def _on_run_info(self, record: logging.LogRecord) -> None:
        if self.announced:  # a dry run says it again at its end
            return
        self.announced = True
        stats = {rule: count for rule, count in (_of(record, "stats") or {}).items() if rule not in ("total", TARGET)}
        jobs = ", ".join(f"{count} {rule}" for rule, count in stats.items())
        count = sum(stats.values())
        self._print(f"{count} {'job' if count == 1 else 'jobs'} to run{': ' if jobs else ''}{jobs}")
        if not self.common_settings.dryrun:
            self.board.begin(stats)
            self._begin()

    def _on_job_info(self, record: logging.LogRecord) -> None:
        rule, wildcards = _of(record, "rule_name"), dict(_of(record, "wildcards") or {})
        if rule == TARGET:
            return
        label = one_line(_of(record, "rule_msg") or " ".join([rule, *wildcards.values()]))
        if self.common_settings.dryrun:
            reason = changes(rule, wildcards) or summary(_of(record, "reason") or "")
            self._print(label if "reason" in self.quiet else f"{label} ({reason})")
            return
        self.board.start(_of(record, "jobid"), rule, wildcards, label)
        if "progress" in self.quiet:  # then its end is not announced
            self._print(label)

    def _on_job_finished(self, record: logging.LogRecord) -> None:
        number = _of(record, "job_id")
        if number not in self.board.running and ("rules" not in self.quiet or self.board.done >= self.board.total):
            return  # the target rule, which was not announced
        ended = self.board.finish(number)
        if ended is None:
            self._print(self.board.status())
            return
        label, took = ended
        from metadiffuser.pipeline.board import short

        if self._live is None:
            self._print(f"{self.board.status()}: {label} ({short(took)})")
            return
        self._print(f"{label} ({short(took)})")
        if self.board.done == self.board.total:
            self._stop()
            self._print(self.board.status())

    def _on_progress(self, record: logging.LogRecord) -> None:
        """The jobs are counted already."""

    def _on_job_error(self, record: logging.LogRecord) -> None:
        from metadiffuser.pipeline.board import short

        ended = self.board.fail(_of(record, "jobid"))
        if ended is None:  # Snakemake says it again at the end
            return
        label, took = ended
        lines = [f"Error in rule {_of(record, 'rule_name')}: {label}: failed after {short(took)}"]
        lines += [f"  {one_line(command)}"] if (command := _of(record, "shellcmd")) else []
        for path in _of(record, "log") or ():
            lines += tail(Path(re.sub(r" \(.*\)$", "", str(path))))
        self._print("\n".join(lines))

    def _print(self, text: str) -> None:
        self._spoken = time.monotonic()
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        stamp = "" if self.common_settings.dryrun or self.stream.isatty() else time.strftime("[%H:%M:%S] ")
        print(f"{stamp}{text}", file=self.stream, flush=True)

    def _begin(self) -> None:
        """Show the state of the run from now on: below the lines in a terminal, as a line now and then elsewhere."""
        if {"progress", "rules", "all"} & self.quiet:
            return
        from rich.console import Console

        console = Console(file=self.stream, no_color=True if self.common_settings.nocolor else None)
        if not console.is_terminal or console.is_dumb_terminal:
            threading.Thread(target=self._speak_up, name="console", daemon=True).start()
            return
        from rich.live import Live

        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=1, transient=True, redirect_stdout=False
        )
        self._live.start()

    def _render(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        from metadiffuser.pipeline.board import short

        board = self.board
        now = board.clock()
        jobs = sorted(board.running.values(), key=lambda job: job.since)
        shown = [f"  {job.label} ({short(now - job.since)} so far)" for job in jobs[:8]]
        shown += [f"  and {len(jobs) - 8} more"] if len(jobs) > 8 else []
        lines = Text("\n".join([*shown, board.status()]), overflow="ellipsis", no_wrap=True)
        return Group(lines, ProgressBar(total=max(board.total, 1), completed=board.done, width=60))

    def _speak_up(self) -> None:
        while not self._ended.wait(min(SILENCE, 1.0)):
            if time.monotonic() - self._spoken >= SILENCE:
                running = "; ".join(job.label for job in list(self.board.running.values())[:8])
                with suppress(OSError, ValueError):
                    self._print(f"{self.board.status()}: {running}")

    def _stop(self) -> None:
        self._ended.set()
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError, ValueError):
                live.stop()


def _of(record: logging.LogRecord, name: str) -> Any:
    return getattr(record, name, None)


def changes(rule: str, wildcards: Mapping[str, str]) -> str:
    """Return what DVC finds changed since a job ran, if that is why Snakemake's record of it was deleted, else nothing.

    Snakemake itself then calls every input updated, as it knows no more of the job.
    """
    from metadiffuser.pipeline import dag, sync

    names = sync.CHANGED.get(dag.job_name(rule, wildcards), [])
    more = f" and {len(names) - FILES} more" if len(names) > FILES else ""
    return f"changed since it ran: {', '.join(names[:FILES])}{more}" if names else ""


def summary(reason: str) -> str:
    """Return Snakemake's reason to run a job, with at most a few of the files that were edited and no others."""
    found = []
    for part in reason.split("; "):
        what, _, files = part.partition(": ")
        if what.startswith(REASONS):
            what = what[:1].lower() + what[1:]
            names = files.split(", ") if what.startswith("updated") else []
            more = f" and {len(names) - FILES} more" if len(names) > FILES else ""
            found.append(f"{what}: {', '.join(names[:FILES])}{more}" if names else what)
    return "; ".join(found) or "no reason given"


def tail(path: Path) -> list[str]:
    """Return the last lines of a job's log, with a heading."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return [f"  {path}: {error.strerror}"]
    if not lines:
        return [f"  {path}: empty"]
    more = f" (the last {TAIL} of {len(lines)} lines)" if len(lines) > TAIL else ""
    return [f"  {path}{more}:", *(f"    {one_line(line)}" for line in lines[-TAIL:])]
