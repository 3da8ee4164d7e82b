"""What captions and figures say of imported data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from tests.helpers import fabricated


@pytest.mark.slow
def test_captions_say_where_the_anchors_are_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = fabricated.parameters()
    fabricated.write_metrics(params)
    fabricated.write_curves(params)

    def captions(*kinds: str) -> dict[str, str]:
        found = []
        for kind in kinds:
            fabricated.run_stage(f"make_{kind}", params)
            found += read_json(Path(f"results/smoke/{kind}/{kind}.json"))[kind]
        return {entry["name"]: entry["caption"] for entry in found}

    generated = captions("tables", "figures")
    assert not [name for name, caption in generated.items() if "imported data; R_random" in caption]
    path = Path(paths.DATASET_METRICS.format(preset="smoke", family="point_robot"))
    path.write_text(json.dumps(read_json(path) | {"source": "imported", "labels": "ranked"}))
    after = captions("tables", "figures")
    title = fabricated.LABELS["point_robot"][0]
    words = f"{title}: imported data; R_random and R_expert are the means of the worst and the best third of its"
    scored = {
        "verdicts",
        "table1_few_shot",
        "table2_warm_start",
        "table2_average",
        "table4_guide",
        "comparisons",
        "behaviour",
    }
    assert {name for name, caption in after.items() if words in caption} == scored | {
        "scores_by_warm_start",
        "scores_by_guide",
        "scores_by_method",
    }
    assert f"{fabricated.LABELS['cheetah_vel'][0]}: imported" not in "".join(after.values())
    path.write_text(json.dumps(read_json(path) | {"labels": "given"}))
    assert "means of its episodes labelled random and expert" in captions("tables")["table1_few_shot"]


def test_a_family_without_behaviour_curves_has_an_empty_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metadiffuser.reporting.figures import learning_curves
    from metadiffuser.reporting.labels import Labels
    from metadiffuser.tracking import read_curve, write_curve

    monkeypatch.chdir(tmp_path)
    write_curve(tmp_path / "empty", [])
    table = read_curve(tmp_path / "empty")
    assert table.empty
    labels = Labels.from_json({}, ["point_robot"], [])
    panel = learning_curves.draw({("behaviour", "point_robot"): [table]}, labels).axes[0]
    assert [text.get_text() for text in panel.texts] == ["imported data:\nnothing to train"]
