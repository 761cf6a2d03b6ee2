"""Documents: what they point at is there, and every decision is in the index."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import ROOT

DECISIONS = ROOT / "service" / "docs" / "decisions"
# Pages of decisions name files of the time at which they were written.
GUIDES = [
    ROOT / "README.md",
    ROOT / "service" / "README.md",
    *sorted((ROOT / "service").glob("*/README.md")),
    *sorted((ROOT / "service" / "docs").glob("*.md")),
    ROOT / "service" / "client" / "README.md",
    *sorted((ROOT / "deploy").glob("*/README.md")),
    ROOT / "tests" / "README.md",
    *sorted((ROOT / "tests" / "benchmarks").glob("*.md")),
]
PAGES = [*GUIDES, *sorted(DECISIONS.glob("*.md"))]

_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
_ANCHOR = re.compile(r"\]\((?!https?:)([^)#]*)#([^)]*)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_TEST = re.compile(r"`(tests/[a-z_/]+\.py)(?:::(test_[a-z0-9_]+))?`")
_FILE = re.compile(r"`([a-z_]+/[a-z_/]+\.(?:py|sql|cfg))`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    links = _LINK.findall(_CODE.sub("", page.read_text()))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_a_heading(page: Path) -> None:
    links = _ANCHOR.findall(_CODE.sub("", page.read_text()))
    pages = [
        (page.parent / file if file else page, anchor) for file, anchor in links if not file or file.endswith(".md")
    ]
    assert [(file, anchor) for file, anchor in pages if anchor not in _anchors(file)] == []


def _anchors(page: Path) -> set[str]:
    """What its headings are called in links."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?s)```.*?```", "", page.read_text()))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_files_that_a_guide_names_are_there(page: Path) -> None:
    roots = (ROOT, ROOT / "service", page.parent)
    names = _FILE.findall(page.read_text())
    assert [name for name in names if not any((root / name).is_file() for root in roots)] == []


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_tests_that_a_guide_names_are_there(page: Path) -> None:
    named = _TEST.findall(page.read_text())
    assert [name for name in named if not _is_test(*name)] == []


def _is_test(file: str, test: str) -> bool:
    """Whether there is the file, and in it the test where one is named."""
    path = ROOT / file
    return path.is_file() and (not test or f"def {test}(" in path.read_text())


def decisions() -> Iterator[tuple[str, str, str, str]]:
    """Number, file, title and first date of every page."""
    for page in sorted(DECISIONS.glob("[0-9]*.md")):
        heading, blank, date, *_ = page.read_text().splitlines()
        found = re.fullmatch(r"# (\d{4}): (.+)", heading)
        assert found is not None, page
        assert blank == "", page
        assert re.fullmatch(r"\d{4}-\d\d-\d\d(, amended \d{4}-\d\d-\d\d)?", date), page
        yield found[1], page.name, found[2], date[:10]


def test_every_decision_is_in_the_index() -> None:
    row = re.compile(r"\| \[(\d{4})\]\((\S+?)\) \| (.+?) \| (\S+) \| (?:in force|superseded).*\|")
    lines = (DECISIONS / "README.md").read_text().splitlines()
    listed = [match.groups() for match in map(row.fullmatch, lines) if match]
    assert listed == list(decisions())
    assert all(file.startswith(f"{number}-") for number, file, _, _ in decisions())
