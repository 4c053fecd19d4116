#!/usr/bin/env python3
"""Writes messages.json and recipes.json anew; run in this folder after a change of the protocol.

It knows nothing of the C codec: msgpack comes from python3-msgpack, hashes from hashlib, canonical
texts from the few lines below, so that the C code has something to be held against. Tests never run
it: they compare what is committed. errors.json is written by hand."""
import hashlib
import json
import struct

import msgpack

MODEL = bytes(i * 7 % 256 for i in range(32)).hex()
HASH = hashlib.sha256(b"file").hexdigest()
CORE = hashlib.sha256(b"core").hexdigest()
CLASS = "cpu-fp32-avx2-1"
ENCODER = "libjpeg-turbo-2.1.5"
U32 = 4294967295
BIG = 1 << 53

LEFT_OUT = object()              # a field to be taken out of a good message

messages = []


def good(name, sender, kind, fields, message_id=7, canonical=True):
    """As seedpress writes it: the fields, then v, type and id."""
    m = dict(fields)
    m["v"] = 1
    m["type"] = kind
    if message_id:
        m["id"] = message_id
    entry = {"name": name, "from": sender, "hex": msgpack.packb(m).hex(), "decoded": m}
    if canonical:
        entry["canonical"] = True
    messages.append(entry)


def bad(name, sender, kind, fields, error, field=None, head=None):
    m = {"v": 1, "type": kind, "id": 7} if head is None else dict(head)
    m.update(fields)
    entry = {"name": name, "from": sender, "hex": msgpack.packb(m).hex(), "decoded": m, "error": error}
    if field:
        entry["field"] = field
    messages.append(entry)


def raw(name, sender, data, error):
    messages.append({"name": name, "from": sender, "hex": data.hex(), "error": error})


def recipe_text(seed=42, psi=700000, cutoff=10, klass="none", noise="const", transform="none",
                size="64x64", quality=90, mark="xmp", rev=0, model=MODEL):
    return (f"seedpress-recipe/1\nmodel={model}\nlatent=seed:{seed}\npsi={psi}\ncutoff={cutoff}\n"
            f"class={klass}\nnoise={noise}\ntransform={transform}\nsize={size}:native\n"
            f"format=jpeg:q{quality}:420:baseline\nmark={mark}\nrev={rev}\n")


def sha(text):
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def subject(seed, klass="none", model=MODEL):
    return sha(f"seedpress-subject/1\nmodel={model}\nlatent=seed:{seed}\nclass={klass}\n")


TEXT = recipe_text()

# ---- clients ----
good("a picture, nothing else said", "client", "generate", {"model": "avatars64", "seed": 42})
good("a picture with every option", "client", "generate", {
    "model": "cats@1a2b3c4d", "seed": U32, "psi": -1.3, "cutoff": 8, "class": 65535,
    "noise_mode": "random", "noise_seed": U32, "quality": 100, "mark": "none", "rev": 3,
    "priority": "high", "deadline_ms": 3600000, "want": "receipt", "cache": "bypass",
    "require_class": CLASS, "trace": "page-7", "for": "visitor-17"})
good("a shift and a turn", "client", "generate",
     {"model": "faces3", "seed": 42, "psi": 0.7, "translate": [0.25, -1000.0], "rotate": 45.5})
good("a shift of nought is one", "client", "generate",
     {"model": "faces3", "seed": 42, "translate": [0.0, 0.0]})
good("a turn of nought is one", "client", "generate", {"model": "faces3", "seed": 42, "rotate": 0.0})
good("shifts and turns as whole numbers", "client", "generate",
     {"model": "faces3", "seed": 42, "translate": [1, 0], "rotate": -90}, canonical=False)
good("a matrix", "client", "generate",
     {"model": "faces3", "seed": 42, "transform": [1.0, 0.0, 0.5, 0.0, -1.25, 0.0, 0.0, 0.0, 1.0]})
good("a matrix of no inverse", "client", "generate",
     {"model": "faces3", "seed": 42, "transform": [0.0] * 9})
good("a matrix that float32 holds only nearly", "client", "generate",
     {"model": "faces3", "seed": 42, "transform": [0.1, -1 / 3, 1e-50, 0, 1, 0, 0, 0, 1]},
     canonical=False)
good("a page of seeds as a list", "client", "generate",
     {"model": MODEL, "seeds": [5, 3, 3, U32], "psi": 0.7, "priority": "low"})
good("a page of seeds as a range", "client", "generate",
     {"model": "cats", "seeds": {"first": 100, "last": 155}}, canonical=False)
good("psi as a whole number", "client", "generate", {"model": "cats", "seed": 1, "psi": 2},
     canonical=False)
good("psi nought and cutoff nought are not defaults", "client", "generate",
     {"model": "cats", "seed": 0, "psi": 0.0, "cutoff": 0, "class": 0, "noise_mode": "none"})
good("defaults may be sent", "client", "generate",
     {"model": "cats", "seed": 1, "psi": 1.0, "quality": 90, "rev": 0, "priority": "normal",
      "deadline_ms": 10000, "want": "image", "cache": "use"}, canonical=False)
good("nil is absent", "client", "generate",
     {"model": "cats", "seed": 1, "seeds": None, "psi": None, "class": None, "trace": None},
     canonical=False)
good("unknown fields are ignored", "client", "generate",
     {"model": "cats", "seed": 1, "colour": "red", "later": {"list": [1, [2.5, None]]}},
     canonical=False)
good("no id", "client", "ping", {}, message_id=0)
good("the largest id", "client", "ping", {}, message_id=BIG)
good("cancel", "client", "cancel", {"request": 7}, message_id=8)
good("look up by file", "client", "lookup", {"sha256": HASH})
good("look up by core", "client", "lookup", {"core_sha256": CORE, "limit": 1})
good("look up by recipe", "client", "lookup", {"recipe_key": sha(TEXT), "limit": 100})
good("look up by seed", "client", "lookup", {"model": "cats", "seed": 42, "psi": 0.7})
good("look up a seed in all models at psi nought", "client", "lookup", {"seed": 42, "psi": 0.0})
good("look up pictures of a bulk job", "client", "lookup", {"job": 12, "first": 1000, "limit": 100})
good("look up what is new of a model", "client", "lookup", {"model": "cats", "since": 1795305600})
good("look up what looks alike", "client", "lookup", {"like": "00ff12ab34cd56ef" * 2})
good("fetch by recipe", "client", "fetch", {"recipe_key": sha(TEXT)})
good("fetch by file", "client", "fetch", {"sha256": HASH})
good("models", "client", "models", {})
good("bind a name", "client", "model_use", {"name": "cats", "digest": "1a2b3c4d"})
good("status", "client", "status", {})
good("a picture of a bulk job that is not to be kept", "client", "generate", {
    "model": "cats", "seed": 1, "priority": "low", "keep": "provenance", "job": 12})
good("a bulk job", "client", "bulk_submit", {"name": "cats-1m", "keep": "provenance", "priority": "normal",
     "chunk": 500, "parts": [
         {"model": "cats", "first": 0, "last": 999999, "psi": 0.7, "class_mod": 10},
         {"model": "cats", "first": U32, "last": U32, "cutoff": 8, "class": 3, "noise_mode": "random",
          "noise_seed": 5, "translate": [0.25, 0.0], "rotate": 15.0, "quality": 95, "mark": "none",
          "rev": 2}]})
good("a bulk job tried only", "client", "bulk_submit",
     {"name": "a", "dry": True, "parts": [{"model": "cats", "first": 7, "last": 7, "transform": [1.0] * 9}]})
good("bulk jobs by name", "client", "bulk_list", {"name": "cats-1m", "limit": 1})
good("bulk jobs", "client", "bulk_list", {})
good("a bulk job's parts", "client", "bulk_show", {"job": 12, "after": 0})
good("pause a bulk job", "client", "bulk_control", {"job": 12, "action": "pause"})
good("an exporter's shard", "client", "bulk_exported", {"job": 12, "first": 10000, "count": 10000})
good("an exporter's sign of life", "client", "bulk_exported", {"job": 12})
good("withdraw", "client", "withdraw", {"recipe_key": sha(TEXT), "reason": "somebody asked"})

# ---- the broker to clients ----
image = {"seed": 42, "psi": 0.7, "model": MODEL, "recipe_key": sha(TEXT), "sha256": HASH,
         "core_sha256": CORE, "recipe": TEXT, "numerics_class": CLASS, "encoder": ENCODER, "run": 3,
         "bytes": 5120, "source": "render", "queue_ms": 1, "render_ms": 30, "encode_ms": 2,
         "store_ms": 4, "batch": 16}
good("an image; the JPEG is the next frame", "broker", "image", image)
good("an image that was stored, with a warning", "broker", "image", {
    **{k: v for k, v in image.items() if not k.endswith("_ms") and k != "batch"},
    "source": "ledger", "warning": "class has no effect on an unconditional model"})
good("a receipt", "broker", "receipt", image)
good("an error of one picture of several", "broker", "error", {
    "code": "overloaded", "message": "the broker holds 20000 requests, which is its limit",
    "retry": True, "retry_after_ms": 1000, "seed": 0})
good("an error of a whole request", "broker", "error",
     {"code": "unknown_model", "message": "unknown model \"cat\"; known: cats, avatars64"})
good("done", "broker", "done", {"count": 56, "failed": 2})
good("done with nothing", "broker", "done", {})
good("provenance", "broker", "provenance", {"rows": [
    {"recipe_key": sha(TEXT), "sha256": HASH, "core_sha256": CORE, "recipe": TEXT,
     "model": "avatars64", "numerics_class": CLASS, "encoder": ENCODER, "run": 3, "batch": 16,
     "bytes": 5120, "kept": True, "created": "2026-11-22T05:06:07.089Z", "worker": "host:17:1",
     "version": "0.1.0", "backend": "cpu", "device": "a processor", "libraries": "zlib 1.2.13"},
    {"recipe_key": sha(TEXT), "sha256": HASH, "core_sha256": CORE, "recipe": TEXT,
     "withdrawn": True, "driver": "535.1"}]})
good("nothing is known", "broker", "provenance", {})
good("models that are there", "broker", "model_list", {"models": [
    {"name": "avatars64", "digest": MODEL, "arch": "stylegan2", "licence": "CC0-1.0", "width": 64,
     "height": 64, "num_ws": 10, "z_dim": 512, "w_dim": 512, "c_dim": 10, "noise_modes": 3,
     "bound": True, "workers": 2},
    {"digest": HASH, "width": 1024, "height": 1024, "num_ws": 16, "has_transform": True}]})
good("status of a busy broker", "broker", "status_report", {
    "version": "0.1.0", "uptime_ms": 86400000, "ledger_up": True, "looking_up": 1, "queued_high": 2,
    "queued_normal": 3, "queued_low": 4, "held": 5, "rendering": 6, "committing": 7, "waiters": 28,
    "submitted": 1000, "answered": 960, "failed": 8, "cancelled": 4, "joined": 20, "ledger_hits": 300,
    "retried": 1, "late": 1,
    "workers": [{"worker": "host:17:1", "numerics_class": CLASS, "device": "a processor", "run": 3,
                 "credit": 32, "leased": 18, "rendered": 660, "backlog_ms": 250, "silent_ms": 120},
                {"worker": "host:18:1", "draining": True}]})
good("status of an idle broker", "broker", "status_report", {"draining": True})
good("pong", "broker", "pong", {})
good("a bulk job's report", "broker", "bulk_report", {"jobs": [
    {"job": 12, "name": "cats-1m", "state": "paused", "keep": "provenance", "priority": "normal",
     "chunk": 500, "total": 1000001, "done": 5000, "failed": 1, "rendering": 500, "exporter_ms": 0,
     "picture_us": 2500, "picture_bytes": 30000, "created": "2026-11-22T05:06:07.089Z",
     "finished": "2026-11-23T05:06:07.089Z"}], "is_new": True})
good("no bulk jobs", "broker", "bulk_report", {})
good("a bulk job's plan", "broker", "bulk_plan", {
    "jobs": [{"job": 12, "state": "done"}],
    "parts": [{"first": 5, "last": 9, "recipe": TEXT},
              {"item": 5, "last": 9, "class_mod": 10, "recipe": TEXT}],
    "failures": [{"item": 6, "seed": 1, "code": "poison", "message": "the render failed 3 times"}]})
good("a withdrawal", "broker", "withdrawal", {"subject": HASH, "pictures": 2, "files": 1, "rows": [
    {"recipe_key": sha(TEXT), "sha256": HASH, "core_sha256": CORE, "recipe": TEXT, "withdrawn": True,
     "job": 12},
    {"recipe_key": sha(TEXT), "sha256": HASH, "core_sha256": CORE, "recipe": TEXT, "distance": 3}]})

# ---- workers ----
good("ready", "worker", "ready", {
    "worker": "host:17:1", "run": 3, "version": "0.1.0", "numerics_class": CLASS, "encoder": ENCODER,
    "device": "a processor", "credit": 32, "models": [
        {"name": "avatars64", "digest": MODEL, "arch": "stylegan2", "licence": "CC0-1.0", "width": 64,
         "height": 64, "num_ws": 10, "z_dim": 512, "w_dim": 512, "noise_modes": 3}]}, message_id=0)
good("ready without models", "worker", "ready",
     {"worker": "w", "numerics_class": "c", "credit": 0, "models": []}, message_id=0)
good("credit", "worker", "credit", {"credit": 16}, message_id=0)
good("a worker's heartbeat", "worker", "heartbeat", {
    "credit": 32, "held": 18, "started": 700, "rendered": 660, "stored": 655, "backlog_ms": 250,
    "ledger_up": True}, message_id=0)
good("a broker's heartbeat", "broker", "heartbeat", {"demand": 56}, message_id=0)
good("started", "worker", "started", {"leases": [101, 102, 103]}, message_id=0)
good("rendered", "worker", "rendered", {"leases": [101, 102, 103]}, message_id=0)
good("results; the JPEGs are the next frame, one after the other", "worker", "results", {
    "results": [
        {"lease": 101, "recipe_key": sha(TEXT), "sha256": HASH, "core_sha256": CORE,
         "numerics_class": CLASS, "encoder": ENCODER, "run": 3, "render_us": 30123,
         "encode_us": 1999, "store_us": 4100, "batch": 16, "bytes": 5120},
        {"lease": 102, "recipe_key": sha(TEXT), "sha256": HASH, "core_sha256": CORE,
         "numerics_class": CLASS, "encoder": ENCODER, "bytes": 1, "want": "receipt"}]}, message_id=0)
good("fail", "worker", "fail",
     {"lease": 102, "code": "device", "message": "the picture holds NaN"}, message_id=0)
good("handback", "worker", "handback", {"leases": [BIG]}, message_id=0)
good("bye", "worker", "bye", {}, message_id=0)

# ---- the broker to workers ----
good("introduce", "broker", "introduce", {}, message_id=0)
good("jobs", "broker", "jobs", {"jobs": [
    {"lease": 101, "recipe": TEXT, "priority": "high", "deadline_ms": 9990},
    {"lease": 102, "recipe": TEXT, "priority": "low", "deadline_ms": 0, "alone": True},
    {"lease": 103, "recipe": TEXT, "want": "receipt", "keep": "refill", "bulk": 12}]}, message_id=0)
good("recall", "broker", "recall", {"leases": [103]}, message_id=0)
good("drain", "broker", "drain", {}, message_id=0)

# ---- refused: values ----
generate = {"model": "cats", "seed": 1}


def generate_bad(name, change, error, field=None):
    m = {**generate, **change}
    bad(name, "client", "generate", {k: v for k, v in m.items() if v is not LEFT_OUT}, error, field)


generate_bad("a seed below nought", {"seed": -1}, "range", "seed")
generate_bad("a seed beyond 32 bits", {"seed": U32 + 1}, "range", "seed")
generate_bad("a seed beyond 63 bits", {"seed": (1 << 64) - 1}, "range", "seed")
generate_bad("a seed that is a float", {"seed": 1.0}, "invalid", "seed")
generate_bad("a seed that is text", {"seed": "1"}, "invalid", "seed")
generate_bad("psi above two", {"psi": 2.000001}, "range", "psi")
generate_bad("psi below minus two", {"psi": -2.1}, "range", "psi")
generate_bad("psi with seven places", {"psi": 0.7000001}, "range", "psi")
generate_bad("psi that is a third", {"psi": 1 / 3}, "range", "psi")
generate_bad("psi that is text", {"psi": "0.7"}, "invalid", "psi")
generate_bad("a cutoff below nought", {"cutoff": -1}, "range", "cutoff")
generate_bad("a class that no model has", {"class": 65536}, "range", "class")
generate_bad("an unknown noise mode", {"noise_mode": "fixed"}, "invalid", "noise_mode")
generate_bad("a noise seed beyond 32 bits", {"noise_seed": U32 + 1}, "range", "noise_seed")
generate_bad("a shift along one axis", {"translate": [0.5]}, "range", "translate")
generate_bad("a shift along three axes", {"translate": [0.5, 0.5, 0.5]}, "range", "translate")
generate_bad("a shift along none", {"translate": []}, "range", "translate")
generate_bad("a shift beyond 1000", {"translate": [0.0, 1000.000001]}, "range", "translate")
generate_bad("a shift with seven places", {"translate": [0.0000001, 0.0]}, "range", "translate")
generate_bad("a shift that is a number", {"translate": 0.5}, "invalid", "translate")
generate_bad("a shift of text", {"translate": ["0.5", "0.5"]}, "invalid", "translate")
generate_bad("a turn beyond 1000 degrees", {"rotate": -1000.5}, "range", "rotate")
generate_bad("a turn that is a list", {"rotate": [45]}, "invalid", "rotate")
generate_bad("a matrix of eight numbers", {"transform": [1.0] * 8}, "range", "transform")
generate_bad("a matrix of ten numbers", {"transform": [1.0] * 10}, "range", "transform")
generate_bad("a matrix in three rows", {"transform": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "range",
             "transform")
generate_bad("a matrix of rows", {"transform": [[1]] * 9}, "invalid", "transform")
generate_bad("a matrix beyond float32", {"transform": [1e39] + [0.0] * 8}, "range", "transform")
generate_bad("a matrix that is text", {"transform": "1,0,0,0,1,0,0,0,1"}, "invalid", "transform")
generate_bad("a matrix and a shift", {"transform": [1.0] * 9, "translate": [0.5, 0.0]}, "invalid")
generate_bad("a matrix and a turn of nought", {"transform": [1.0] * 9, "rotate": 0.0}, "invalid")
generate_bad("quality nought", {"quality": 0}, "range", "quality")
generate_bad("a deadline of nought", {"deadline_ms": 0}, "range", "deadline_ms")
generate_bad("a deadline beyond an hour", {"deadline_ms": 3600001}, "range", "deadline_ms")
generate_bad("an unknown priority", {"priority": "urgent"}, "invalid", "priority")
generate_bad("no model", {"model": LEFT_OUT}, "invalid", "model")
generate_bad("model nil", {"model": None}, "invalid", "model")
generate_bad("an empty model", {"model": ""}, "range", "model")
generate_bad("a model of 161 bytes", {"model": "m" * 161}, "range", "model")
generate_bad("a model that is not ASCII", {"model": "k\u00e4tzchen"}, "invalid", "model")
generate_bad("a model with a tab", {"model": "cats\t"}, "invalid", "model")
generate_bad("neither seed nor seeds", {"seed": LEFT_OUT}, "invalid")
generate_bad("both seed and seeds", {"seeds": [1]}, "invalid")
generate_bad("an empty list of seeds", {"seed": LEFT_OUT, "seeds": []}, "invalid")
generate_bad("1001 seeds", {"seed": LEFT_OUT, "seeds": list(range(1001))}, "range", "seeds")
generate_bad("a range of 1001 seeds", {"seed": LEFT_OUT, "seeds": {"first": 0, "last": 1000}}, "range",
             "seeds")
generate_bad("a range that runs backwards", {"seed": LEFT_OUT, "seeds": {"first": 2, "last": 1}}, "range",
             "seeds")
generate_bad("a range without an end", {"seed": LEFT_OUT, "seeds": {"first": 2}}, "invalid", "seeds")
generate_bad("seeds that are one number", {"seed": LEFT_OUT, "seeds": 5}, "invalid", "seeds")
generate_bad("seeds with text among them", {"seed": LEFT_OUT, "seeds": [1, "2"]}, "invalid", "seeds")
bad("a lookup of nothing", "client", "lookup", {}, "invalid")
bad("a lookup of two things", "client", "lookup", {"seed": 1, "sha256": HASH}, "invalid")
bad("a lookup of a file in a model", "client", "lookup", {"sha256": HASH, "model": "cats"}, "invalid")
bad("a lookup without an end", "client", "lookup", {"seed": 1, "limit": 101}, "range", "limit")
bad("a lookup of two new things", "client", "lookup", {"job": 1, "since": 1}, "invalid")
bad("a lookup that begins nowhere", "client", "lookup", {"seed": 1, "first": 1}, "invalid")
bad("a lookup by half a window", "client", "lookup", {"like": "00ff12ab34cd56ef"}, "invalid")
bad("a lookup by 73 windows", "client", "lookup", {"like": "0" * 32 * 73}, "range", "like")
bad("a bulk job without a name", "client", "bulk_submit", {"parts": [{"model": "c", "first": 0, "last": 1}]},
    "invalid", "name")
bad("a bulk job without parts", "client", "bulk_submit", {"name": "a", "parts": []}, "invalid")
bad("a bulk job without an end", "client", "bulk_submit",
    {"name": "a", "parts": [{"model": "c", "first": 0}]}, "invalid", "last")
bad("a bulk job of a seed beyond 32 bits", "client", "bulk_submit",
    {"name": "a", "parts": [{"model": "c", "first": 0, "last": U32 + 1}]}, "range", "last")
bad("a bulk job that refills", "client", "bulk_submit",
    {"name": "a", "keep": "refill", "parts": [{"model": "c", "first": 0, "last": 1}]}, "invalid", "keep")
bad("a bulk job of 1001 parts", "client", "bulk_submit",
    {"name": "a", "parts": [{"model": "c", "first": 0, "last": 1}] * 1001}, "range", "parts")
bad("a bulk job that runs backwards", "client", "bulk_submit",
    {"name": "a", "parts": [{"model": "c", "first": 2, "last": 1}]}, "range")
bad("a bulk job with two classes", "client", "bulk_submit",
    {"name": "a", "parts": [{"model": "c", "first": 0, "last": 1, "class": 1, "class_mod": 2}]}, "invalid")
bad("a bulk job with a matrix and a turn", "client", "bulk_submit",
    {"name": "a", "parts": [{"model": "c", "first": 0, "last": 1, "transform": [1.0] * 9, "rotate": 1.0}]},
    "invalid")
bad("a withdrawal of two things", "client", "withdraw",
    {"recipe_key": HASH, "sha256": HASH, "reason": "r"}, "invalid")
bad("an action on bulk jobs that is not known", "client", "bulk_control", {"job": 1, "action": "stop"},
    "invalid", "action")
bad("a bulk job of number nought", "client", "bulk_show", {"job": 0}, "range", "job")
bad("a withdrawal without a reason", "client", "withdraw", {"recipe_key": HASH}, "invalid", "reason")
bad("a withdrawal of nothing", "client", "withdraw", {"reason": "r"}, "invalid")
bad("a digest in upper case", "client", "fetch", {"sha256": HASH.upper()}, "invalid", "sha256")
bad("a digest that is short", "client", "fetch", {"sha256": HASH[:63]}, "invalid", "sha256")
bad("a fetch of two things", "client", "fetch", {"sha256": HASH, "recipe_key": HASH}, "invalid")
bad("three hex digits", "client", "model_use", {"name": "cats", "digest": "1a2"}, "range", "digest")
bad("a cancel of nothing", "client", "cancel", {}, "invalid", "request")
bad("4097 leases", "worker", "started", {"leases": [1] * 4097}, "range", "leases")
bad("a lease of nought", "worker", "started", {"leases": [0]}, "range", "leases")
bad("a result without its hash", "worker", "results", {"results": [
    {"lease": 1, "recipe_key": HASH, "core_sha256": CORE, "numerics_class": "c", "encoder": "e",
     "bytes": 1}]}, "invalid", "sha256")
bad("a result without bytes", "worker", "results", {"results": [
    {"lease": 1, "recipe_key": HASH, "sha256": HASH, "core_sha256": CORE, "numerics_class": "c",
     "encoder": "e", "bytes": 0}]}, "range", "bytes")
bad("65 jobs", "broker", "jobs", {"jobs": [{"lease": 1, "recipe": "r"}] * 65}, "range", "jobs")
bad("a job that is no map", "broker", "jobs", {"jobs": [1]}, "invalid", "jobs")
bad("a job without a recipe", "broker", "jobs", {"jobs": [{"lease": 1}]}, "invalid", "recipe")
bad("a model without a digest", "worker", "ready",
    {"worker": "w", "numerics_class": "c", "credit": 1, "models": [{"name": "cats"}]}, "invalid",
    "digest")

# ---- refused: heads ----
bad("no version", "client", "ping", {}, "invalid", "v", {"type": "ping", "id": 7})
bad("another version", "client", "ping", {}, "version", None, {"v": 2, "type": "ping", "id": 7})
bad("version nought", "client", "ping", {}, "version", None, {"v": 0, "type": "ping"})
bad("a version that is text", "client", "ping", {}, "invalid", "v", {"v": "1", "type": "ping"})
bad("no type", "client", "ping", {}, "invalid", "type", {"v": 1, "id": 7})
bad("an unknown type", "client", "progress", {}, "unknown_type")
bad("a type in upper case", "client", "PING", {}, "unknown_type")
bad("a worker's type from a client", "client", "ready",
    {"worker": "w", "numerics_class": "c", "credit": 1, "models": []}, "unknown_type")
bad("a client's type from a worker", "worker", "ping", {}, "unknown_type")
bad("a broker's type from a client", "client", "pong", {}, "unknown_type")
bad("an id below nought", "client", "ping", {}, "invalid", "id", {"v": 1, "type": "ping", "id": -1})
bad("an id beyond 2^53", "client", "ping", {}, "invalid", "id",
    {"v": 1, "type": "ping", "id": BIG + 1})
bad("an id that is text", "client", "ping", {}, "invalid", "id", {"v": 1, "type": "ping", "id": "7"})

# ---- refused: bytes ----
ping = msgpack.packb({"v": 1, "type": "ping"})
raw("no bytes", "client", b"", "invalid")
raw("half a message", "client", ping[:-1], "invalid")
raw("bytes after the message", "client", ping + b"\xc0", "invalid")
raw("two messages in one frame", "client", ping + ping, "invalid")
raw("no map", "client", msgpack.packb(["v", 1]), "invalid")
raw("a byte that msgpack never uses", "client", b"\xc1", "invalid")
raw("a list that claims four thousand million items", "client", b"\xdd\xff\xff\xff\xff", "invalid")
raw("a map that claims four thousand million entries", "client", b"\xdf\xff\xff\xff\xff", "invalid")
raw("a text that claims more than there is", "client", b"\x81\xa1v\xdb\xff\xff\xff\xff", "invalid")
raw("five deep", "client", msgpack.packb({"v": 1, "type": "ping", "x": [[[[]]]]}), "invalid")
raw("a hundred deep", "client", b"\x81\xa1x" + b"\x91" * 100 + b"\xc0", "invalid")
raw("text sent as bytes", "client",
    msgpack.packb({"v": 1, "type": "generate", "model": b"cats", "seed": 1}), "invalid")
for word, value in (("NaN", float("nan")), ("infinity", float("inf"))):
    raw(f"a matrix with {word}", "client", msgpack.packb(
        {"v": 1, "type": "generate", "model": "faces3", "seed": 1, "transform": [value] * 9}), "range")
    raw(f"a shift by {word}", "client", msgpack.packb(
        {"v": 1, "type": "generate", "model": "faces3", "seed": 1, "translate": [0.5, value]}), "range")
raw("JSON", "client", b'{"v": 1, "type": "ping"}', "invalid")
raw("HTTP", "client", b"GET / HTTP/1.1\r\n\r\n", "invalid")

with open("messages.json", "w", encoding="ascii") as f:
    f.write("[\n" + ",\n".join(json.dumps(m) for m in messages) + "\n]\n")

# ---- recipes ----
PLAIN = {"digest": MODEL, "width": 64, "height": 64, "num_ws": 10, "c_dim": 0, "noise_modes": 3,
         "has_transform": False}
FULL = {"digest": HASH, "width": 1024, "height": 512, "num_ws": 18, "c_dim": 1000, "noise_modes": 15,
        "has_transform": True}
NO_NOISE = {**PLAIN, "noise_modes": 1}

resolve, refused = [], []


def makes(name, facts, request, warning=False, **text):
    klass = text.get("klass", "none")
    text = recipe_text(model=facts["digest"], size=f"{facts['width']}x{facts['height']}", **text)
    entry = {"name": name, "request": request, "facts": facts, "text": text, "key": sha(text),
             "subject": subject(request["seed"], klass, facts["digest"])}
    if warning:
        entry["warning"] = True
    resolve.append(entry)


def refuses(name, facts, request, error):
    resolve.append({"name": name, "request": request, "facts": facts, "error": error})


def matrix_of(values):
    """As the recipe writes it: the bits of the nearest float32, -0 as 0."""
    bits = [struct.pack(">f", v).hex() for v in values]
    return "m:" + ",".join("00000000" if b == "80000000" else b for b in bits)


makes("only a seed", PLAIN, {"seed": 42}, seed=42, psi=1000000)
makes("C2PA, whether or not a worker can sign", PLAIN, {"seed": 1, "mark": "c2pa"}, seed=1,
      psi=1000000, mark="c2pa")
makes("psi 0.7", PLAIN, {"seed": 42, "psi": 0.7})
makes("the largest seed, the smallest psi", PLAIN, {"seed": U32, "psi": -2}, seed=U32, psi=-2000000)
makes("six places", PLAIN, {"seed": 0, "psi": -0.000001}, seed=0, psi=-1)
makes("psi nought keeps its seed", PLAIN, {"seed": 9, "psi": 0}, seed=9, psi=0)
makes("a cutoff", PLAIN, {"seed": 42, "psi": 0.7, "cutoff": 4}, cutoff=4)
makes("a cutoff of nought", PLAIN, {"seed": 42, "psi": 0.7, "cutoff": 0}, cutoff=0)
makes("a cutoff of all rows", PLAIN, {"seed": 42, "psi": 0.7, "cutoff": 10})
makes("a cutoff beyond all rows is all rows", PLAIN, {"seed": 42, "psi": 0.7, "cutoff": 64})
makes("with psi 1 any cutoff is all rows", PLAIN, {"seed": 42, "psi": 1, "cutoff": 4}, psi=1000000)
makes("a class is dropped where there are none", PLAIN, {"seed": 42, "psi": 0.7, "class": 3},
      warning=True)
makes("no noise", PLAIN, {"seed": 42, "psi": 0.7, "noise_mode": "none"}, noise="none")
makes("noise const is said", PLAIN, {"seed": 42, "psi": 0.7, "noise_mode": "const"})
makes("a model without noise inputs", NO_NOISE, {"seed": 42, "psi": 0.7}, noise="none")
makes("a model without noise inputs ignores the mode", NO_NOISE,
      {"seed": 42, "psi": 0.7, "noise_mode": "random", "noise_seed": 5}, noise="none", warning=True)
makes("quality, mark and rev", PLAIN,
      {"seed": 42, "psi": 0.7, "quality": 1, "mark": "none", "rev": U32}, quality=1, mark="none",
      rev=U32)
makes("a class", FULL, {"seed": 42, "psi": 0.7, "class": 999}, cutoff=18, klass=999)
makes("class nought", FULL, {"seed": 42, "psi": 0.7, "class": 0}, cutoff=18, klass=0)
makes("random noise", FULL, {"seed": 42, "psi": 0.7, "class": 1, "noise_mode": "random",
                             "noise_seed": U32}, cutoff=18, klass=1, noise=f"random:{U32}")
makes("the stream of noise", FULL, {"seed": 42, "psi": 0.7, "class": 1, "noise_mode": "stream"},
      cutoff=18, klass=1, noise="stream")
makes("the stream of noise, with a cutoff", FULL,
      {"seed": 42, "psi": 0.7, "cutoff": 8, "class": 1, "noise_mode": "stream"}, cutoff=8, klass=1,
      noise="stream")
makes("a model without noise inputs ignores the stream", NO_NOISE,
      {"seed": 42, "psi": 0.7, "noise_mode": "stream"}, noise="none", warning=True)
makes("neither classes nor noise", NO_NOISE,
      {"seed": 42, "psi": 0.7, "class": 3, "noise_mode": "stream"}, noise="none", warning=True)

ALIAS_FREE = {**NO_NOISE, "num_ws": 16, "has_transform": True}


def moves(name, written, facts=ALIAS_FREE, **request):
    makes(name, facts, {"seed": 42, "psi": 0.7, **request}, cutoff=facts["num_ws"], noise="none",
          transform=written)


matrix = [1, 0, 0.5, 0, -1.25, 0, 0, 0, 1]
fine = [0.1, -1 / 3, 1e-50, 16777217, 3.4028234e38, -1e-60, -0.7, 0.30000000000000004, 1]
makes("a shift and a turn", FULL, {"seed": 42, "psi": 0.7, "class": 1, "translate": [0.25, -1000],
                                   "rotate": 45}, cutoff=18, klass=1,
      transform="tr:250000,-1000000000,45000000")
moves("a shift alone", "tr:0,-1,0", translate=[0, -0.000001])
moves("a turn alone", "tr:0,0,-90500000", rotate=-90.5)
moves("a whole turn is a turn", "tr:0,0,360000000", rotate=360)
moves("no shift and no turn is no transform", "none", translate=[0, 0], rotate=0)
moves("no shift is no transform", "none", translate=[0, 0])
moves("a model without transforms may be asked for none", "none", NO_NOISE, translate=[0, 0],
      rotate=0)
moves("a matrix", matrix_of(matrix), transform=matrix)
moves("a matrix that float32 holds only nearly", matrix_of(fine), transform=fine)
moves("a matrix of no inverse", matrix_of([0] * 9), transform=[0] * 9)
moves("minus nought in a matrix is nought", matrix_of([2] + [0] * 8), transform=[2] + [-0.0] * 8)
moves("the identity is no transform", "none", transform=[1, 0, 0, 0, 1, 0, 0, 0, 1])
moves("the identity with minus nought is no transform", "none",
      transform=[1, -0.0, 0, 0, 1, 0, 0, -0.0, 1])

refuses("psi above two", PLAIN, {"seed": 1, "psi": 2.000001}, "range")
refuses("psi below minus two", PLAIN, {"seed": 1, "psi": -2.000001}, "range")
refuses("a cutoff beyond any model", PLAIN, {"seed": 1, "cutoff": 65}, "range")
refuses("no class for a conditional model", FULL, {"seed": 1}, "class_required")
refuses("a class that it does not have", FULL, {"seed": 1, "class": 1000}, "range")
refuses("a noise mode that it does not have", PLAIN, {"seed": 1, "noise_mode": "stream"},
        "unsupported")
refuses("random noise without a seed", FULL, {"seed": 1, "class": 1, "noise_mode": "random"},
        "invalid")
refuses("a noise seed without random noise", FULL, {"seed": 1, "class": 1, "noise_seed": 5},
        "invalid")
refuses("quality nought", PLAIN, {"seed": 1, "quality": 0}, "range")
refuses("quality 101", PLAIN, {"seed": 1, "quality": 101}, "range")
refuses("random noise without a seed where nothing reads noise", NO_NOISE,
        {"seed": 1, "noise_mode": "random"}, "invalid")
refuses("a noise seed with the stream", FULL,
        {"seed": 1, "class": 1, "noise_mode": "stream", "noise_seed": 5}, "invalid")
refuses("a shift for a model without a transform", PLAIN, {"seed": 1, "translate": [0.000001, 0]},
        "unsupported")
refuses("a turn for a model without a transform", PLAIN, {"seed": 1, "rotate": 360}, "unsupported")
refuses("a matrix for a model without a transform", PLAIN, {"seed": 1, "transform": matrix},
        "unsupported")
refuses("a shift beyond 1000", FULL, {"seed": 1, "class": 1, "translate": [0, 1000.000001]}, "range")
refuses("a turn beyond 1000 degrees", FULL, {"seed": 1, "class": 1, "rotate": -1000.000001}, "range")


def no_text(name, old, new, text=TEXT):
    assert old in text
    refused.append({"name": name, "text": text.replace(old, new, 1)})


no_text("another version", "recipe/1", "recipe/2")
no_text("a digest in upper case", MODEL, MODEL.upper())
no_text("a digest that is short", MODEL, MODEL[:-1])
no_text("a leading zero", "seed:42", "seed:042")
no_text("a sign", "psi=700000", "psi=+700000")
no_text("minus nought", "psi=700000", "psi=-0")
no_text("a decimal", "psi=700000", "psi=0.7")
no_text("psi beyond two", "psi=700000", "psi=2000001")
no_text("a seed beyond 32 bits", "seed:42", "seed:4294967296")
no_text("a cutoff beyond any model", "cutoff=10", "cutoff=65")
no_text("a class beyond any model", "class=none", "class=65536")
no_text("an unknown noise mode", "noise=const", "noise=fixed")
no_text("random noise without a seed", "noise=const", "noise=random")
written = matrix_of(matrix)
no_text("a matrix with infinity", "transform=none", "transform=" + written[:-8] + "7f800000")
no_text("a matrix with NaN", "transform=none", "transform=" + written[:-8] + "ffc00000")
no_text("a matrix in upper case", "transform=none",
        "transform=" + written.replace("bfa00000", "BFA00000"))
no_text("a matrix of eight numbers", "transform=none", "transform=" + written[:-9])
no_text("a matrix with minus nought", "transform=none",
        "transform=" + written.replace("00000000", "80000000", 1))
no_text("the identity", "transform=none", "transform=" + matrix_of([1, 0, 0, 0, 1, 0, 0, 0, 1]))
no_text("no shift and no turn", "transform=none", "transform=tr:0,0,0")
no_text("a shift with a decimal", "transform=none", "transform=tr:0.25,0,0")
no_text("a shift by minus nought", "transform=none", "transform=tr:-0,0,1")
no_text("a shift beyond 1000", "transform=none", "transform=tr:1000000001,0,0")
no_text("a shift without a turn", "transform=none", "transform=tr:1,0")
no_text("a noise seed beyond 32 bits", "noise=const", "noise=random:4294967296")
no_text("a stream with a seed", "noise=const", "noise=stream:5")
no_text("no picture", "size=64x64", "size=0x64")
no_text("another format", "jpeg:q90:420", "jpeg:q90:444")
no_text("an unknown mark", "mark=xmp", "mark=exif")
no_text("a line that is missing", "class=none\n", "")
no_text("a line that comes twice", "class=none\n", "class=none\nclass=none\n")
no_text("lines in another order", "psi=700000\ncutoff=10\n", "cutoff=10\npsi=700000\n")
no_text("an unknown line", "rev=0\n", "rev=0\nmore=1\n")
no_text("no LF at the end", "rev=0\n", "rev=0")
no_text("an empty line at the end", "rev=0\n", "rev=0\n\n")
no_text("CR LF", "seedpress-recipe/1\n", "seedpress-recipe/1\r\n")
no_text("a blank", "psi=700000", "psi= 700000")
no_text("nothing at all", TEXT, "")

with open("recipes.json", "w", encoding="ascii") as f:
    f.write("{\"resolve\": [\n" + ",\n".join(json.dumps(r) for r in resolve) +
            "\n],\n\"refused_texts\": [\n" + ",\n".join(json.dumps(r) for r in refused) + "\n]}\n")
