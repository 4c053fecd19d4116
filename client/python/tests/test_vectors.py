"""proto/vectors, replayed both ways; this package's tables beside the page that states them."""
from __future__ import annotations

import json
import re
from typing import Any

import kit
import pytest
import seedpress
from seedpress import errors, message, recipe, tables

# What only workers hear is none of a client's types.
WORKERS = {"heartbeat", "introduce", "jobs", "recall", "drain"}


def read(name: str) -> Any:
    return json.loads((kit.VECTORS / name).read_text("ascii"))


def vectors(sender: str) -> list[Any]:
    """Each once, with its name for pytest."""
    chosen = [v for v in read("messages.json") if v["from"] == sender and
              v.get("decoded", {}).get("type") not in WORKERS]
    return [pytest.param(v, id=v["name"]) for v in chosen]


def decode(vector: Any) -> message.Message:
    table = tables.FROM_CLIENT if vector["from"] == "client" else tables.FROM_BROKER
    return message.decode(bytes.fromhex(vector["hex"]), table)


@pytest.mark.parametrize("vector", vectors("client") + vectors("broker"))
def test_a_message_is_read_or_refused_as_the_vectors_say(vector: Any) -> None:
    if "error" in vector:
        with pytest.raises(seedpress.SeedpressError) as refused:
            decode(vector)
        assert refused.value.word == vector["error"]
        if "field" in vector:
            assert f'"{vector["field"]}"' in refused.value.message
        return
    said = decode(vector)
    assert said.type == vector["decoded"]["type"]
    assert said.id == vector["decoded"].get("id", 0)
    written = message.write(said.type, said.fields, said.id,
                            tables.FROM_CLIENT if vector["from"] == "client"
                            else tables.FROM_BROKER)
    if vector.get("canonical"):
        assert written == bytes.fromhex(vector["hex"])


def test_a_worker_message_is_none_of_ours() -> None:
    heard = [v for v in read("messages.json") if v["from"] == "broker" and "error" not in v and
             v["decoded"]["type"] in WORKERS]
    assert heard
    for vector in heard:
        with pytest.raises(seedpress.UnknownType):
            decode(vector)


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"])
                                    for v in read("recipes.json")["resolve"]])
def test_a_request_becomes_its_recipe(vector: Any) -> None:
    def resolve() -> recipe.Recipe:
        fields = message.read("generate", {"model": "any", **vector["request"]})
        return recipe.resolve(fields, recipe.Facts(**vector["facts"]))

    if "error" in vector:
        with pytest.raises(errors.BY_WORD[vector["error"]]):
            resolve()
        return
    made = resolve()
    assert (made.text, made.key, made.subject) == (vector["text"], vector["key"], vector["subject"])
    assert recipe.Recipe.parse(vector["text"]) == made


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"])
                                    for v in read("recipes.json")["refused_texts"]])
def test_a_text_that_is_no_recipe_is_refused(vector: Any) -> None:
    with pytest.raises(seedpress.Invalid):
        recipe.Recipe.parse(vector["text"])


def test_the_errors_are_those_of_the_table() -> None:
    ours = [{"number": kind.code, "code": kind.word, "words": kind.words,
             "http_status": kind.http_status, "exit_code": kind.exit_code, "retry": kind.retry}
            for kind in errors.BY_WORD.values()]
    assert ours == read("errors.json")[1:]
    for kind in errors.BY_WORD.values():
        assert kind.__name__ == kind.word.title().replace("_", "")
        assert getattr(seedpress, kind.__name__) is kind


def test_an_error_of_a_newer_broker_is_a_bug_with_its_own_word() -> None:
    error = errors.error_of("too_warm", "the device is too warm", True, 500, 7)
    assert isinstance(error, seedpress.Bug)
    assert (error.word, error.message, error.retry, error.retry_after_ms, error.seed) == (
        "too_warm", "the device is too warm", True, 500, 7)
    assert seedpress.Bug().word == "bug"


# ---- PROTOCOL.md ----

def page_tables() -> dict[tuple[str, ...], list[list[str]]]:
    """(type,) or (type, field) to the rows of its table, of what clients send and receive."""
    page = (kit.ROOT / "proto" / "PROTOCOL.md").read_text("ascii")
    page = page[page.index("## What clients send"):page.index("## What workers send")]
    found: dict[tuple[str, ...], list[list[str]]] = {}
    for line in page.splitlines():
        if line.startswith("#### "):
            name, kind = re.findall("`([^`]*)`", line)
            rows = found[kind, name] = []
        elif line.startswith("### "):
            rows = found[line.split("`")[1],] = []
        elif line.startswith("| `"):
            rows.append([cell.strip() for cell in line.strip("| ").split(" | ")])
    return found


def as_on_the_page(field: tables.Field) -> list[str]:
    unit = 1000000 if "number" in field.kind else 1
    bounds = f"{field.low // unit}..{field.high // unit}"
    words = " ".join(f"`{word}`" for word in field.words)
    spans = {"int": bounds, "number": bounds, "text": f"{bounds} bytes", "word": words,
             "digest": "64 hex digits", "bool": "true, false",
             "seeds": f"at most {field.most} of {bounds}", "list of maps": f"at most {field.most}",
             "list of number": f"{field.most} of {bounds}",
             "list of float": f"{field.most}, finite"}
    default = "-" if field.default in (None, "", ()) else str(field.default)
    if field.kind == "number" and field.default is not None:
        default = str(field.default // unit)
    if field.kind == "word" and field.default:
        default = f"`{field.default}`"
    if field.kind == "bool":
        default = "false"
    return [f"`{field.name}`", field.kind, spans[field.kind],
            "required" if field.required else default]


def our_tables() -> dict[tuple[str, ...], list[list[str]]]:
    ours: dict[tuple[str, ...], list[list[str]]] = {}
    for kind, fields in {**tables.FROM_CLIENT, **tables.FROM_BROKER}.items():
        ours[kind,] = [as_on_the_page(field) for field in fields]
        for field in fields:
            if field.sub:
                ours[kind, field.name] = [as_on_the_page(part) for part in field.sub]
    return ours


def test_the_fields_are_those_of_the_page() -> None:
    page = {key: [row[:4] for row in rows] for key, rows in page_tables().items()}
    assert our_tables() == page
