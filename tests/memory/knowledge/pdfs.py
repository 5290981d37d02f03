"""PDF documents for tests, written by hand: what no library has to be trusted with."""

import zlib
from collections.abc import Sequence


def a_pdf(pages: Sequence[str], *, content: Sequence[bytes] = (), filters: bytes = b"/FlateDecode") -> bytes:
    """Return a PDF with these lines on its pages, or with this content of pages as it is.

    The content is packed once, however many filters are named.
    """
    streams = list(content) or [_drawn(page) for page in pages]
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(streams)))
    objects.append(b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(streams)))
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, stream in enumerate(streams):
        resources = b"<< /Font << /F1 3 0 R >> >>"
        page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources %s /Contents %d 0 R >>"
        objects.append(page % (resources, 5 + 2 * number))
        packed = zlib.compress(stream)
        objects.append(
            b"<< /Length %d /Filter [%s] >>\nstream\n%s\nendstream" % (len(packed), filters, packed)
        )
    return _file(objects)


def _drawn(page: str) -> bytes:
    lines = b" ".join(b"(%s) Tj T*" % line.encode("latin-1") for line in page.splitlines())
    return b"BT /F1 12 Tf 14 TL 50 780 Td %s ET" % lines


def _file(objects: Sequence[bytes]) -> bytes:
    found, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(found))
        found += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return found + end % (count, table, count, len(found))
