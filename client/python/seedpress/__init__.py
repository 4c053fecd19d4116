"""Pictures by (model, seed, psi) from a seedpress broker, and where they came from.

    import seedpress

    with seedpress.Seedpress() as sp:
        sp.generate("avatars64", 42, psi=0.7).save("42.jpg")
"""
from .aio import AsyncPictures, AsyncSeedpress
from .calls import DEFAULT_BROKER, resolve
from .client import Pictures, Seedpress
from .errors import *  # noqa: F403
from .errors import __all__ as _ERRORS
from .recipe import Recipe
from .types import (Failure, Image, Job, Model, Options, Part, Plan, PlanRange, Provenance,
                    Rendered, RequestOptions, Result, Row, Status, Submitted, Withdrawal, Worker)

__version__ = "0.1.0"

__all__ = ["AsyncPictures", "AsyncSeedpress", "DEFAULT_BROKER", "Failure", "Image", "Job", "Model",
           "Options", "Part", "Pictures", "Plan", "PlanRange", "Provenance", "Recipe", "Rendered",
           "RequestOptions", "Result", "Row", "Seedpress", "Status", "Submitted", "Withdrawal",
           "Worker", "resolve"]
__all__ += _ERRORS
