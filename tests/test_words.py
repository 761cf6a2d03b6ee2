"""The words of the glossary: code and documents use none of those that it rules out."""

import re
from functools import cache
from itertools import chain

import pytest

from tests.support.servers import ROOT

GLOSSARY = ROOT / "service" / "docs" / "glossary.md"
SEARCHED = ("README.md", "service/", "tests/")

# Each row of the glossary's table "Words that are not used", and what it means as a pattern. Names are searched word by
# word: ``BatchUnit`` and ``batch_unit`` are "batch unit" here, in lower case.
NOT_USED = {
    "unit, company, family (of commands)": r"units?|company|companies|companions?|family|families",
    "settle, settlement (of a batch)": r"settl(e|es|ed|ing|ement|ements)",
    "book, for what a batch decides on": r"books?",
    "engine": r"(the|an|our|another|that|whose) engine",
    "lane": r"lanes?",
    "twin, rival": r"twins?|rivals?",
    "refused, refusal, for what the rules decide": r"refus(e|es|ed|al|als|ing)",
    "rehearsal, to rehearse": r"rehears\w*",
    "at the door, in company, politely": r"at the door|politely",
    "models (of tables)": r"models?",
    "outsider, stranger (in prose)": r"outsiders?|strangers?",
    "authorise, serialise": r"(un)?(author|serial)is(e|es|ed|er|ing|ation)",
}

# A row that forbids a word in one meaning only is searched where the word would have that meaning.
ONLY_IN = {
    "refused, refusal, for what the rules decide": ("service/domain/", "tests/domain/", "tests/property/"),
    "models (of tables)": ("service/storage/", "tests/storage/", "tests/benchmarks/"),
}

# The same words in another meaning, or where callers and stored rows depend on them.
ALLOWED = (
    r"(minor|major)[ -]units?",
    r"units? of work",
    r"closed book",
    r"book-keeping",
    r"unit of distribution",
    r'fingerprint\("unit"',  # fingerprints are stored, and computed from this text
    r"refused (code|idempotency key)",  # members of a problem
    r"database refuse[sd]?",
    r"business unit code",  # a field of audit data
)
ALLOWED_IN = {
    "service/docs/glossary.md": r".*",
    "service/docs/decisions/0001": r"settlement",  # an account of a bank
    "service/api/resources/health.py": r"the engine",  # a check's name in the answer of /health/ready
    "service/cli/bank.py": r"settlement|family names|book nook",  # the demo's bank and its people
    "service/cli/demo.py": r"settlement",
    "service/cli/records.py": r"unit bytes max",  # of a text's encoding
    "service/cli/serving.py": r"family",  # of a socket's addresses
    "service/domain/reasons.py": r"http refuses",
    "service/domain/rejections.py": r"was refused",  # answered and stored so
    "service/settings.py": r"end in units",  # of measurement
    "service/storage/connecting.py": r"family",  # of a socket's addresses
    "service/journals/camt053.py": r"<cd>book</cd>",  # a status of ISO 20022
    "service/telemetry/exposition.py": r"metric family",  # a name of prometheus_client's
    "tests/api/test_metrics.py": r"metric families",
    "tests/cli/test_exporting.py": r"posting\.units",  # of Beancount
    "tests/cli/test_demo.py": r"settlement",
    "tests/benchmarks/": r"family|families|unit|model name",  # of measurements, and of the processor
    "tests/property/": r"database never refuses",
    "tests/test_words.py": r".*",
}


def _words(line: str) -> str:
    """Return ``line`` with its names as separate words in lower case."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", " ", line)
    return re.sub(r"\s+", " ", parted).lower()


@cache
def _texts() -> dict[str, list[str]]:
    """Return the lines of each file as words, without those that are allowed there."""
    texts = {}
    folders = (ROOT / "service", ROOT / "tests")
    found = chain.from_iterable(folder.rglob(kind) for folder in folders for kind in ("*.py", "*.md"))
    for file in sorted((ROOT / "README.md", *found)):
        path = str(file.relative_to(ROOT))
        own = (pattern for start, pattern in ALLOWED_IN.items() if path.startswith(start))
        allowed = re.compile("|".join(chain(ALLOWED, own)))
        texts[path] = [allowed.sub("", _words(line)) for line in file.read_text().splitlines()]
    return texts


def test_the_patterns_are_those_of_the_glossary() -> None:
    table = GLOSSARY.read_text().partition("## Words that are not used")[2]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", table, re.MULTILINE)
    assert [row for row in rows if row != "not"] == list(NOT_USED)


@pytest.mark.parametrize("row", NOT_USED)
def test_no_word_is_used_that_the_glossary_rules_out(row: str) -> None:
    pattern = re.compile(rf"\b(?:{NOT_USED[row]})\b")
    places = ONLY_IN.get(row, SEARCHED)
    found = [
        f"{path}:{number}: {line}"
        for path, lines in _texts().items()
        if path.startswith(places)
        for number, line in enumerate(lines, 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ["BatchUnit", "batch_units", "UNIT", "a unit's"])
def test_a_word_is_found_in_names_and_prose(name: str) -> None:
    assert re.search(r"\bunits?\b", _words(name))
