"""The report: one file that needs nothing else, says what the evidence allows, and hides nothing from the reader."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from medino.core import InputError, RunFolder
from medino.probes import EvidenceRow, differences, evidence_table, summaries, write_evidence
from medino.tracking import (
    RunMetricsLogger,
    Section,
    failures_section,
    fewshot_section,
    headline,
    report_runs,
    run_sections,
    segmentation_section,
    summary_section,
    write_report,
)
from medino.tracking.outcomes import outcomes, recall

VOID = {"meta", "path", "use", "rect", "br", "line", "circle", "img", "stop"}


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text += data


@pytest.fixture(scope="module")
def text(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report_runs([run], tmp_path_factory.mktemp("report") / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_report_loads_nothing_and_runs_nothing(text: str) -> None:
    assert "http" not in text
    assert "//" not in text
    page = Page(text)
    assert page.open == []
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "image", "base", "form"})
    for _, attributes in page.tags:
        for name in ("href", "xlink:href", "src"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)


def test_every_link_in_the_page_leads_somewhere_and_no_id_is_there_twice_with_two_meanings(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    for _, attributes in page.tags:
        for name in ("href", "xlink:href"):
            if name in attributes:
                assert (attributes[name] or "").removeprefix("#") in ids
    assert len(ids) == len(set(ids))


def test_the_sections_come_in_reading_order_and_the_same_run_gives_the_same_bytes(run: RunFolder, text: str) -> None:
    sections = run_sections(run)
    assert [section.title for section in sections] == [
        "What was compared",
        "On whom",
        "How sure: few labels",
        "How sure: masks",
        "Where it fails",
        "Adaptation, step by step",
        "Provenance",
    ]
    assert all(str(section.html) in text for section in sections)


def test_the_report_does_not_say_where_the_runs_lie(tmp_path: Path) -> None:
    runs = [RunFolder(tmp_path / name) for name in ("Alma", "Berta")]
    for run in runs:
        run.path.mkdir()
        run.config.write_text("seed: 0\n")
    text = report_runs(runs, tmp_path / "both.html").read_text(encoding="utf-8")
    assert "Run 2: Provenance" in text
    for private in (str(tmp_path), tmp_path.name, "Alma", "Berta"):
        assert private not in text


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    row = EvidenceRow(
        kind="summary",
        task="classification",
        dataset=hostile,
        backbone=f"adapted {hostile}",
        features="class",
        probe=hostile,
        unit="image",
        patient_unit=hostile,
        shots=5,
        metric="balanced_accuracy",
        value=0.5,
        low=0.4,
        high=0.6,
        patients=9,
    )
    evidence = evidence_table([row])
    sections = [summary_section(evidence), fewshot_section(evidence), Section(hostile, hostile)]
    write_report(tmp_path / "report.html", hostile, [section for section in sections if section is not None])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text.lower()
    assert Page(text).open == []


def test_the_top_shows_before_after_difference_and_dice_with_their_intervals(page: Page, evidence: pa.Table) -> None:
    top = page.text[: page.text.index("On whom", 500)]
    found = headline(evidence)
    for row in (found.before, found.after, found.difference, found.dice):
        assert row is not None
        assert row.value is not None
        assert f"{abs(row.value):.3f}" in top
        assert f"{abs(row.low or 0):.3f}, " in top.replace("+", "").replace("\N{MINUS SIGN}", "")
        assert f"{row.patients} patients" in top
    assert "Adapted helped" in top
    assert "30 of 60 test patients were seen" in top


def test_every_summary_of_the_study_is_in_the_tables(page: Page, evidence: pa.Table) -> None:
    assert len({row.metric for row in summaries(evidence, task="classification")}) >= 5
    for signed, rows in (("", summaries(evidence, task="classification")), ("+", differences(evidence))):
        for row in rows:
            shown = f"{row.value:{signed}.3f} [{row.low:{signed}.3f}, {row.high:{signed}.3f}]"
            assert shown.replace("-", "\N{MINUS SIGN}") in page.text


def test_each_figure_says_on_how_many_patients(text: str) -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text, re.DOTALL)
    assert len(captions) == 6
    assert sum("60 test patients" in caption for caption in captions) == 4
    assert sum("40 test patients" in caption for caption in captions) == 1


def test_the_mean_of_the_recalls_is_the_balanced_accuracy_of_the_summary(evidence: pa.Table) -> None:
    row = headline(evidence).after
    assert row is not None
    found = outcomes(evidence, row)
    assert found is not None
    recalls = [recall(found, label)[0] for label in sorted(set(found.targets.tolist()))]
    assert np.mean(recalls) == pytest.approx(row.value, abs=1e-6)
    assert outcomes(evidence_table([]), row) is None


def test_a_class_that_lost_is_seen_with_its_interval(evidence: pa.Table) -> None:
    section = failures_section(evidence)
    assert section is not None
    page = Page(str(section.html))
    assert "Recall of each class" in page.text
    assert "What is taken for what" in page.text
    assert len(re.findall(r"\[[−+]?\d\.\d{3}, [−+]?\d\.\d{3}\]", page.text)) == 9


def test_sections_without_evidence_are_left_out() -> None:
    empty = evidence_table([])
    assert [make(empty) for make in (summary_section, fewshot_section, segmentation_section, failures_section)] == [
        None
    ] * 4


def test_a_run_with_metrics_alone_is_reported(tmp_path: Path) -> None:
    logger = RunMetricsLogger(tmp_path)
    logger.log_metrics({"loss/total": 3.0}, 0)
    logger.log_metrics({"loss/total": float("inf")}, 1)
    logger.finalize("failed")
    sections = run_sections(RunFolder(tmp_path))
    assert [section.title for section in sections] == ["Adaptation, step by step"]
    assert "Not finite at some step: loss/total" in sections[0].html


def test_nothing_to_report_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds nothing to report"):
        report_runs([RunFolder(tmp_path)])
    with pytest.raises(InputError, match="does not exist"):
        report_runs([RunFolder(tmp_path / "missing")])
    with pytest.raises(InputError, match="no run is given"):
        report_runs([], tmp_path / "report.html")
    write_evidence(tmp_path / "evidence.parquet", [])
    with pytest.raises(InputError, match="holds nothing to report"):
        report_runs([RunFolder(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["evidence.parquet"]


def test_of_very_many_classes_the_most_frequent_confusions_are_listed() -> None:
    where = {
        "task": "classification",
        "dataset": "phantom",
        "backbone": "adapted",
        "features": "class",
        "probe": "knn",
        "unit": "image",
        "patient_unit": "patient",
        "shots": 1,
    }
    rows = [
        EvidenceRow(kind="summary", metric="balanced_accuracy", value=0.9, low=0.8, high=1.0, patients=300, **where)
    ]
    for place in range(300):
        wrong = place % 30 == 7 and place % 4
        said = "class 08" if wrong else f"class {place % 30:02d}"
        ids = {"unit_id": f"{place:032x}", "patient": f"{place:032x}", "episode": 0}
        rows.append(EvidenceRow(kind="outcome", target=f"class {place % 30:02d}", predicted=said, **ids, **where))
    section = failures_section(evidence_table(rows))
    assert section is not None
    assert section.figures == ()
    share = np.mean([place % 4 != 0 for place in range(300) if place % 30 == 7])
    page = Page(str(section.html))
    assert "most frequent confusions among 30 classes" in page.text
    assert f"is class 07taken for class 08{100 * share:.0f} %" in page.text
