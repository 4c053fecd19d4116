"""Errors: one class for each word of the table of errors (proto/PROTOCOL.md, "Errors").

    try:
        image = sp.generate("avatars64", 42)
    except seedpress.Overloaded as error:
        wait(error.retry_after_ms)
    except seedpress.SeedpressError as error:
        print(error.word, error.message, error.http_status)
"""
from __future__ import annotations

from typing import ClassVar


class SeedpressError(Exception):
    """What went wrong, with a word that does not change and a message for a person.

    One of its subclasses, unless a newer broker said a word that this version does not know: then a
    `Bug` with the broker's own word and advice.
    """

    code: ClassVar[int]
    """The number of the word."""
    http_status: ClassVar[int]
    """What a gateway answers."""
    exit_code: ClassVar[int]
    """What the command seedpress exits with."""
    word: str
    """"unknown_model", ..."""
    words: ClassVar[str]
    """What the word means."""
    retry: bool
    """The same request may succeed later, ..."""
    retry_after_ms: int
    """... not before this; 0: nothing is known."""
    message: str
    """For a person; lower case, no full stop."""
    seed: int | None
    """Of the picture that it is about."""

    def __init_subclass__(cls, row: tuple[int, str, int, int, bool, str]) -> None:
        cls.code, cls.word, cls.http_status, cls.exit_code, cls.retry, cls.words = row

    def __init__(self, message: str = "", *, retry_after_ms: int = 0,
                 seed: int | None = None) -> None:
        super().__init__(message or self.words)
        self.message = message or self.words
        self.retry_after_ms = retry_after_ms
        self.seed = seed


class Invalid(SeedpressError, row=(1, "invalid", 400, 2, False,
                                   "a message, field, file or setting is malformed")):
    pass


class Range(SeedpressError, row=(2, "range", 400, 2, False,
                                 "a value is outside its limits")):
    pass


class NoMemory(SeedpressError, row=(3, "no_memory", 503, 70, True,
                                    "out of memory")):
    pass


class Device(SeedpressError, row=(4, "device", 500, 70, True,
                                  "the engine failed on this picture")):
    pass


class UnknownType(SeedpressError, row=(5, "unknown_type", 400, 2, False,
                                       "no such message type")):
    pass


class Version(SeedpressError, row=(6, "version", 400, 2, False,
                                   "protocol version not spoken here")):
    pass


class UseDealer(SeedpressError, row=(7, "use_dealer", 400, 2, False,
                                     "several answers need a DEALER socket")):
    pass


class UnknownModel(SeedpressError, row=(8, "unknown_model", 404, 1, False,
                                        "no such model")):
    pass


class ClassRequired(SeedpressError, row=(9, "class_required", 400, 2, False,
                                         "a conditional model needs a class")):
    pass


class Unsupported(SeedpressError, row=(10, "unsupported", 400, 2, False,
                                       "the model or program has no such option")):
    pass


class NotFound(SeedpressError, row=(11, "not_found", 404, 1, False,
                                    "nothing is stored under that name")):
    pass


class ClassConflict(SeedpressError, row=(12, "class_conflict", 409, 1, False,
                                         "stored by another numerics class than required")):
    pass


class WrongClass(SeedpressError, row=(13, "wrong_class", 409, 1, False,
                                      "the kept picture is of another numerics class, "
                                      "its bytes are gone")):
    pass


class NotReproducible(SeedpressError, row=(14, "not_reproducible", 500, 1, False,
                                           "a new render differs from the recorded one")):
    pass


class Withdrawn(SeedpressError, row=(15, "withdrawn", 410, 1, False,
                                     "this picture has been withdrawn")):
    pass


class Overloaded(SeedpressError, row=(16, "overloaded", 503, 4, True,
                                      "a queue is full")):
    pass


class Deadline(SeedpressError, row=(17, "deadline", 504, 4, True,
                                    "the answer would be or was too late")):
    pass


class NoWorker(SeedpressError, row=(18, "no_worker", 503, 4, True,
                                    "no live worker has the model")):
    pass


class LedgerDown(SeedpressError, row=(19, "ledger_down", 503, 4, True,
                                      "the database cannot be reached")):
    pass


class Retry(SeedpressError, row=(20, "retry", 503, 4, True,
                                 "a program is going away; ask again")):
    pass


class Poison(SeedpressError, row=(21, "poison", 500, 1, False,
                                  "the render failed on every attempt")):
    pass


class Cancelled(SeedpressError, row=(22, "cancelled", 499, 130, False,
                                     "the request was cancelled")):
    pass


class TooLarge(SeedpressError, row=(23, "too_large", 413, 2, False,
                                    "the message is larger than allowed")):
    pass


class Unreachable(SeedpressError, row=(24, "unreachable", 502, 5, True,
                                       "no broker answered")):
    pass


class Denied(SeedpressError, row=(25, "denied", 403, 6, False,
                                  "not allowed")):
    pass


class File(SeedpressError, row=(26, "file", 422, 7, False,
                                "a file is bad or cannot be written")):
    pass


class Bug(SeedpressError, row=(27, "bug", 500, 70, False,
                               "seedpress has a bug; please report it")):
    pass


class Conflict(SeedpressError, row=(28, "conflict", 409, 1, False,
                                    "the name or id is taken")):
    pass


BY_WORD: dict[str, type[SeedpressError]] = {c.word: c for c in SeedpressError.__subclasses__()}


def error_of(word: str, message: str, retry: bool, retry_after_ms: int,
             seed: int | None) -> SeedpressError:
    """The exception of a broker's `error`."""
    error = BY_WORD.get(word, Bug)(message, retry_after_ms=retry_after_ms, seed=seed)
    error.word = word
    error.retry = retry
    return error


__all__ = ["SeedpressError", "BY_WORD", "error_of",
           "Invalid", "Range", "NoMemory", "Device", "UnknownType", "Version", "UseDealer",
           "UnknownModel", "ClassRequired", "Unsupported", "NotFound", "ClassConflict",
           "WrongClass", "NotReproducible", "Withdrawn", "Overloaded", "Deadline", "NoWorker",
           "LedgerDown", "Retry", "Poison", "Cancelled", "TooLarge", "Unreachable", "Denied",
           "File", "Bug", "Conflict"]
