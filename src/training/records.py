"""Text files read record by record: CSV and JSON lines, where one broken record must not cost another.

Every physical record comes out exactly once, readable or not, with the number of the line in the file where it begins,
counted from 1 as editors do (so the first record of a CSV with a header is on line 2). Blank lines are no records.

CSV: a quoted field may hold line breaks. A quote that never closes would swallow the rest of the file: whenever lines
joined
by a quote do not make one good record, only the first of them is refused and reading goes on at the next line.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from io import BufferedReader
from pathlib import Path

import msgspec

from behavior.errors import BadInput

CHUNK_BYTES = 8 << 20
MAX_RECORD_BYTES = 1 << 20
MAX_RECORD_LINES = 1000

Unreadable = tuple[int, int | None, str]  # line, position within it, what is wrong
_RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(slots=True)
class Chunk:
    """Records as they were read: line numbers, positions within a line (unnested lists only), texts by column,
    digests.
    """

    width: int
    lines: list[int] = field(default_factory=list)
    positions: list[int | None] = field(default_factory=list)
    columns: list[list[str | None]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    bytes_read: int = 0

    def __post_init__(self) -> None:
        self.columns = [[] for _ in range(self.width)]

    def add(self, line: int, position: int | None, texts: Sequence[str | None], digest: str | None) -> None:
        """One readable record."""
        self.lines.append(line)
        self.positions.append(position)
        for column, text in zip(self.columns, texts, strict=True):
            column.append(text)
        if digest is not None:
            self.digests.append(digest)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file and how it is encoded."""

    path: Path
    encoding: str

    def chunks(self) -> Iterator[list[bytes]]:
        """The file's lines with their ends, some 8 MB at a time. Raises BadInput if the file cannot be read."""
        opened = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opened(self.path, "rb") as file:
                yield from self._lines(file)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{self.path} cannot be read: {getattr(error, 'strerror', None) or error}") from None

    def _lines(self, file: gzip.GzipFile | BufferedReader) -> Iterator[list[bytes]]:
        lines = file.readlines(CHUNK_BYTES)
        if lines and lines[0].startswith(b"\xef\xbb\xbf"):
            lines[0] = lines[0][3:]
        while lines:
            yield lines
            lines = file.readlines(CHUNK_BYTES)


@dataclass(frozen=True, slots=True)
class BlankSeparated(TextFile):
    """A text file whose columns are set apart by any number of blanks, read as if one tab stood between them."""

    def _lines(self, file: gzip.GzipFile | BufferedReader) -> Iterator[list[bytes]]:
        for lines in TextFile._lines(self, file):
            yield [b"\t".join(line.split()) + b"\n" for line in lines]


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file: `names` are its columns, from the header line or, without one (`header=False`), as declared."""

    file: TextFile
    delimiter: str
    names: tuple[str, ...]
    header: bool

    @classmethod
    def open(cls, file: TextFile, delimiter: str) -> "CsvFile":
        """Read the header. Raises BadInput if there is none or it is no line of distinct column names."""
        first = next(file.chunks(), [b""])[0]
        names, wrong = _fields(first, file.encoding, delimiter)
        if not first.strip():
            raise BadInput(f"{file.path} is empty; it must begin with a line of column names")
        twice = sorted({name for name in names if names.count(name) > 1})
        if wrong or twice:
            detail = wrong or f"the column {twice[0]!r} occurs twice"
            raise BadInput(f"{file.path}, line 1: no header line: {detail}")
        return cls(file, delimiter, tuple(names), True)

    def read(self, columns: Sequence[str], *, digest: bool) -> Iterator[Chunk]:
        """The records as texts of `columns`, and, if asked for, a digest of each whole record."""
        wanted = [self.names.index(name) for name in columns]
        number = 1
        carried: list[bytes] = []
        for fresh in self.file.chunks():
            chunk = Chunk(len(wanted), bytes_read=sum(map(len, fresh)))
            lines = carried + fresh
            skip = int(self.header and number == 1)
            done = self._fast(chunk, lines, number, skip, wanted, digest)
            if not done:
                done = self._careful(chunk, lines, number, skip, wanted, digest)
            carried = lines[done:]
            number += done
            yield chunk
        chunk = Chunk(len(wanted))
        self._careful(chunk, [*carried, b""], number, 0, wanted, digest)
        yield chunk

    def _fast(self, chunk: Chunk, lines: list[bytes], number: int, skip: int, wanted: list[int], digest: bool) -> int:
        """Take all lines at once if none needs care; the number of lines taken, else 0."""
        try:
            text = b"".join(lines[skip:]).decode(self.file.encoding).replace("\r\n", "\n")
            if '"' in text or "\0" in text or "\r" in text:
                return 0
            rows = list(csv.reader(text.removesuffix("\n").split("\n"), delimiter=self.delimiter))
        except (UnicodeDecodeError, csv.Error):
            return 0
        if len(rows) != len(lines) - skip or any(len(row) != len(self.names) for row in rows):
            return 0
        chunk.lines = list(range(number + skip, number + len(lines)))
        chunk.positions = [None] * len(rows)
        chunk.columns = [[row[index] for row in rows] for index in wanted]
        if digest:
            chunk.digests = [_digest("\x1f".join(row)) for row in rows]
        return len(lines)

    def _careful(
        self, chunk: Chunk, lines: list[bytes], number: int, skip: int, wanted: list[int], digest: bool
    ) -> int:
        """Take line after line; the number of lines taken, which leaves out a record that the chunk's end cuts off.

        A last line that is empty (b"") tells that the file ends there.
        """
        ended = bool(lines) and lines[-1] == b""
        at = skip
        while at < len(lines):
            if not lines[at].strip(b"\r\n"):
                at += 1
                continue
            end = at + 1
            fields, wrong = self._record(lines, at, end)
            if wrong and lines[at].count(b'"') % 2:
                joined = _record_end(lines, at, ended)
                if joined is None:
                    return at
                longer, still_wrong = self._record(lines, at, joined)
                if not still_wrong:
                    fields, wrong, end = longer, "", joined
            if wrong:
                chunk.unreadable.append((number + at, None, wrong))
            else:
                texts = [fields[index] for index in wanted]
                chunk.add(number + at, None, texts, _digest("\x1f".join(fields)) if digest else None)
            at = end
        return len(lines)

    def _record(self, lines: list[bytes], start: int, end: int) -> tuple[list[str], str]:
        """The fields of a record on the lines `start` to `end`, or what is wrong with it."""
        fields, wrong = _fields(b"".join(lines[start:end]), self.file.encoding, self.delimiter)
        if not wrong and len(fields) != len(self.names):
            wrong = f"{len(fields)} fields where {len(self.names)} are expected"
        if not wrong and len(self.names) > 1 and any(self._is_whole(line) for line in lines[start + 1 : end - 1]):
            wrong = "a quoted field does not close"  # it would swallow a line that is a whole record by itself
        return fields, wrong

    def _is_whole(self, line: bytes) -> bool:
        return b'"' not in line and line.count(self.delimiter.encode()) == len(self.names) - 1


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A file of JSON lines: one object a line; `unnest` names a list of objects of which each is a record."""

    file: TextFile
    unnest: str | None
    met: set[str] = field(default_factory=set)  # filled while reading: the members that records have
    missing: set[str] = field(default_factory=set)  # filled while reading: wanted columns that no record had so far

    def read(self, columns: Sequence[str], *, digest: bool) -> Iterator[Chunk]:
        """The records as texts of `columns` (numbers as they are written, nested values as JSON), and their digests."""
        self.missing.update(columns)
        number = 1
        for lines in self.file.chunks():
            chunk = Chunk(len(columns), bytes_read=sum(map(len, lines)))
            for line in lines:
                if line.strip():
                    try:
                        self._line(chunk, number, _text_bytes(line, self.file.encoding), columns, digest)
                    except _Broken as broken:
                        chunk.unreadable.append((number, None, str(broken)))
                number += 1
            yield chunk

    def _line(self, chunk: Chunk, number: int, line: bytes, columns: Sequence[str], digest: bool) -> None:
        whole = _object(line, "the line")
        self._notice(whole, "")
        if self.unnest is None:
            chunk.add(
                number, None, [_text(_member(whole, name)) for name in columns], _digest(line) if digest else None
            )
            return
        listed = _member(whole, self.unnest)
        try:
            items = _RAW_LIST.decode(listed) if listed is not None else None
        except msgspec.MsgspecError:
            items = None
        if items is None:
            raise _Broken(f"{self.unnest} is not a list")
        prefix = self.unnest + "."
        outer = [None if name.startswith(prefix) else _text(_member(whole, name)) for name in columns]
        inner = [name.removeprefix(prefix) if name.startswith(prefix) else None for name in columns]
        around = b"\x1f".join(bytes(raw) for name, raw in sorted(whole.items()) if name != self.unnest)
        for position, item in enumerate(items, start=1):
            try:
                members = _object(bytes(item), f"item {position} of {self.unnest}")
                self._notice(members, prefix)
                texts = [
                    text if name is None else _text(_member(members, name))
                    for text, name in zip(outer, inner, strict=True)
                ]
            except _Broken as broken:
                chunk.unreadable.append((number, position, str(broken)))
            else:
                chunk.add(number, position, texts, _digest(around + b"\x1e" + bytes(item)) if digest else None)

    def _notice(self, members: dict[str, msgspec.Raw], prefix: str) -> None:
        self.met.update(prefix + name for name in members)
        if self.missing:
            within = [name for name in self.missing if name.startswith(prefix)]
            self.missing.difference_update(
                [name for name in within if _member(members, name.removeprefix(prefix)) is not None]
            )


class _Broken(Exception):
    """A record that cannot be read; the text says why, without its content."""


def _fields(record: bytes, encoding: str, delimiter: str) -> tuple[list[str], str]:
    """The fields of one CSV record, or what is wrong with it."""
    try:
        text = _text_bytes(record, encoding).decode().removesuffix("\n").removesuffix("\r")
        rows = list(csv.reader([text], delimiter=delimiter, strict=True))
    except _Broken as broken:
        return [], str(broken)
    except csv.Error as error:
        return [], f"broken quoting: {error}"
    return (rows[0] if rows else []), ""


def _record_end(lines: list[bytes], start: int, ended: bool) -> int | None:
    """Index after the last line of the record that begins at `start`: lines are joined while a quote is open.

    None if the lines at hand end before the record does and more may come.
    """
    quotes = size = 0
    for end in range(start, min(len(lines), start + MAX_RECORD_LINES)):
        quotes += lines[end].count(b'"')
        size += len(lines[end])
        if quotes % 2 == 0:
            return end + 1
        if size > MAX_RECORD_BYTES:
            return start + 1
    return start + 1 if ended or len(lines) - start >= MAX_RECORD_LINES else None


def _text_bytes(record: bytes, encoding: str) -> bytes:
    """The record as valid UTF-8 bytes without NUL and of bounded size."""
    if len(record) > MAX_RECORD_BYTES:
        raise _Broken(f"longer than {MAX_RECORD_BYTES} bytes")
    if b"\0" in record:
        raise _Broken("a NUL byte")
    try:
        text = record.decode(encoding)
    except UnicodeDecodeError:
        raise _Broken(f"not {encoding}") from None
    return record if encoding == "utf-8" else text.encode()


def _object(data: bytes, what: str) -> dict[str, msgspec.Raw]:
    try:
        return _RAW_OBJECT.decode(data)
    except msgspec.ValidationError:
        raise _Broken(f"{what} is not an object") from None
    except msgspec.MsgspecError:
        raise _Broken(f"{what} is not JSON") from None


def _member(members: dict[str, msgspec.Raw], name: str) -> msgspec.Raw | None:
    """The member `name`, or following its dots (`a.b`) into nested objects; None if there is none."""
    if name in members:
        return members[name]
    head, dot, rest = name.partition(".")
    if not dot or head not in members or not bytes(members[head]).startswith(b"{"):
        return None
    return _member(_object(bytes(members[head]), head), rest)


def _text(raw: msgspec.Raw | None) -> str | None:
    """A JSON value as text: strings decoded, numbers as written, null as None, the rest as JSON."""
    if raw is None:
        return None
    data = bytes(raw)
    if data.startswith(b'"'):
        try:
            return str(msgspec.json.decode(data))
        except msgspec.MsgspecError:
            raise _Broken("a text is not JSON") from None
    return None if data == b"null" else data.decode()


def _digest(record: str | bytes) -> str:
    return blake2b(record.encode() if isinstance(record, str) else record.strip(), digest_size=16).hexdigest()
