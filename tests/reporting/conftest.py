"""What the tests of tables share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import fabricated
from tests.helpers.reported import PARAMS


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of a run of ``make_tables`` on fabricated metrics of two training seeds."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fabricated.write_metrics(PARAMS)
        fabricated.run_stage("make_tables", PARAMS)
        yield folder
