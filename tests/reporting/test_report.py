from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from metadiffuser import paths
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.report import write_report
from metadiffuser.reporting import report, timings
from metadiffuser.reporting.labels import Labels
from metadiffuser.reporting.tables import cost
from metadiffuser.reporting.timings import Timings
from tests.conftest import require
from tests.helpers import fabricated

PARAMS = fabricated.parameters()
PAGE, TABLES, FIGURES = (Path(p.format(preset=PARAMS.preset)) for p in (paths.REPORT, paths.TABLES, paths.FIGURES))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The report on fabricated results, made by the stages themselves in the working directory."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fabricated.write_metrics(PARAMS)
        fabricated.write_curves(PARAMS)
        fabricated.write_videos(PARAMS)
        for stage in ("make_tables", "make_figures"):
            fabricated.run_stage(stage, PARAMS)
        fabricated.write_timings(PARAMS)
        fabricated.run_stage("make_report", PARAMS)
        yield folder / PAGE


class Elements(HTMLParser):
    """The start tags of a page with their attributes, and the text of its scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_nothing_is_fetched_from_elsewhere(text: str) -> None:
    linked = [
        attributes[name]
        for tag, attributes in Elements(text).found
        for name in ("src", "href", "poster", "data", "srcset")
        if attributes.get(name) is not None
    ]
    assert linked
    assert all(link is not None and link.startswith(("data:", "#")) for link in linked)
    styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles


def test_titles_are_escaped(text: str) -> None:
    tags = [tag for tag, _ in Elements(text).found]
    assert "script" not in tags
    assert "&lt;script&gt;alert(&#39;title&#39;)&lt;/script&gt; &amp; reproduced" in text


def test_all_parts_are_there(text: str) -> None:
    elements = Elements(text).found
    tags = [tag for tag, _ in elements]
    assert tags.count("video") == len(PARAMS.families)
    assert all("controls" in attributes for tag, attributes in elements if tag == "video")
    images = [str(attributes["src"]).split(",")[0] for tag, attributes in elements if tag == "img"]
    assert images.count("data:image/svg+xml;base64") == 9 + 2, (
        "the figures, the times of the sampler study, cost and score"
    )
    assert text.count("</h2>") >= 10, "the sections"
    assert images.count("data:image/png;base64") == len(PARAMS.families)
    assert "prefers-color-scheme: dark" in text
    for word in ("mujoco", "torch", "python", "learning_rate", "bootstrap_samples", "Linux x86_64, 2 cores, cpu"):
        assert word in text
    targets = {str(attributes.get("id")) for _, attributes in elements}
    links = [str(attributes["href"])[1:] for tag, attributes in elements if tag == "a"]
    assert len(links) >= 6
    assert set(links) <= targets


def test_times_are_summed_by_stage(text: str) -> None:
    section = text[text.index('id="times"') :]
    rows = re.findall(r"<tr><td class=\"words\">(\w+)</td><td>(\d+)</td><td>([^<]+)</td>", section)
    jobs = {name: (int(count), wall) for name, count, wall in rows}
    timed = dag.jobs(PARAMS, timed_only=True)
    assert jobs["evaluate"] == (3, "30.0 s")
    assert jobs["make_tables"] == (1, "10.0 s")
    assert sum(count for count, _ in jobs.values()) == len(timed)
    assert f"<td>{timings.duration(10.0 * len(timed))}</td>" in text
    assert "seconds per decision: 0.012" in text


def test_times_of_the_sampler_study_are_read_from_the_timing_records(page: Path, text: str) -> None:
    paths = [Path(dag.timing_path(job.name, PARAMS.preset)) for job in dag.jobs(PARAMS, timed_only=True)]
    records = timings.read_timings(paths)
    assert timings.sampler_times(records, "generalised").to_numpy().tolist() == [
        [family, sampler, steps, 0.5 * steps]
        for family in fabricated.ANCHORS
        for sampler, steps in sorted(fabricated.STUDY, key=lambda setting: f"{setting[0]}_{setting[1]}")
    ]
    assert "Wall time of one decision, measured while the sampler study was played" in text
    assert timings.sampler_times(records, "focal").empty


def test_table_5_has_the_cost_of_every_method(text: str) -> None:
    names = [dag.timing_path(job.name, PARAMS.preset) for job in dag.jobs(PARAMS, timed_only=True)]
    records = timings.read_timings([Path(name) for name in names])
    for record in records:  # what a mix-up could exchange is not equal
        record["cpu_seconds"] = 2.0 * len(record["job"].split("@")[0]) + ("cheetah_vel" in record["job"])
    sizes = [{"family": "point_robot", "method": "focal", "parameters": count} for count in (1000, 3000)]
    sizes += [
        {"family": "cheetah_vel", "method": name, "parameters": 700 * len(name)} for name in ("metadiffuser", "context")
    ]
    labels = Labels.from_json({}, PARAMS.families, PARAMS.baselines)

    def costs(own: str = "generalised") -> dict[tuple[str, str], tuple[float, ...]]:
        found = cost.costs(Timings(records, sizes, own, labels, ["metadiffuser", "bc"]))
        return {row[:2]: row[2:] for row in found.itertuples(index=False, name=None)}

    context, diffusion, baseline = (2.0 * len(name) for name in ("train_context", "train_diffusion", "train_baseline"))
    assert len(costs()) == 3 * (1 + len(PARAMS.baselines))
    assert costs()["point_robot", "metadiffuser"][:2] == (context + diffusion, 12.5), "context and diffusion model"
    assert costs()["cheetah_vel", "bc"][:2] == (context + baseline + 2, 0.25), "acts on the context model's z"
    assert costs()["point_robot", "focal"] == (baseline, 0.25, 2000.0)
    assert costs()["cheetah_vel", "metadiffuser"][2] == 700 * 19, "denoiser and context model"
    assert ("point_robot", "metadiffuser") not in costs("focal")
    assert cost.cost_table(Timings([], [], "generalised", labels, [])) is None
    section = text[text.index('id="table5_cost"') :]
    assert "(MetaDiffuser, The BC method)" in section
    for cell in ("18", "12.50", "0.25", "1500", "4500"):
        assert f"<td>{cell}</td>" in section


def test_sections_hold_their_tables_and_figures_in_order(text: str) -> None:
    places = [
        text.index(f'id="{name}"')
        for name in (
            "the-paper-s-claims",
            "verdicts",
            "main-result",
            "table1_few_shot",
            "scores_by_method",
            "comparisons",
            "warm-start-data",
            "table2_average",
            "guide",
            "table4_guide",
            "task-representation",
            "context",
            "training_tasks",
            "learning_curves",
            "cost",
            "table5_cost",
            "sampler_study",
            "sampler_times",
            "videos",
            "trust",
            "times",
            "parameters",
            "provenance",
        )
    ]
    assert places == sorted(places)


def test_films_say_what_their_episodes_came_to(text: str) -> None:
    low, high = fabricated.anchors("point_robot", 12)
    share = fabricated.share(0.9, "point_robot", 0, 12)
    value = fabricated.returns("point_robot", share, 12)[0]
    assert f"Task 12: dual (return {value:.1f}, score {100 * (value - low) / (high - low):.0f})" in text
    ends = {"7": {"dual": {"return": -1.25, "score": None}, "none": {"return": 2.0, "score": 50.4}}}
    assert report.film_title("task7-dual-vs-none", ends) == "Task 7: dual (return -1.2) vs none (return 2.0, score 50)"
    assert report.film_title("task8-dual-vs-none", ends) == "Task 8: dual vs none"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (59.0, "59.0 s"), (61.9, "1 min 01 s"), (3600, "1 h 00 min"), (7325, "2 h 02 min")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert timings.duration(seconds) == shown


def test_trust_speaks_of_what_the_samples_allow() -> None:
    labels = Labels.from_json({}, ["ant_dir"], [])
    small = {"family": "ant_dir", "tasks": 5, "episodes": 4, "seeds": 1, "unscored": 2}
    large = {"family": "ant_dir", "tasks": 50, "episodes": 4, "seeds": 5, "unscored": 0}
    apart = large | {"unseen": False}
    weak, strong, known = (" ".join(report.trust([size], 0.9, labels)) for size in (small, large, apart))
    assert "5 unseen tasks × 4 episodes × 1 training seed, 20 episodes in all" in weak
    for warning in ("One training run", "also resample tasks", "too narrow", "2 of the tasks have no normalised score"):
        assert warning in weak
        assert warning not in strong
    assert "The 90% intervals" in weak
    assert "50 unseen tasks × 4 episodes × 5 training seeds, 1000 episodes" in strong
    assert "50 tasks × 4" in known
    assert "no part in the average" in known
    assert "no part in the average" not in strong


def test_the_page_can_be_made_from_the_committed_results_alone(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without artifacts and metrics, and without videos and timing records if there are none."""
    for part in ("tables", "figures", "videos", "timings"):
        shutil.copytree(page.parent / part, tmp_path / "results" / "smoke" / part)
    monkeypatch.chdir(tmp_path)
    ran = {job.name: dict(job.params) for job in dag.jobs(PARAMS)}
    for name, values, same in ((0, {}, True), ("calibrate@smoke-point_robot-generalised-0", {"seed": 9}, False)):
        known = {job: {"params": {"params.yaml": values if job == name else ran[job]}} for job in ran}
        write_json(Path("dvc.lock"), {"stages": known})
        made = write_report(PARAMS)
        assert (made.read_bytes() == (page.parents[2] / PAGE).read_bytes()) == same
        assert ("dvc.lock does not say that the results on this page" in made.read_text("utf-8")) != same
    for part in ("videos", "timings"):
        shutil.rmtree(tmp_path / "results" / "smoke" / part)
    text = write_report(PARAMS).read_text(encoding="utf-8")
    assert 'id="table1_few_shot"' in text
    assert "<video" not in text
    assert 'id="times"' not in text
    shutil.rmtree(tmp_path / "results" / "smoke" / "figures")
    with pytest.raises(InputError, match="figures: missing; run make_figures"):
        write_report(PARAMS)


def test_results_of_earlier_versions_are_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("tables", "figures"):
        shutil.copytree(page.parent / part, tmp_path / "results" / "smoke" / part)
    monkeypatch.chdir(tmp_path)
    index = tmp_path / "results" / "smoke" / "tables" / "tables.json"
    content = read_json(index)
    former = {name: content[name] for name in ("tables", "confidence", "parameters", "films")}
    former["sizes"] = [{k: v for k, v in size.items() if k != "unseen"} for size in content["sizes"]]
    former["tables"][0]["name"] = "of_old"
    write_json(index, former)
    text = write_report(PARAMS).read_text(encoding="utf-8")
    assert text.index('id="others"') < text.index('id="of_old"')
    assert "Point-Robot: a score averages" in text


def test_a_large_page_is_warned_of(
    page: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fabricated.run_stage("make_report", PARAMS)
    assert not caplog.records
    monkeypatch.setattr(report, "SIZE_LIMIT", 1000)
    fabricated.run_stage("make_report", PARAMS)
    assert "rendering.tasks" in caplog.text
    assert page.is_file()


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (TABLES / "tables.json", None, '{"something": "else"}'),
        (TABLES / "tables.json", '"confidence": 0.95', '"confidence": "0.95"'),
        (FIGURES / "figures.json", None, '{"something": "else"}'),
        (FIGURES / "figures.json", '"caption"', '"capture"'),
        (Path(paths.TIMING.format(preset=PARAMS.preset, job="make_tables")), None, '{"something": "else"}'),
        (FIGURES / "embedding.svg", None, None),
    ],
)
def test_damage_is_named(page: Path, path: Path, old: str | None, new: str | None) -> None:
    kept, before = path.read_text(encoding="utf-8"), page.read_bytes()
    try:
        path.unlink() if new is None else path.write_text(kept.replace(old or kept, new), encoding="utf-8")
        with pytest.raises(InputError, match=re.escape(str(path.parent))):
            fabricated.run_stage("make_report", PARAMS)
        assert page.read_bytes() == before
    finally:
        path.write_text(kept, encoding="utf-8")


SEEK = """
async ([video, time]) => {
  const done = new Promise(resolve => video.addEventListener('seeked', resolve, {once: true}));
  video.currentTime = time;
  await done;
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0);
  return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
}
"""


@pytest.mark.browser
def test_the_page_works_in_a_browser_from_a_file(page: Path) -> None:
    require("chromium", "the report is opened in it; install the package chromium")
    require("playwright", "it drives the browser; install the project with its dev extra")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        try:
            tab = browser.new_page()
            requests: list[str] = []
            inconsistencies: list[str] = []
            tab.on("request", lambda request: requests.append(request.url))
            tab.on("console", lambda message: inconsistencies.append(message.text))
            tab.on("pageerror", lambda error: inconsistencies.append(str(error)))
            tab.on("dialog", lambda dialog: inconsistencies.append(dialog.message))
            tab.goto(page.as_uri())
            tables = tab.locator("section.block table").all()
            assert len(tables) >= 10
            assert all(table.locator("tbody tr").count() > 0 for table in tables)
            assert tab.locator("#table1_few_shot tbody tr").count() == 8 + len(PARAMS.baselines)
            assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            for video in tab.locator("video").all():
                video.scroll_into_view_if_needed()
                handle = video.element_handle()
                assert handle is not None
                tab.wait_for_function("video => video.readyState >= 2", arg=handle)
                early, late = (tab.evaluate(SEEK, [handle, time]) for time in (0.25, 1.75))
                brightness = [sum(pixels[0::4]) / len(pixels[0::4]) for pixels in (early, late)]
                assert brightness[1] - brightness[0] > 100
            assert requests
            assert all(url.startswith(("file:", "data:")) for url in requests)
            assert inconsistencies == []
        finally:
            browser.close()


def test_finished_is_a_time_of_the_records(text: str) -> None:
    shown = re.search(r"last job finished (\S+)\.", text)
    assert shown is not None
    assert datetime.fromisoformat(shown.group(1)) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
