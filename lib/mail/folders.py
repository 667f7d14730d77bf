"""The folders of a mailbox: what LIST says of them, and where to look first.

Pure.  To teach Checker another provider's word for its trash, its spam or its
archive, add it to USUAL_NAMES.
"""

from __future__ import annotations

import base64
import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

#: More are not looked into.
MAX_FOLDERS = 60


class Kind(enum.IntEnum):
    """What a folder is for; the order is that of looking."""

    INBOX = 0
    TRASH = 1
    JUNK = 2
    ALL = 3
    OTHER = 4


@dataclass(frozen=True)
class Folder:
    """A folder that can be opened."""

    #: As the server writes it, in modified UTF-7.
    raw: bytes
    kind: Kind = Kind.OTHER
    #: The server says so itself (RFC 6154); else it goes by the name.
    flagged: bool = False

    @property
    def name(self) -> str:
        """Return the name as people read it."""
        return decoded(self.raw)


SPECIAL_USE = {
    "\\inbox": Kind.INBOX,
    "\\trash": Kind.TRASH,
    "\\junk": Kind.JUNK,
    "\\spam": Kind.JUNK,
    "\\all": Kind.ALL,
    "\\allmail": Kind.ALL,
    "\\archive": Kind.ALL,
}
#: What lies there was put there by the sender, and has not arrived.
_NOT_ARRIVED = {"\\sent", "\\drafts"}
_SENT_NAMES = frozenset(
    (
        "sent|sent mail|sent items|sent messages|drafts|outbox|gesendet"
        "|gesendete objekte|gesendete elemente|postausgang|entwürfe|envoyés"
        "|éléments envoyés|messages envoyés|brouillons|enviados|elementos enviados"
        "|borradores|itens enviados|rascunhos|inviati|posta inviata|bozze|verzonden"
        "|verzonden items|concepten|wysłane|elementy wysłane|odeslaná pošta|skickat"
        "|skickade objekt|sendte elementer|sendt post|lähetetyt|gönderilmiş öğeler"
        "|gönderilenler|отправленные|исходящие|черновики|送信済みアイテム|送信済み"
        "|已发送|已发送邮件|보낸 편지함|보낸편지함"
    ).split("|")
)

#: The last part of a folder's name, in lower case.
USUAL_NAMES = {
    Kind.TRASH: (
        "trash|bin|deleted|deleted items|deleted messages|papierkorb"
        "|gelöschte objekte|gelöschte elemente|corbeille|éléments supprimés"
        "|messages supprimés|papelera|elementos eliminados|cestino|posta eliminata"
        "|lixeira|itens excluídos|itens eliminados|prullenbak|verwijderde items"
        "|kosz|elementy usunięte|koš|kuka|lomtár|papperskorgen|borttagna objekt"
        "|papirkurv|slettet post|papirkurven|roskakori|poistetut|çöp kutusu"
        "|çöp|корзина|удаленные|удалённые|кошик|κάδος απορριμμάτων|ゴミ箱"
        "|削除済みアイテム|已删除|已删除邮件|垃圾桶|废纸篓|휴지통|अनुपयोगी|سلة المهملات"
    ),
    Kind.JUNK: (
        "spam|junk|junk e-mail|junk email|junk mail|bulk|bulk mail|spamverdacht"
        "|spamordner|junk-e-mail|unerwünscht|werbung|courrier indésirable"
        "|indésirables|pourriel|correo no deseado|correo basura|posta indesiderata"
        "|lixo eletrônico|correio electrónico não solicitado|ongewenste e-mail"
        "|ongewenst|wiadomości-śmieci|nevyžádaná pošta|skräppost|uønsket e-post"
        "|uønsket mail|roskaposti|gereksiz|gereksiz e-posta|спам"
        "|нежелательная почта|迷惑メール|垃圾邮件|广告邮件|스팸|스팸함|정크 메일"
    ),
    Kind.ALL: (
        "all mail|archive|archiv|alle nachrichten|tous les messages|todos"
        "|todos los mensajes|tutti i messaggi|todos os e-mails|alle e-mails"
        "|alle berichten|wszystkie|všechny zprávy|alla mail|вся почта"
        "|すべてのメール|所有邮件|전체보관함"
    ),
}
_KIND_OF = {name: kind for kind, all in USUAL_NAMES.items() for name in all.split("|")}

_LISTED = re.compile(
    rb'\((?P<flags>[^()]*)\) +(?:"(?P<delimiter>\\?.)"|NIL) +(?P<name>.+)', re.DOTALL
)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def listed(data: Iterable[object]) -> list[Folder]:
    """Return the folders that the answer to LIST names, as imaplib gives it.

    What cannot be opened, or holds what was never sent, is left out.
    """
    found: dict[bytes, Folder] = {}
    for entry in data:
        folder = _folder(entry)
        if folder is not None and folder.raw not in found:
            found[folder.raw] = folder
    return list(found.values())


def in_order(
    folders: Iterable[Folder], *, trash_first: bool = False, pinned: str = ""
) -> list[Folder]:
    """Return where to look, the likeliest first; ``pinned``: there and nowhere else."""
    folders = list(folders)
    if pinned:
        named = [one for one in folders if pinned in (one.name, _as_text(one.raw))]
        alike = [one for one in folders if one.name.lower() == pinned.lower()]
        return (named or alike)[:1]
    if not any(one.kind is Kind.INBOX for one in folders):
        folders.append(Folder(b"INBOX", Kind.INBOX, flagged=True))

    def rank(one: Folder) -> tuple[bool, bool, int]:
        thrown = trash_first and one.kind is Kind.TRASH
        return not thrown, one.kind is not Kind.INBOX and not one.flagged, one.kind

    return sorted(folders, key=rank)


def decoded(raw: bytes) -> str:
    """Return a name in modified UTF-7 (RFC 3501, 5.1.3) as people read it."""
    text = _as_text(raw)

    def part(found: re.Match[str]) -> str:
        if not found[1]:
            return "&"
        padded = found[1].replace(",", "/") + "=" * (-len(found[1]) % 4)
        try:
            return base64.b64decode(padded, validate=True).decode("utf-16-be")
        except ValueError:
            return found[0]

    plain = re.sub(r"&([A-Za-z0-9+,]*)-", part, text)
    return "".join(mark if mark.isprintable() else "?" for mark in plain)[:200]


def encoded(name: str) -> bytes:
    """Return a name in modified UTF-7."""

    def part(found: re.Match[str]) -> str:
        if found[0] == "&":
            return "&-"
        word = base64.b64encode(found[0].encode("utf-16-be", "surrogatepass"))
        return f"&{word.decode().rstrip('=').replace('/', ',')}-"

    return re.sub(r"&|[^\x20-\x7e]+", part, name).encode("ascii")


def quoted(raw: bytes) -> bytes:
    """Return a folder's name as a command takes it."""
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", raw) + b'"'


def _folder(entry: object) -> Folder | None:
    """Return the folder of a line of LIST; None where there is none to open."""
    literal = None
    if isinstance(entry, tuple) and len(entry) == 2:
        entry, literal = entry
    if not isinstance(entry, bytes):
        return None
    line = _LISTED.fullmatch(entry.strip())
    if line is None:
        return None
    flags = {flag.lower() for flag in _as_text(line["flags"]).split()}
    raw = literal if isinstance(literal, bytes) else _unquoted(line["name"])
    if not raw or re.search(rb"[\r\n\0]", raw):
        return None
    if flags & {"\\noselect", "\\nonexistent", *_NOT_ARRIVED}:
        return None
    if raw.upper() == b"INBOX":
        return Folder(raw, Kind.INBOX, flagged=True)
    marked = [SPECIAL_USE[flag] for flag in sorted(flags) if flag in SPECIAL_USE]
    if marked:
        return Folder(raw, marked[0], flagged=True)
    delimiter = (line["delimiter"] or b"")[-1:]
    last = decoded(raw.rpartition(delimiter)[2] if delimiter else raw).lower()
    if last in _SENT_NAMES:
        return None
    return Folder(raw, _KIND_OF.get(last, Kind.OTHER))


def _unquoted(name: bytes) -> bytes:
    inside = _QUOTED.fullmatch(name)
    return re.sub(rb"\\(.)", rb"\1", inside[1]) if inside else name


def _as_text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
