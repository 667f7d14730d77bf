"""The text of a web page: which encoding its bytes are in, as browsers decide it."""

from __future__ import annotations

import codecs
import re

#: In the first kilobyte of a page, as browsers look for it.
_META = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I)
_META_WITHIN = 1024
_PARAMETER = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.I | re.A)
#: The byte order marks, which decide before anything else does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def text_decoder(
    content_type: str, body: bytes | bytearray
) -> codecs.IncrementalDecoder:
    """Return a decoder for a page that begins with ``body``, which never fails.

    Its encoding is that of the byte order mark, of the Content-Type, of ``<meta>``, or
    else UTF-8.  Labels are those of the WHATWG.
    """
    for mark, name in _MARKS:
        if body.startswith(mark):
            return codecs.getincrementaldecoder(name)("replace")
    label = _label_in(content_type) or _label_of_page(body)
    return codecs.getincrementaldecoder(_codec(label) or "utf-8")("replace")


def _label_in(content_type: str) -> str:
    match = _PARAMETER.search(content_type)
    return match[1] if match and _codec(match[1]) else ""


def _label_of_page(body: bytes | bytearray) -> str:
    match = _META.search(body[:_META_WITHIN])
    if not match:
        return ""
    label = match[1].decode("ascii", "replace")
    # A page that can be read so far is not in UTF-16, whatever it says.
    return "utf-8" if label.lower().startswith("utf-16") else label


def _codec(label: str) -> str:
    """Return Python's codec for a label; empty for one that the web does not know."""
    if label.lower() in ("", "utf-8", "utf8"):
        return "utf-8" if label else ""
    import webencodings

    encoding = webencodings.lookup(label)
    return str(encoding.codec_info.name) if encoding is not None else ""
