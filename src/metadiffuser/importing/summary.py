"""What an import says of the data that it took."""

from __future__ import annotations

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
            f"Not compared: {notes['not_restored']} of {notes['steps']} steps, whose observations show velocities at "
            "the edge to which they are clipped."
        )
    if notes["labels"] == "ranked":
        lines.append("Qualities: none given; each task's episodes were ranked by return, a third to each.")
    if notes["left_out"]:
        lines.append(f"Left out: {notes['left_out']} episodes, so that all tasks have equally many.")
    return lines
