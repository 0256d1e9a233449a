"""Charts are SVG that a page can hold: whole, in the page's colours and font, and of bounded size."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from finished_experiment import FinishedExperiment, manifest_lines

from wan_ddp.report.charts import Chart, draw_charts
from wan_ddp.report.contents import Contents, read_contents
from wan_ddp.report.timeline import Timeline, make_clock

CSS = Path(__file__).parent.parent / "wan_ddp" / "report" / "page" / "report.css"


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    made = FinishedExperiment(tmp_path_factory.mktemp("charts") / "x", manifest_lines({"pan": 4}))
    made.failures = {made.ids()[3]: ["worker_died"], made.ids()[9]: ["bad_input"]}
    return read_contents(made.write().output)


@pytest.fixture(scope="module")
def charts(contents: Contents) -> list[Chart]:
    return draw_charts(contents)


def test_there_is_a_chart_for_each_question(charts: list[Chart]) -> None:
    assert [chart.name for chart in charts] == ["videos", "ranks", "seconds", "parts", "gpus"]
    about = {chart.name: chart.about for chart in charts}
    assert about["videos"].startswith("39 of 40 videos in ")
    assert about["ranks"].startswith("8 ranks; 1 worker lost, ")
    [lost] = [event for event in charts[1].events if "crashed" in event.what]
    assert lost.job.endswith("seed_142_prompt_1")


def test_charts_are_whole_elements_with_ids_of_their_own(charts: list[Chart]) -> None:
    ids: list[str] = []
    for chart in charts:
        root = ElementTree.fromstring(chart.svg)
        assert root.tag.endswith("svg")
        ids += [found for each in root.iter() if (found := each.get("id"))]
        for target in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', chart.svg):
            assert "".join(target) in ids
    assert len(ids) == len(set(ids))


def test_every_colour_is_a_variable_that_the_page_has_in_light_and_in_dark(charts: list[Chart]) -> None:
    css = CSS.read_text("utf-8")
    for chart in charts:
        assert not re.search(r"#[0-9a-f]{6}\b|rgb\(", re.sub(r"#[\w-]*[a-z]-\w+", "", chart.svg))
        used = set(re.findall(r"var\(--([\w-]+)\)", chart.svg)) | {key.colour for key in chart.keys}
        assert "ink" in used
        for name in used:
            assert css.count(f"--{name}:") == 3, name


def test_text_is_text_and_hostile_names_stay_text(contents: Contents) -> None:
    hostile = "</svg><script>alert(1)</script>$\\alpha$ 主机"
    spans = tuple(replace(span, gpu=f"{hostile}{span.rank % 2}:{span.rank // 2}") for span in contents.timeline.spans)
    drawn = draw_charts(replace(contents, timeline=Timeline(spans, contents.timeline.marks)))
    texts = [text.text for text in ElementTree.fromstring(drawn[1].svg).iter() if text.tag.endswith("text")]
    assert any(text and text.startswith("rank 0") and hostile in text for text in texts)
    assert "<script" not in drawn[1].svg


def test_a_long_run_makes_no_larger_a_page(contents: Contents) -> None:
    """Thirty times as many videos, in thirty times the time."""
    start, end = contents.clock.pieces[0]
    spans = [
        replace(span, start=span.start + time, end=span.end + time)
        for number in range(30)
        for span in contents.timeline.spans
        for time in [number * (end - start)]
    ]
    clock = make_clock((span.start, span.end) for span in spans)
    drawn = draw_charts(replace(contents, timeline=Timeline(tuple(spans), ()), clock=clock))
    assert len(drawn[1].svg) < 700_000


def test_where_nothing_was_made_nothing_is_drawn(contents: Contents) -> None:
    assert draw_charts(replace(contents, rows=(), timeline=Timeline((), ()))) == []
