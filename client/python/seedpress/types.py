"""What calls give, and what some of them take."""
from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict

from .errors import Invalid, SeedpressError
from .recipe import Facts

if TYPE_CHECKING:
    import numpy
    import numpy.typing
    import PIL.Image

NoiseMode = Literal["none", "const", "random", "stream"]
Mark = Literal["none", "xmp", "c2pa"]
Priority = Literal["high", "normal", "low"]
Source = Literal["render", "ledger", "memory"]
Keep = Literal["image", "provenance", "refill"]
BulkState = Literal["running", "paused", "cancelled", "done"]
BulkAction = Literal["pause", "resume", "cancel"]
Grade = Literal["exact", "exact (metadata differs)", "no record"]


class Options(TypedDict, total=False):
    """What a picture may be asked for with, besides model, seed and psi."""

    cutoff: int | None
    """psi reaches this many rows of w, 0..64; None: all."""
    class_index: int | None
    """Conditional models require one."""
    noise_mode: NoiseMode | None
    """None: const where the model has noise."""
    noise_seed: int | None
    """With noise mode random, which requires it."""
    translate: tuple[float, float] | None
    """StyleGAN 3: x and y in widths and heights of the picture."""
    rotate: float | None
    """StyleGAN 3: degrees."""
    transform: Sequence[float] | None
    """StyleGAN 3: nine numbers, row by row, instead of translate and rotate."""
    quality: int
    """Of the JPEG: 90; 1..100."""
    mark: Mark | None
    """None: xmp."""
    rev: int
    """0."""


class RequestOptions(Options, total=False):
    """And how it is asked for."""

    priority: Priority
    """normal."""
    deadline_ms: int
    """10000; 1..3600000, from now."""
    want: Literal["image", "receipt"]
    """image; a receipt is an image without its bytes."""
    cache: Literal["use", "only", "bypass"]
    """use; only: nothing is rendered; bypass: rendered even when stored (the stored picture still
    wins)."""
    require_class: str
    """Numerics class that must have made the picture."""
    trace: str
    """Goes into the broker's log."""
    visitor: str
    """From a proxy: whom it speaks for, who then takes turns of his own. Needs the role proxy or
    admin."""
    keep: Keep
    """image; provenance: a new picture's file is not stored; refill: a file that its row has lost
    is put back."""
    job: int
    """Bulk job that it belongs to."""


@dataclass(frozen=True)
class Rendered:
    """What a new render gave where a picture was stored before: that one is the answer, and may
    differ."""

    sha256: str
    core_sha256: str
    numerics_class: str
    run: int
    levels: int | None
    """Largest difference of a pixel from the stored picture's, 0..255; None: not compared."""
    psnr: float | None
    """In dB, 99 at most."""


@dataclass(frozen=True)
class Image:
    """One picture. Its bytes, recipe and seed agree with each other and with what was asked."""

    data: bytes = field(repr=False)
    """The JPEG; of a receipt b""."""
    size: int
    """Bytes of the file, also of a receipt."""
    seed: int
    psi: float
    model: str
    """Digest."""
    recipe: str = field(repr=False)
    """Canonical text."""
    recipe_key: str
    """SHA-256 of recipe."""
    sha256: str
    """Of the file."""
    core_sha256: str
    """Of the file without APPn and COM segments."""
    numerics_class: str
    """The arithmetic that made the pixels."""
    encoder: str
    run: int
    """The worker's start in the ledger."""
    source: Source
    """ledger, memory: nothing was rendered for this answer."""
    queue_ms: int
    render_ms: int
    encode_ms: int
    store_ms: int
    batch: int
    """Pictures rendered together."""
    warning: str
    """Something asked for had no effect; "": everything had."""
    rendered: Rendered | None

    def __bytes__(self) -> bytes:
        return self._file()

    def _file(self) -> bytes:
        if not self.data:
            raise Invalid(f"the receipt of seed {self.seed} has no bytes: ask with want=\"image\"")
        return self.data

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file, which appears whole or not at all; one that is there is replaced."""
        data = self._file()
        folder, name = os.path.split(os.fspath(path))
        temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def pil(self) -> PIL.Image.Image:
        """The picture for Pillow, decoded; needs Pillow."""
        from PIL import Image as PillowImage

        picture = PillowImage.open(io.BytesIO(self._file()))
        picture.load()
        return picture

    def array(self) -> numpy.typing.NDArray[numpy.uint8]:
        """The pixels as uint8 [height, width, 3]; needs NumPy and Pillow."""
        import numpy

        return numpy.asarray(self.pil().convert("RGB"))


@dataclass(frozen=True)
class Result:
    """How one of several pictures ended: with image or with error, never both."""

    seed: int
    image: Image | None = None
    error: SeedpressError | None = None

    def get(self) -> Image:
        """The image, or raises the error."""
        if self.error:
            raise self.error
        assert self.image
        return self.image


@dataclass(frozen=True)
class Row:
    """What the ledger knows of one picture."""

    seed: int
    psi: float
    model: str
    """Digest."""
    model_name: str
    """Bound to it now, "" if none is."""
    recipe: str = field(repr=False)
    recipe_key: str
    sha256: str
    core_sha256: str
    numerics_class: str
    encoder: str
    run: int
    batch: int
    size: int
    """Bytes of the file."""
    kept: bool
    """fetch would give the bytes."""
    withdrawn: bool
    created: str
    """ISO 8601, UTC."""
    worker: str
    version: str
    backend: str
    device: str
    driver: str
    libraries: str
    job: int
    """Bulk job that had it made; 0: none."""
    distance: int | None
    """Of a look-up by like: bits that differ."""


@dataclass(frozen=True)
class Provenance:
    grade: Grade | None
    """How a file was found; None: something else was asked for. "no record" does not mean that a
    camera made it."""
    rows: list[Row]

    def __bool__(self) -> bool:
        return bool(self.rows)


@dataclass(frozen=True)
class Model:
    name: str
    """"" when no name is bound to it."""
    digest: str
    arch: str
    licence: str
    width: int
    height: int
    num_ws: int
    z_dim: int
    w_dim: int
    c_dim: int
    """Classes; 0: unconditional."""
    noise_modes: int
    """Bits: 1 none, 2 const, 4 random, 8 stream."""
    has_transform: bool
    bound: bool
    """The ledger binds name to this digest."""
    workers: int
    """Live ones that have it."""

    @property
    def facts(self) -> Facts:
        return Facts(self.digest, self.width, self.height, self.num_ws, self.c_dim,
                     self.noise_modes, self.has_transform)


@dataclass(frozen=True)
class Worker:
    worker: str
    """Host, process, start."""
    numerics_class: str
    device: str
    run: int
    credit: int
    leased: int
    rendered: int
    backlog_ms: int
    silent_ms: int
    draining: bool


@dataclass(frozen=True)
class Status:
    """A broker's; what each figure means is in proto/PROTOCOL.md, `status_report`."""

    version: str
    uptime_ms: int
    ledger_up: bool
    draining: bool
    looking_up: int
    queued_high: int
    queued_normal: int
    queued_low: int
    held: int
    rendering: int
    committing: int
    waiters: int
    submitted: int
    answered: int
    failed: int
    cancelled: int
    joined: int
    ledger_hits: int
    retried: int
    late: int
    memory_hits: int
    memory_bytes: int
    refused: int
    expired: int
    poison: int
    workers_lost: int
    clients: int
    clients_dropped: int
    denied: int
    malformed: int
    oldest_ms: int
    wait_p50_ms: int
    wait_p99_ms: int
    workers: list[Worker]


@dataclass(frozen=True)
class Withdrawal:
    subject: str
    pictures: int
    """Rows of the subject."""
    files: int
    """Files that were there till now."""
    rows: list[Row]
    """The newest of them."""


@dataclass(frozen=True)
class Part:
    """Seeds first to last of a bulk job, all with the same options."""

    model: str
    first: int
    last: int
    psi: float = 1.0
    class_mod: int = 0
    """Class is seed % class_mod; 0: class_index of options says it."""
    options: Options = field(default_factory=lambda: Options())


@dataclass(frozen=True)
class Job:
    job: int
    """Its number; 0: it was only tried."""
    name: str
    state: BulkState
    keep: Literal["image", "provenance"]
    priority: Priority
    chunk: int
    total: int
    done: int
    failed: int
    rendering: int
    exporter_ms: int | None
    """Since an exporter was heard; None: never."""
    picture_us: int
    picture_bytes: int
    created: str
    finished: str


@dataclass(frozen=True)
class Submitted:
    job: Job
    is_new: bool
    """False: the same submission was there before."""


@dataclass(frozen=True)
class PlanRange:
    """Item n of a job is seed first + n - item of the last range whose item is not above n."""

    item: int
    first: int
    last: int
    class_mod: int
    recipe: str
    """Of seed first."""


@dataclass(frozen=True)
class Failure:
    item: int
    seed: int
    code: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What a job is made of."""

    job: Job
    ranges: list[PlanRange]
    failures: list[Failure]
