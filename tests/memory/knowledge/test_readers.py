"""Documents of every kind are read, and what cannot be read is refused with what to do about it."""

import sys
import zlib

import pytest

from tertulia.errors import InvalidInput, MissingExtra
from tertulia.memory.knowledge import pdf, readers
from tertulia.memory.knowledge.limits import ReadingLimits
from tertulia.memory.knowledge.readers import Reading, read_document
from tertulia.memory.knowledge.sections import Section
from tests.memory.knowledge.pdfs import a_pdf

STRANGE = "tests.memory.knowledge.strange_reader"


def read(content: str | bytes, name: str, content_type: str = "", **limits: float) -> Reading:
    raw = content.encode() if isinstance(content, str) else content
    bounds = ReadingLimits(**limits)  # type: ignore[arg-type]  # names of its fields
    return read_document(raw, name=name, content_type=content_type, limits=bounds)


@pytest.mark.parametrize(
    ("name", "content_type", "media_type"),
    [
        ("notes.txt", "", "text/plain"),
        ("NOTES.TXT", "application/octet-stream", "text/plain"),
        ("notes.md", "", "text/markdown"),
        ("notes.md", "text/plain; charset=utf-8", "text/markdown"),
        ("notes", "Text/Markdown", "text/markdown"),
        ("notes", "text/x-markdown", "text/markdown"),
        ("notes.md", "text/html", "text/html"),
        ("notes.xhtml", "application/x-www-form-urlencoded", "text/html"),
        ("notes", "text/plain", "text/plain"),
        ("notes", "text/vcard", "text/plain"),
    ],
)
def test_kind_is_what_is_said_or_what_the_name_tells(name: str, content_type: str, media_type: str) -> None:
    assert read("Something.", name, content_type).media_type == media_type


@pytest.mark.parametrize(
    ("name", "content_type"), [("notes", ""), ("notes.docx", ""), ("a.md", "image/png"), (".md", "")]
)
def test_unknown_kind_is_refused(name: str, content_type: str) -> None:
    with pytest.raises(InvalidInput, match=r"name that ends in \.txt, \.md, \.html or \.pdf"):
        read("Something.", name, content_type)


def test_sections_of_markdown_stand_where_their_headings_say() -> None:
    text = (
        "Before all.\n# Handbook\n\n## *Leave* [rules](https://example.com) ##\n25 days.\n"
        "```sh\n# no heading\n```\n### Parental\nMore.\n## Lunch\nAt noon.\n"
    )

    reading = read(text, "handbook.md")

    assert [(s.where, s.text) for s in reading.sections] == [
        ("", "Before all.\n"),
        (
            "Handbook > Leave rules",
            "# Handbook\n\n## *Leave* [rules](https://example.com) ##\n25 days.\n```sh\n# no heading\n```\n",
        ),
        ("Handbook > Leave rules > Parental", "### Parental\nMore.\n"),
        ("Handbook > Lunch", "## Lunch\nAt noon.\n"),
    ]
    assert reading.characters == len(text)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("### Leave ###", "Leave"),
        ("# Leave###  ", "Leave"),
        ("#\tLeave # and lunch #", "Leave # and lunch"),
        ("   ###### Leave", "Leave"),
        ("## [Leave](a.md) [in](b.md) *Spain*", "Leave in Spain"),
        ("#Leave", ""),
        ("####### Leave", ""),
        ("    # Leave", ""),
        ("# ", ""),
        (f"# {'x' * 400}", ""),
    ],
)
def test_heading_is_what_markdown_takes_for_one(line: str, where: str) -> None:
    [section] = read(f"{line}\nbody", "a.md").sections

    assert section.where == where


@pytest.mark.parametrize("line", ["# x{:380}x", "# {:[<380}", "# {:*<380}", "# {:#>380}x"])
def test_no_heading_takes_long_to_read(line: str) -> None:
    text = (line.format("") + "\nbody\n") * 2_500  # with a cubic pattern, minutes

    assert len(read(text, "a.md").sections) == 2_500


def test_of_very_long_headings_the_end_counts() -> None:
    text = "".join(f"{'#' * level} {level} {'x' * 380}\n" for level in range(1, 6)) + "###### Leave\nbody\n"

    [section] = read(text, "a.md").sections

    assert section.words.endswith(" > Leave")
    assert len(section.words) == 200


def test_pages_are_read_as_they_are_shown() -> None:
    html = """<html><head><title>Shop</title><script>alert(1)</script></head><body>
        <h1>Refunds</h1><p>Within <b>14</b> days.</p><!-- hidden -->
        <h2>How</h2><ul><li>Write to us</li></ul></body></html>"""

    reading = read(html, "refunds.html")

    assert [(s.where, s.text.strip()) for s in reading.sections] == [
        ("", "Shop"),
        ("Refunds", "# Refunds\n\nWithin 14 days."),
        ("Refunds > How", "## How\n\n- Write to us"),
    ]


@pytest.mark.parametrize(
    ("content", "name", "content_type"),
    [
        ("Grüße\r\nan alle".encode(), "a.txt", ""),
        ("Grüße\nan alle".encode("utf-8-sig"), "a.txt", "text/plain; charset=latin-1"),
        ("Grüße\nan alle".encode("utf-16"), "a.txt", ""),
        ("Grüße\nan alle".encode("cp1252"), "a.txt", "text/plain; charset=windows-1252"),
        ('<meta charset="latin-1"><p>Grüße<br>an alle'.encode("latin-1"), "a.html", ""),
    ],
)
def test_text_is_decoded_as_it_was_written(content: bytes, name: str, content_type: str) -> None:
    [section] = read(content, name, content_type).sections

    assert section.text == "Grüße\nan alle"


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_text_in_what_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="'klingon' is, in which this text is said to be written"):
        read("Greetings.", name, "text/plain; charset=klingon")


def test_page_that_names_what_nobody_knows_is_read_as_utf_8() -> None:
    [section] = read('<meta charset="klingon"><p>Grüße', "a.html").sections

    assert section.text == "Grüße"


@pytest.mark.parametrize("charset", ["", "zip", "rot13", "idna", "nonsense", "unicode_escape", "utf-8"])
def test_text_that_is_no_utf_8_is_refused(charset: str) -> None:
    with pytest.raises(InvalidInput, match="save it as UTF-8"):
        read(b"Gr\xfc\xdfe", "a.txt", f"text/plain; charset={charset}" if charset else "")


def test_nothing_is_read_that_cannot_be_stored() -> None:
    [section] = read(b"a\x00b", "a.txt").sections

    assert section.text == "a\ufffdb"


@pytest.mark.parametrize("content", ["", " \n\t", "<script>x</script>"])
def test_document_without_text_is_refused(content: str) -> None:
    with pytest.raises(InvalidInput, match="holds no text"):
        read(content, "a.html")


def test_too_large_documents_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at most 3 bytes"):
        read("four", "a.txt", max_bytes=3)
    with pytest.raises(InvalidInput, match="at most 3 characters"):
        read("four", "a.txt", max_characters=3)


@pytest.mark.parametrize("name", ["a.md", "a.html"])
def test_too_long_texts_are_not_cut_up(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(readers, "of_markdown", pytest.fail)

    with pytest.raises(InvalidInput, match="at most 3 characters"):
        read("four", name, max_characters=3)


def test_pages_of_a_pdf_are_numbered() -> None:
    content = a_pdf(["Leave is 25\ndays each vaca-\ntion year.", "", "Lunch is at noon."])

    for name, content_type in (("handbook.pdf", ""), ("handbook", ""), ("handbook", "application/pdf")):
        reading = read(content, name, content_type)

        assert reading.media_type == "application/pdf"
        assert [*reading.sections] == [
            Section(text="Leave is 25\ndays each vacation year.", where="page 1"),
            Section(text="Lunch is at noon.", where="page 3"),
        ]


def test_pdf_without_text_is_to_be_recognised_first() -> None:
    with pytest.raises(InvalidInput, match="OCR"):
        read(a_pdf(["", ""]), "scan.pdf")


@pytest.mark.parametrize("content", [b"%PDF-1.4\n", b"", b"no pdf at all", a_pdf(["Hello"])[:200]])
def test_broken_pdf_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: it is damaged"):
        read(content, "broken.pdf")


def test_pdf_with_too_much_in_it_is_refused() -> None:
    content = a_pdf(["Leave is 25 days."] * 3)

    with pytest.raises(InvalidInput, match="too many pages"):
        read(content, "long.pdf", max_pages=2)
    with pytest.raises(InvalidInput, match="too much text"):
        read(content, "long.pdf", max_characters=20)


def test_pdf_that_takes_too_long_is_given_up() -> None:
    endless = a_pdf([], content=[b"BT /F1 12 Tf " + b"(a) Tj " * 1_000_000 + b"ET"])

    with pytest.raises(InvalidInput, match=r"takes longer than 0.2 seconds"):
        read(endless, "endless.pdf", within_seconds=0.2)


def test_pdf_that_unpacks_to_far_more_is_given_up() -> None:
    bomb = zlib.compressobj(9)
    once = b"".join(bomb.compress(bytes(1_000_000)) for _ in range(200)) + bomb.flush()
    twice = zlib.compress(once, 9)
    assert len(twice) < 10_000

    with pytest.raises(InvalidInput, match="PDF"):
        read(a_pdf([], content=[twice], filters=b"/FlateDecode /FlateDecode"), "bomb.pdf")


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process can be bounded so")
@pytest.mark.parametrize("wish", ["fill the memory", "never end"])
def test_reader_of_pdfs_has_little_memory_and_time(monkeypatch: pytest.MonkeyPatch, wish: str) -> None:
    monkeypatch.setattr(pdf, "PROGRAM", STRANGE)

    with pytest.raises(InvalidInput, match="needs too much time or memory"):
        read(wish, "strange.pdf")


def test_reader_of_pdfs_is_given_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr(pdf, "PROGRAM", STRANGE)

    [page] = read("tell the variables", "strange.pdf").sections

    assert "PYTHONPATH" in page.text
    assert "OPENAI_API_KEY" not in page.text


def test_missing_library_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "LIBRARY", "no_such_library")

    with pytest.raises(MissingExtra, match=r"pip install tertulia\[knowledge\]"):
        read(a_pdf(["Hello"]), "a.pdf")
