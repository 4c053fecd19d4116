"""What brokers say, believed only as far as it agrees with itself and with what was asked, then
made into what calls give."""
from __future__ import annotations

import hashlib
from typing import Any

from .errors import Bug, Invalid
from .message import Fields
from .recipe import Recipe, transform_line
from .types import (Failure, Image, Job, Model, Plan, PlanRange, Rendered, Row, Status,
                    Submitted, Withdrawal, Worker)

_OTHER_PICTURE = "the broker sent another picture than the one asked for"
_DAMAGED_RECIPE = "the broker sent a damaged recipe: it does not have the hash named with it"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _recipe_of(fields: Fields) -> Recipe:
    text = fields["recipe"]
    if sha256(text.encode()) != fields["recipe_key"]:
        raise Bug(_DAMAGED_RECIPE)
    try:
        return Recipe.parse(text)
    except Invalid as why:
        raise Bug(_DAMAGED_RECIPE) from why


# ---- pictures ----

def check_image(fields: Fields, file: bytes | None) -> Recipe:
    """Whether the file (None: a receipt) and the recipe have the hashes that the map names."""
    if file is not None and not file:
        raise Bug("the broker sent a picture without its bytes")
    if file is not None and sha256(file) != fields["sha256"]:
        raise Bug("the broker sent a damaged picture: its bytes do not have the hash named with "
                  "them")
    recipe = _recipe_of(fields)
    if (recipe.seed, recipe.psi, recipe.model) != (fields["seed"], fields["psi"], fields["model"]):
        raise Bug("the broker sent a picture whose recipe is of another one")
    return recipe


def _is_model_asked(digest: str, asked: str) -> bool:
    """"cats@1a2b" and a whole digest name the model itself; a bare name may be bound to any."""
    _, at, digits = asked.partition("@")
    if not at and len(asked) != 64:
        return True
    return digest.startswith(digits if at else asked)


def check_asked(recipe: Recipe, asked: Fields, seed: int) -> None:
    """Whether the picture is the one that was asked for. Some models have no classes and no noise:
    what was asked is then none; a cutoff may have become the number of the model's rows."""
    noise = (recipe.noise_mode, recipe.noise_seed)
    transform = transform_line(asked["translate"], asked["rotate"], asked["transform"])
    if not (recipe.seed == seed and recipe.psi == asked["psi"] and recipe.rev == asked["rev"] and
            recipe.quality == asked["quality"] and recipe.mark == (asked["mark"] or "xmp") and
            _is_model_asked(recipe.model, asked["model"]) and
            recipe.class_index in (asked["class"], None) and
            noise in ((asked["noise_mode"] or "const", asked["noise_seed"]), ("none", None)) and
            (asked["cutoff"] is None or recipe.cutoff <= asked["cutoff"] or
             asked["psi"] == 1000000) and
            recipe.transform == transform):
        raise Bug(_OTHER_PICTURE)


def image_of(fields: Fields, file: bytes | None) -> Image:
    rendered = None
    if fields["rendered_sha256"]:
        psnr = fields["rendered_psnr"]
        rendered = Rendered(sha256=fields["rendered_sha256"],
                            core_sha256=fields["rendered_core_sha256"] or "",
                            numerics_class=fields["rendered_class"], run=fields["rendered_run"],
                            levels=fields["rendered_levels"],
                            psnr=None if psnr is None else psnr / 1000000)
    same = ("seed", "model", "recipe", "recipe_key", "sha256", "core_sha256", "numerics_class",
            "encoder", "run", "source", "queue_ms", "render_ms", "encode_ms", "store_ms", "batch",
            "warning")
    return Image(data=file or b"", size=fields["bytes"] if file is None else len(file),
                 psi=fields["psi"] / 1000000, rendered=rendered,
                 **{name: fields[name] for name in same})


def fetched(fields: Fields, file: bytes | None, asked: Fields) -> Image:
    check_image(fields, file or b"")
    if asked["recipe_key"] != fields["recipe_key"] and asked["sha256"] != fields["sha256"]:
        raise Bug(_OTHER_PICTURE)
    return image_of(fields, file)


# ---- rows ----

def _row_of(fields: Fields, asked: Fields) -> Row:
    recipe = _recipe_of(fields)
    wanted = {key: asked.get(key) for key in ("recipe_key", "sha256", "core_sha256")}
    if (asked.get("seed") not in (None, recipe.seed) or
            asked.get("psi") not in (None, recipe.psi) or
            any(value not in (None, fields[key]) for key, value in wanted.items())):
        raise Bug("the broker sent another row than those asked for")
    rest = {name: value for name, value in fields.items() if name not in ("model", "bytes")}
    return Row(seed=recipe.seed, psi=recipe.psi / 1000000, model=recipe.model,
               model_name=fields["model"], size=fields["bytes"], **rest)


def rows_of(fields: Fields, asked: Fields) -> list[Row]:
    return [_row_of(row, asked) for row in fields["rows"]]


def withdrawal_of(fields: Fields) -> Withdrawal:
    return Withdrawal(fields["subject"], fields["pictures"], fields["files"], rows_of(fields, {}))


# ---- models and brokers ----

def models_of(fields: Fields) -> list[Model]:
    return [Model(**model) for model in fields["models"]]


def status_of(fields: Fields) -> Status:
    return Status(**dict(fields, workers=[Worker(**worker) for worker in fields["workers"]]))


# ---- bulk jobs ----

def jobs_of(fields: Fields) -> list[Job]:
    return [Job(**job) for job in fields["jobs"]]


def job_of(fields: Fields) -> Job:
    jobs = jobs_of(fields)
    if len(jobs) != 1:
        raise Bug(f"the broker told of {len(jobs)} jobs where one was meant")
    return jobs[0]


def submitted_of(fields: Fields) -> Submitted:
    return Submitted(job_of(fields), fields["is_new"])


def _check_ranges(plan: Plan) -> None:
    item = 0
    for part in plan.ranges:
        if part.item != item or part.first > part.last:
            raise Bug("the broker sent a job whose parts have gaps")
        try:
            seed: Any = Recipe.parse(part.recipe).seed
        except Invalid:
            seed = None
        if seed != part.first:
            raise Bug("the broker sent a job with a damaged recipe")
        item += part.last - part.first + 1
    if item != plan.job.total:
        raise Bug("the broker sent a job whose parts are not all of it")


def _check_failures(plan: Plan, after: int) -> None:
    ranges = iter(plan.ranges)
    part = next(ranges, None)
    for failure in plan.failures:
        while part and failure.item > part.item + part.last - part.first:
            part = next(ranges, None)
        if not part or failure.item <= after or (
                failure.seed != part.first + failure.item - part.item):
            raise Bug("the broker sent failures that the job cannot have")
        after = failure.item


def plan_of(fields: Fields, asked: Fields) -> Plan:
    """Each item is named once: who uses a plan counts on that."""
    if len(fields["jobs"]) != 1 or fields["jobs"][0]["job"] != asked["job"]:
        raise Bug("the broker sent another job than the one asked for")
    plan = Plan(job_of(fields), [PlanRange(**part) for part in fields["parts"]],
                [Failure(**failure) for failure in fields["failures"]])
    _check_ranges(plan)
    _check_failures(plan, -1 if asked["after"] is None else asked["after"])
    return plan
