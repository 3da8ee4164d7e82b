"""The form that every message about a file of parameters has."""

from __future__ import annotations


def assert_one_sentence(message: str, source: str = "params.yaml") -> None:
    assert message.startswith(f"{source}: ")
    assert message.isprintable(), "a line break or an escape sequence came through"
    assert len(message) < 500
