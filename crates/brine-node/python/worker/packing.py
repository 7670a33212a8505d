"""Messages between the minion and its Python: msgpack, as much of it as the minion uses, in frames.

A frame is four bytes of length, big-endian, and one value.
"""

import collections.abc
import datetime
import struct

def pack(value):
    out = bytearray()
    _pack(value, out, 0)
    return bytes(out)


def _pack(value, out, depth):
    if depth > 200:
        raise ValueError("a returned value is nested more than 200 levels deep")
    if value is None:
        out.append(0xC0)
    elif value is True:
        out.append(0xC3)
    elif value is False:
        out.append(0xC2)
    elif isinstance(value, int):
        _pack_int(int(value), out, depth)
    elif isinstance(value, float):
        out += struct.pack(">Bd", 0xCB, value)
    elif isinstance(value, str):
        raw = str(value).encode("utf-8", "replace")
        _head(out, len(raw), 0xA0, 32, 0xD9, 0xDA, 0xDB)
        out += raw
    elif isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        _head(out, len(raw), None, 0, 0xC4, 0xC5, 0xC6)
        out += raw
    elif isinstance(value, collections.abc.Mapping):
        _head(out, len(value), 0x80, 16, None, 0xDE, 0xDF)
        for key, item in value.items():
            _pack(key, out, depth + 1)
            _pack(item, out, depth + 1)
    elif isinstance(value, (list, tuple, set, frozenset, collections.abc.KeysView,
                            collections.abc.ValuesView, collections.abc.ItemsView)):
        items = list(value)
        _head(out, len(items), 0x90, 16, None, 0xDC, 0xDD)
        for item in items:
            _pack(item, out, depth + 1)
    elif isinstance(value, (datetime.datetime, datetime.date)):
        raw = value.strftime("%Y%m%dT%H:%M:%S.%f").encode()
        out += struct.pack(">BBb", 0xC7, len(raw), 78) + raw
    else:
        raise TypeError("can not serialize '{}' object".format(type(value).__name__))


def _pack_int(number, out, depth):
    if 0 <= number < 128 or -32 <= number < 0:
        out.append(number & 0xFF)
    elif -(1 << 63) <= number < (1 << 63):
        out += struct.pack(">Bq", 0xD3, number)
    elif 0 < number < (1 << 64):
        out += struct.pack(">BQ", 0xCF, number)
    else:  # as Salt does with integers that msgpack cannot hold
        _pack(str(number), out, depth)


def _head(out, length, small, below, eight, sixteen, thirty_two):
    if length < below:
        out.append(small | length)
    elif eight is not None and length < 1 << 8:
        out += struct.pack(">BB", eight, length)
    elif length < 1 << 16:
        out += struct.pack(">BH", sixteen, length)
    else:
        out += struct.pack(">BI", thirty_two, length)


def unpack(raw):
    return _Reader(raw).value()


class _Reader:
    NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
               0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
    LENGTHS = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xC7: ">B", 0xC8: ">H", 0xC9: ">I",
               0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}

    def __init__(self, raw):
        self.raw = raw
        self.at = 0

    def take(self, length):
        start, self.at = self.at, self.at + length
        return self.raw[start:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        kind = self.raw[self.at]
        self.at += 1
        if kind < 0x80:
            return kind
        if kind >= 0xE0:
            return kind - 0x100
        if kind in self.CONSTANTS:
            return self.CONSTANTS[kind]
        if kind in self.NUMBERS:
            return self.number(self.NUMBERS[kind])
        if 0xD4 <= kind <= 0xD8:
            return self.extension(1 << (kind - 0xD4))
        if kind < 0xC0:
            length = kind & (0x1F if kind >= 0xA0 else 0x0F)
            kind = 0xD9 if kind >= 0xA0 else (0xDC if kind >= 0x90 else 0xDE)
        else:
            length = self.number(self.LENGTHS[kind])
        if kind in (0xC4, 0xC5, 0xC6):
            return bytes(self.take(length))
        if kind in (0xC7, 0xC8, 0xC9):
            return self.extension(length)
        if kind in (0xD9, 0xDA, 0xDB):
            return self.take(length).decode("utf-8", "surrogateescape")
        if kind in (0xDC, 0xDD):
            return [self.value() for _ in range(length)]
        return dict((self.key(), self.value()) for _ in range(length))

    def key(self):
        key = self.value()
        return tuple(key) if isinstance(key, list) else key

    def extension(self, length):
        kind, raw = self.number(">b"), self.take(length)
        if kind == 78:
            return datetime.datetime.strptime(raw.decode(), "%Y%m%dT%H:%M:%S.%f")
        return bytes(raw)


def receive(connection):
    (length,) = struct.unpack(">I", receive_exactly(connection, 4))
    return unpack(receive_exactly(connection, length))


def receive_exactly(connection, length):
    parts = []
    while length:
        part = connection.recv(min(length, 1 << 20))
        if not part:
            raise EOFError("the minion has closed the connection")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def send(connection, message):
    raw = pack(message)
    connection.sendall(struct.pack(">I", len(raw)) + raw)
