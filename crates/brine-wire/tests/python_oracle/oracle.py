"""Answers the questions of python_oracle.rs with real Salt's own functions.

One question in JSON per line of standard input, one answer per line of standard output; the first
argument says what is asked. Bytes travel as hex. "error" stands for whatever was raised.
"""

import datetime
import json
import logging
import re
import sys
import warnings

import dateutil.parser
import salt.modules.state
import salt.payload
import salt.utils.cache
import salt.utils.data
import salt.utils.dicttrim
import salt.utils.event
import salt.utils.json


class Matcher(salt.utils.event.SaltEvent):
    """The match functions alone."""

    def __init__(self):  # pylint: disable=super-init-not-called
        self.cache_regex = salt.utils.cache.CacheRegex(prepend="^")

    def __del__(self):
        pass


MATCHER = Matcher()


def match(question):
    """[match type, pattern, [tag, ...]] -> [bool, ...]"""
    kind, pattern, tags = question
    function = MATCHER._get_match_func(kind)
    return [bool(function(tag, pattern)) for tag in tags]


def re_match(question):
    """[pattern, [text, ...]] -> [bool, ...]"""
    pattern, texts = question
    return [bool(re.match(pattern, text)) for text in texts]


def load(packed):
    return salt.payload.loads(bytes.fromhex(packed), encoding="utf-8")


def to_json(question):
    """[packed data, pretty] -> what state.event prints"""
    packed, pretty = question
    return salt.utils.json.dumps(
        salt.utils.data.decode(load(packed), keep=True),
        sort_keys=pretty,
        indent=4 if pretty else None,
        default=salt.modules.state._json_safe,
    )


def repack(packed):
    """packed data -> the same read and packed again"""
    return salt.payload.dumps(load(packed), use_bin_type=True).hex()


def trim(question):
    """[packed data, max_event_size] -> packed data"""
    packed, limit = question
    return salt.utils.dicttrim.trim_dict(
        bytes.fromhex(packed), limit, is_msgpacked=True, use_bin_type=True
    ).hex()


def time(text):
    """a text -> the time in it, as in job ids; one with a zone is an error"""
    parser = dateutil.parser.DEFAULTPARSER
    parser.info._year, parser.info._century = 2026, 2000
    found = parser._parse(text)[0]
    if found.tzname is not None or found.tzoffset is not None:
        raise ValueError(text)
    today = datetime.datetime(2026, 11, 29)
    return parser.parse(text, default=today).strftime("%Y%m%d%H%M%S%f").zfill(20)


def answer(function, line):
    try:
        return function(json.loads(line))
    except Exception:  # pylint: disable=broad-except
        return "error"


logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
asked = {
    "match": match,
    "re_match": re_match,
    "json": to_json,
    "repack": repack,
    "trim": trim,
    "time": time,
}[sys.argv[1]]
for line in sys.stdin:
    print(json.dumps(answer(asked, line)))
