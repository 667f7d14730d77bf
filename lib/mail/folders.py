"""The folders of a mailbox: what LIST says of them, and where to look first.

Pure.  To teach Checker another provider's word for its trash, its spam or its
archive, add it to USUAL_NAMES.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

import msgspec
from imapclient import (  # type: ignore[import-untyped]  # it has hints, unmarked
    imap_utf7,
    response_parser,
)

from lib.core.sanitize import printable
from lib.mail.imap import UNREADABLE

#: More are not looked into.
MAX_FOLDERS = 60
#: A longer name is cut.
MAX_NAME = 200


class Kind(enum.IntEnum):
    """What a folder is for; the order is that of looking."""

    INBOX = 0
    TRASH = 1
    JUNK = 2
    ALL = 3
    OTHER = 4


class Folder(msgspec.Struct, frozen=True):
    """A folder that can be opened."""

    #: As the server writes it, in modified UTF-7.
    raw: bytes
    kind: Kind = Kind.OTHER
    #: The server says so itself (RFC 6154); else it goes by the name.
    flagged: bool = False
    #: LIST does not show it.
    hidden: bool = False

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


def listed(data: Iterable[object]) -> list[Folder]:
    """Return the folders that the answer to LIST names, as imaplib gives it.

    What cannot be opened, or holds what was never sent, is left out.
    """
    folders: dict[bytes, Folder] = {}
    for entry in data:
        folder = _folder(entry)
        if folder is not None:
            folders.setdefault(folder.raw, folder)
    return list(folders.values())


def in_order(
    folders: Iterable[Folder], *, trash_first: bool = False, pinned: str = ""
) -> list[Folder]:
    """Return where to look, the likeliest first; ``pinned``: there and nowhere else."""
    folders = list(folders)
    if pinned:
        return _pinned(folders, pinned)
    if not any(folder.kind is Kind.INBOX for folder in folders):
        folders.append(Folder(b"INBOX", Kind.INBOX, flagged=True))

    def rank(folder: Folder) -> tuple[bool, bool, int]:
        comes_first = trash_first and folder.kind is Kind.TRASH
        is_guessed = folder.kind is not Kind.INBOX and not folder.flagged
        return not comes_first, is_guessed, folder.kind

    return sorted(folders, key=rank)


def encoded(name: str) -> bytes:
    """Return a folder's name as the server writes it, in modified UTF-7."""
    raw: bytes = imap_utf7.encode(name)
    return raw


def decoded(raw: bytes) -> str:
    """Return a folder's name as people read it.

    IMAPClient reads each byte beyond ASCII as a letter of Latin-1.  A server that
    writes such bytes means UTF-8.
    """
    try:
        name = imap_utf7.decode(raw) if raw.isascii() else raw.decode()
    except UnicodeError:
        name = raw.decode("utf-8", "replace")
    return printable(name, MAX_NAME)


def _pinned(folders: list[Folder], name: str) -> list[Folder]:
    """Return the folder of this name, in whatever case if there is no other."""
    exact = [
        folder
        for folder in folders
        if name in (folder.name, folder.raw.decode("utf-8", "replace"))
    ]
    alike = [folder for folder in folders if name.lower() == folder.name.lower()]
    return (exact or alike)[:1]


def _folder(entry: object) -> Folder | None:
    """Return the folder of a line of LIST; None where there is none to open."""
    try:
        flags, delimiter, name = response_parser.parse_response([entry])
        marks = {flag.decode().lower() for flag in flags}
    except UNREADABLE:
        return None
    # A name of digits is taken for a number.
    raw = str(name).encode() if isinstance(name, int) else name
    if not isinstance(raw, bytes) or not raw or re.search(rb"[\r\n\0]", raw):
        return None
    if marks & {"\\noselect", "\\nonexistent", *_NOT_ARRIVED}:
        return None
    if raw.upper() == b"INBOX":
        return Folder(raw, Kind.INBOX, flagged=True)
    marked = [SPECIAL_USE[mark] for mark in sorted(marks) if mark in SPECIAL_USE]
    if marked:
        return Folder(raw, marked[0], flagged=True)
    has_parts = isinstance(delimiter, bytes) and delimiter
    last = decoded(raw.rpartition(delimiter)[2] if has_parts else raw).lower()
    if last in _SENT_NAMES:
        return None
    return Folder(raw, _KIND_OF.get(last, Kind.OTHER))
