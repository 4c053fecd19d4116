"""CURVE keys and the files that hold them, as `seedpress keygen` writes them: NAME.key has both
halves and is its owner's alone, NAME.pub has the public one. What is secret is in no error."""
from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field

import zmq
from zmq.utils import z85

from .errors import File, Invalid

_FILE_MAX = 4096
_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


@dataclass(frozen=True)
class Keys:
    public: bytes
    secret: bytes = field(repr=False)
    broker: bytes
    """Public, of every broker."""


def _is_key(text: str) -> bool:
    if not _KEY.fullmatch(text):
        return False
    # Five characters stand for 32 bits: the highest of them stand for none.
    return all(sum(z85.Z85MAP[byte] * 85 ** (4 - at) for at, byte in enumerate(group)) < 1 << 32
               for group in (text[i:i + 5].encode() for i in range(0, 40, 5)))


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_MAX + 1)
    except OSError as why:
        raise File(f'could not open "{path}": {why.strerror}') from why
    if len(data) > _FILE_MAX:
        raise File(f'"{path}" is larger than a key file is: at most {_FILE_MAX} bytes')
    return data.decode("latin-1")


def _find(text: str, word: str) -> str | None:
    """The value of the first line "word VALUE", if it is a key."""
    for line in text.split("\n"):
        words = line.replace("\t", " ").split()
        if len(words) > 1 and words[0] == word and line.startswith(word):
            return words[1] if _is_key(words[1]) else None
    return None


def _check_mode(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as why:
        raise File(f'could not open key file "{path}": {why.strerror}') from why
    if mode & 0o077:
        raise File(f'key file "{path}" is open to others (mode {stat.S_IMODE(mode):04o}): '
                   "chmod 600 it")


def read_pair(path: str) -> tuple[bytes, bytes]:
    """Public and secret half of NAME.key."""
    _check_mode(path)
    text = _read(path)
    public, secret = _find(text, "public"), _find(text, "secret")
    if not public or not secret:
        raise File(f'key file "{path}" needs a line "public" and a line "secret" with 40 '
                   "characters of Z85 each")
    if zmq.curve_public(secret.encode()) != public.encode():
        raise File(f'key file "{path}" has halves of two different keys')
    return public.encode(), secret.encode()


def find_public(text: str) -> bytes:
    """From the 40 characters themselves, else from the path of a .pub or .key file."""
    if _is_key(text):
        return text.encode()
    public = _find(_read(text), "public")
    if not public:
        raise File(f'"{text}" needs a line "public" with 40 characters of Z85')
    return public.encode()


def find_both(key_file: str, broker_key: str) -> Keys | None:
    """Both are given, or neither ("")."""
    if not key_file and not broker_key:
        return None
    if not broker_key:
        raise Invalid("a key file needs the broker's key (broker_key) too")
    if not key_file:
        raise Invalid("a broker's key needs a key of one's own (key_file) too")
    public, secret = read_pair(key_file)
    return Keys(public, secret, find_public(broker_key))
