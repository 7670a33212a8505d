"""Asks real Salt what it makes of YAML documents: tests/golden/documents.json.

    python3 documents.py SALT_PYTHON... > ../golden/documents.json

The documents are drawn from pieces of configuration files, good and broken, by a generator with
a fixed seed. Noted is the value, or that Salt refuses the document.
"""

import json
import random
import sys

from values import run_under, typed

COUNT = 900

PIECES = [
    "a", "b", "key", "1", "0x1F", "017", "1.5", "yes", "null", "~", "'", '"', "'q'", '"d"', '"\\n"', ":", ": ", ": ",
    "\n", "\n", "\n  ", "\n    ", "\n- ", "- ", "  ", "\t", " ", "#", " # c", "[", "]", "{", "}", ",", ", ", "?", "? ",
    "&a ", "*a ", "&b", "*b", "!", "!!str ", "!!int ", "!x ", "|", "|\n  ", ">\n  ", ">-\n ", "|+\n", "|2\n", "---\n",
    "--- ", "...\n", "%YAML 1.1\n", "%TAG ! tag:x,2000:\n", "<<: ", "=", "@", "`", "%", "é", "\\", "-", "--", "a: b\n",
    "k: v\n", "\n\n", "- a\n- b\n", "k:\n  - x\n", "k:\n- x\n", "x: {a: 1}\n", "y: [1, 2]\n", "\r\n", "\x85", "\u2028",
    "\ufeff", "''", '""', "a'b", "::", "a:b", "http://x", "<", "0", "true",
]  # fmt: skip

KEYS = ["a", "b", "c", "sock_dir", "'q k'", '"d k"', "1", "true", "x y", "a-b", "file.x", "~", "<<", "=", "? a\n@"]

SCALARS = [
    "v", "1", "1.5", "yes", "'s'", '"d"', "/var/run", "a b c", "", "http://x/y", "'it''s'", '"a\\tb"', "a#b", "a #b",
    "*x", "&x v", "!!str 5", "!!binary aGk=", "10.0.0.1:80", "- v", "[a, b]", "{a: 1, b: [c]}", "{}", "[]", "{a: b, c}",
    "|\n@  lit\n@   more\n@\n@  x\n", ">\n@  fold\n@  ed\n@\n@   ind\n@  x\n", "|-\n@  l", "|2+\n@    l\n\n",
    '"multi\n@  line"', "'multi\n@\n@  line'", '"esc\\\n@  aped"', "plain\n@  multi\n@  line", "\tv", "v ", "v\t",
    "[a,\n@ b]", "[\n@  a,\n@  b\n@ ]", "{a: 1,\n@ b: 2}", "{\n@  a: 1\n}", "'x'#c", "[a]#c", "# c", "'a': b", "a: b",
]  # fmt: skip


class Drawer:
    """Draws documents."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pieces(self):
        """Anything after anything."""
        return "".join(self.one_of(PIECES) for _ in range(self.random.randint(1, 12)))

    def block(self, indent, depth):
        """A block mapping or list, most of the time."""
        lines = ""
        is_mapping = self.random.random() < 0.6
        blanks = " " * indent
        for _ in range(self.random.randint(1, 3)):
            if self.random.random() < 0.08:
                lines += self.one_of(["\n", blanks + "# comment\n", "# c\n", "  \n", "\t\n"])
            if is_mapping:
                key = self.one_of(KEYS).replace("@", blanks)
                lines += blanks + key + self.one_of([":", ":", ":", ":", ":  ", ":\t", " :"])
            else:
                lines += blanks + "-"
            lines += self.value(indent, depth, blanks)
        return lines

    def value(self, indent, depth, blanks):
        """What stands after a key or a dash, to the end of its line."""
        if depth > 0 and self.random.random() < 0.4:
            if self.random.random() < 0.2:
                return self.one_of([" ", "  "]) + self.block(indent + 2, depth - 1).lstrip(" ")
            start = self.one_of(["\n", "\n", " # c\n", " &x\n", " !!map\n", "\n\n"])
            return start + self.block(indent + self.one_of([2, 2, 2, 4, 1, 0, 3]), depth - 1)
        start = self.one_of([" ", " ", " ", "  "])
        end = self.one_of(["\n", "\n", "\n", " # c\n", "\r\n", " \n"])
        return start + self.one_of(SCALARS).replace("@", blanks) + end

    def broken(self):
        """A block with one character too many, too few, or another."""
        text = self.block(0, 3)
        at = self.random.randrange(len(text))
        insert = self.one_of([self.one_of(PIECES), self.one_of(" \t:#-[]{}'\",\n&*!|>?%@")])
        return text[:at] + self.one_of([insert, ""]) + text[at + self.random.randint(0, 1) :]

    def one_of(self, things):
        """One of some things."""
        return self.random.choice(things)


def documents():
    """All documents, of three kinds."""
    drawer = Drawer(3008)
    for _ in range(COUNT):
        yield drawer.one_of([drawer.pieces, lambda: drawer.block(0, 3), drawer.broken])()


def dump():
    """Prints Salt's reading of every document."""
    import salt.utils.yaml
    import salt.version

    rows = []
    for document in dict.fromkeys(documents()):
        try:
            row = {"in": document, "out": typed(salt.utils.yaml.safe_load(document))}
        except Exception:  # pylint: disable=broad-except
            row = {"in": document, "refused": True}
        rows.append(row)
    json.dump({"salt": salt.version.__version__, "rows": rows}, sys.stdout)


if __name__ == "__main__":
    if sys.argv[1:] == ["--dump"]:
        dump()
    else:
        run_under(__file__, sys.argv[1:])
