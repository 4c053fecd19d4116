"""The recipe: what was asked for, in one canonical text whose SHA-256 names the picture everywhere
(proto/PROTOCOL.md, "The recipe")."""
from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ClassRequired, Invalid, Range, Unsupported

NOISE_MODES = ("none", "const", "random", "stream")

_U32 = (1 << 32) - 1
_SHIFT_MAX = 1000 * 1000000
_NONE = "none"
_TEXT = re.compile(
    r"seedpress-recipe/1\nmodel=([0-9a-f]{64})\nlatent=seed:([0-9]+)\npsi=(-?[0-9]+)\n"
    r"cutoff=([0-9]+)\nclass=(none|[0-9]+)\nnoise=(none|const|stream|random:[0-9]+)\n"
    r"transform=(none|tr:-?[0-9]+,-?[0-9]+,-?[0-9]+|m:[0-9a-f]{8}(?:,[0-9a-f]{8}){8})\n"
    r"size=([0-9]+)x([0-9]+):native\nformat=jpeg:q([0-9]+):420:baseline\n"
    r"mark=(none|xmp|c2pa)\nrev=([0-9]+)\n")


def _number(text: str, low: int, high: int) -> int:
    if len(text) > 11 or str(int(text)) != text or not low <= int(text) <= high:
        raise ValueError(text)
    return int(text)


def _bits(value: float) -> str:
    """Of the float32, -0 as 0."""
    return struct.pack(">f", value if value != 0 else 0.0).hex()


_IDENTITY = "m:" + ",".join(_bits(v) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1))


def transform_line(translate: Sequence[int] | None, rotate: int | None,
                   matrix: Sequence[float] | None) -> str:
    """As the recipe has it. Shifts and degrees are millionths."""
    if matrix is not None:
        line = "m:" + ",".join(map(_bits, matrix))
        return _NONE if line == _IDENTITY else line
    moved = [*(translate or (0, 0)), rotate or 0]
    return f"tr:{moved[0]},{moved[1]},{moved[2]}" if any(moved) else _NONE


def _check_transform(line: str) -> None:
    if line.startswith("tr:"):
        moved = [_number(part, -_SHIFT_MAX, _SHIFT_MAX) for part in line[3:].split(",")]
        if not any(moved):
            raise ValueError(line)
    elif line.startswith("m:"):
        parts = line[2:].split(",")
        if line == _IDENTITY or any(part == "80000000" or
                                    int(part, 16) & 0x7f800000 == 0x7f800000 for part in parts):
            raise ValueError(line)


def subject_of(model: str, seed: int, class_index: int | None) -> str:
    """The picture whatever its psi and encoding; what a withdrawal names."""
    klass = _NONE if class_index is None else class_index
    text = f"seedpress-subject/1\nmodel={model}\nlatent=seed:{seed}\nclass={klass}\n"
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Recipe:
    model: str
    """Digest."""
    seed: int
    psi: int
    """Millionths."""
    cutoff: int
    class_index: int | None
    noise_mode: str
    noise_seed: int | None
    transform: str
    width: int
    height: int
    quality: int
    mark: str
    rev: int

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Raises `Invalid` on a text that differs from a canonical one by a byte."""
        m = _TEXT.fullmatch(text)
        if not m:
            raise Invalid("this is no recipe")
        try:
            return cls._of_words(m.groups())
        except ValueError as why:
            raise Invalid(f"this is no recipe: {why}") from why

    @classmethod
    def _of_words(cls, words: Sequence[str]) -> Recipe:
        model, seed, psi, cutoff, klass, noise, transform, width, height, quality, mark, rev = words
        mode, _, noise_seed = noise.partition(":")
        _check_transform(transform)
        return cls(model=model, seed=_number(seed, 0, _U32), psi=_number(psi, -2000000, 2000000),
                   cutoff=_number(cutoff, 0, 64),
                   class_index=None if klass == _NONE else _number(klass, 0, 65535),
                   noise_mode=mode, noise_seed=_number(noise_seed, 0, _U32) if noise_seed else None,
                   transform=transform, width=_number(width, 1, 4096),
                   height=_number(height, 1, 4096), quality=_number(quality, 1, 100), mark=mark,
                   rev=_number(rev, 0, _U32))

    @property
    def text(self) -> str:
        klass = _NONE if self.class_index is None else self.class_index
        noise = self.noise_mode + (f":{self.noise_seed}" if self.noise_mode == "random" else "")
        return (f"seedpress-recipe/1\nmodel={self.model}\nlatent=seed:{self.seed}\npsi={self.psi}\n"
                f"cutoff={self.cutoff}\nclass={klass}\nnoise={noise}\n"
                f"transform={self.transform}\nsize={self.width}x{self.height}:native\n"
                f"format=jpeg:q{self.quality}:420:baseline\nmark={self.mark}\nrev={self.rev}\n")

    @property
    def key(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def subject(self) -> str:
        return subject_of(self.model, self.seed, self.class_index)


# ---- from a request to a recipe ----

@dataclass(frozen=True)
class Facts:
    """What of a model decides how a request becomes a recipe."""

    digest: str
    width: int
    height: int
    num_ws: int
    c_dim: int
    noise_modes: int
    has_transform: bool


def _resolve_class(asked: int | None, facts: Facts) -> int | None:
    if facts.c_dim == 0:
        return None
    if asked is None:
        raise ClassRequired(f"this model needs a class: 0..{facts.c_dim - 1}")
    if asked >= facts.c_dim:
        raise Range(f"class {asked} is out of range: the model has 0..{facts.c_dim - 1}")
    return asked


def _resolve_noise(asked: str | None, seed: int | None, facts: Facts) -> str:
    if seed is not None and asked != "random":
        raise Invalid("a noise seed goes with noise mode random only")
    if seed is None and asked == "random":
        raise Invalid("noise mode random needs a noise seed, 0..4294967295")
    if facts.noise_modes & ~1 == 0:
        return _NONE
    mode = asked or "const"
    if not facts.noise_modes >> NOISE_MODES.index(mode) & 1:
        raise Unsupported(f"noise mode {mode} is not supported for this model")
    return mode


def resolve(fields: dict[str, Any], facts: Facts) -> Recipe:
    """The recipe of a `generate` of one seed, whose fields are as `message.read` gives them. Raises
    what a broker would answer."""
    transform = transform_line(fields["translate"], fields["rotate"], fields["transform"])
    if transform != _NONE and not facts.has_transform:
        raise Unsupported("this model has no transform; only StyleGAN 3 models have one")
    cutoff = fields["cutoff"]
    if cutoff is None or cutoff > facts.num_ws or fields["psi"] == 1000000:
        cutoff = facts.num_ws
    mode = _resolve_noise(fields["noise_mode"], fields["noise_seed"], facts)
    return Recipe(model=facts.digest, seed=fields["seed"], psi=fields["psi"], cutoff=cutoff,
                  class_index=_resolve_class(fields["class"], facts), noise_mode=mode,
                  noise_seed=fields["noise_seed"] if mode == "random" else None,
                  transform=transform, width=facts.width, height=facts.height,
                  quality=fields["quality"], mark=fields["mark"] or "xmp", rev=fields["rev"])
