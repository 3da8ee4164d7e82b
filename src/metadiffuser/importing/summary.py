"""What an import says of the data that it took."""

from __future__ import annotations

from metadiffuser.envs import Task
from metadiffuser.importing.store import Imported


def summarise(imported: Imported) -> list[str]:
    """Return lines on tasks and episodes, then on differences from the simulator, labels and what was left out."""
    notes = imported.notes
    splits = [task.split for task in imported.tasks]
    episodes = sum(len(block) for by_task in imported.episodes.values() for block in by_task.values())
    train, test = splits.count("train"), splits.count("test")
    lines = [f"{imported.family}: {train} training and {test} unseen tasks, {episodes} episodes"]
    if notes["reward_difference"] is not None:
        rewards, states = notes["reward_difference"], notes["state_difference"]
        lines.append(f"Rewards: they differ from the family's reward function by {rewards:.3g} at most.")
        lines.append(f"Next observations: they differ from the family's physics by {states:.3g} at most.")
        if notes["not_restored"]:
            lines.append(
                f"Not compared: {notes['not_restored']} of {notes['steps']} steps, whose observations show velocities "
                "at the edge to which they are clipped."
            )
    elif notes["not_restored"]:
        lines.append(
            "Not compared: no step. The family's simulator cannot be put into the states that the observations show, "
            "so rewards and next observations are not checked."
        )
    if notes["labels"] == "ranked":
        lines.append("Qualities: none given; each task's episodes were ranked by return, a third to each.")
    if notes["action_scale"] != 1.0:
        lines.append(f"Actions: stored ones were multiplied by {notes['action_scale']:g}.")
    if notes["unfinished"]:
        lines.append(f"Cut: {notes['unfinished']} steps of episodes that the files break off.")
    if notes["computed"]:
        lines.append(
            f"Computed: {notes['computed']} last observations of episodes, by the family's physics, as the files have "
            "no next_observations."
        )
    lines += _without_scale(imported)
    lines += _repeated(imported)
    if notes["left_out"]:
        lines.append(f"Left out: {notes['left_out']} episodes, so that all tasks have equally many.")
    return lines


def _without_scale(imported: Imported) -> list[str]:
    """Return a line that names the tasks whose experts earn no more than their random episodes."""
    means = {
        quality: {index: float(episodes.returns.mean()) for index, episodes in imported.episodes[quality].items()}
        for quality in ("expert", "random")
    }
    found = [str(task.index) for task in imported.tasks if means["expert"][task.index] <= means["random"][task.index]]
    if not found:
        return []
    labels = "" if imported.notes["labels"] == "ranked" else " (are the labels exchanged?)"
    tasks = f"task{'s' if len(found) > 1 else ''} {', '.join(found)}"
    return [f"No normalised score: {tasks}, where expert episodes earn no more than random ones{labels}."]


def _repeated(imported: Imported) -> list[str]:
    """Return a line for each task whose parameters are those of an earlier one."""
    lines: list[str] = []
    first: dict[tuple[float, ...], Task] = {}
    for task in sorted(imported.tasks, key=lambda task: task.split != "train"):
        other = first.setdefault(tuple(task.vector), task)
        if other.split != task.split:
            lines.append(
                f"Task {task.index}: unseen by its split, but its parameters are those of training task {other.index}."
            )
        elif other is not task:
            lines.append(
                f"Task {task.index}: its parameters are those of task {other.index}, so that task counts twice."
            )
    return lines
