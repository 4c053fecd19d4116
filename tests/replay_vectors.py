#!/usr/bin/python3
"""Replays proto/vectors without a line of seedpress's own code, as an implementer elsewhere would:
replay_vectors.py FOLDER. Needs python3-msgpack. The last line says how many vectors held."""
import hashlib
import json
import re
import struct
import sys

import msgpack

LIMITS = {"psi": 2000000, "seed": 4294967295, "rev": 4294967295, "noise_seed": 4294967295}
NOISE = ["none", "const", "random", "stream"]


def read(folder, name):
    with open(f"{folder}/{name}", encoding="ascii") as f:
        return json.load(f)


def check_message(vector, codes):
    data = bytes.fromhex(vector["hex"])
    assert vector["from"] in ("client", "broker", "worker")
    assert ("error" in vector) or ("decoded" in vector)
    if "error" in vector:
        assert vector["error"] in codes
    if "decoded" in vector:
        got = msgpack.unpackb(data, strict_map_key=False)
        assert got == vector["decoded"], got
        assert [type(v) for v in got.values()] == [type(v) for v in vector["decoded"].values()]
    if vector.get("canonical"):      # the same order of entries packs to the same bytes
        assert msgpack.packb(vector["decoded"]) == data


def sha256(text):
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def lines_of(text):
    return dict(line.split("=", 1) for line in text.splitlines()[1:])


def float_hex(v):
    bits = struct.pack(">f", v).hex()
    return "00000000" if bits == "80000000" else bits


IDENTITY = [float_hex(v) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)]


def transform_of(q):
    """The line of the recipe, or None: out of range."""
    if "transform" in q:
        bits = [float_hex(v) for v in q["transform"]]
        return "none" if bits == IDENTITY else "m:" + ",".join(bits)
    moved = [round(v * 1000000) for v in [*q.get("translate", [0, 0]), q.get("rotate", 0)]]
    if any(abs(v) > 1000000000 for v in moved):
        return None
    return "tr:" + ",".join(map(str, moved)) if any(moved) else "none"


def resolve(q, f):
    """PROTOCOL.md, "The recipe", from the page alone: the text, or the word of an error."""
    psi = round(q.get("psi", 1) * 1000000)
    cutoff = q.get("cutoff")
    mode = q.get("noise_mode")
    quality = q.get("quality", 90)
    transform = transform_of(q)
    if abs(psi) > LIMITS["psi"] or not (cutoff is None or 0 <= cutoff <= 64):
        return "range"
    if not 1 <= quality <= 100:
        return "range"
    if transform != "none" and not f["has_transform"]:
        return "unsupported"
    if transform is None:
        return "range"
    if cutoff is None or cutoff > f["num_ws"] or psi == 1000000:
        cutoff = f["num_ws"]
    klass = "none"
    if f["c_dim"]:
        if "class" not in q:
            return "class_required"
        if q["class"] >= f["c_dim"]:
            return "range"
        klass = q["class"]
    if ("noise_seed" in q) != (mode == "random"):
        return "invalid"
    if f["noise_modes"] == 1:
        noise = "none"
    else:
        mode = mode or "const"
        if not f["noise_modes"] >> NOISE.index(mode) & 1:
            return "unsupported"
        noise = f"random:{q['noise_seed']}" if mode == "random" else mode
    return (f"seedpress-recipe/1\nmodel={f['digest']}\nlatent=seed:{q['seed']}\npsi={psi}\n"
            f"cutoff={cutoff}\nclass={klass}\nnoise={noise}\ntransform={transform}\n"
            f"size={f['width']}x{f['height']}:native\nformat=jpeg:q{quality}:420:baseline\n"
            f"mark={q.get('mark', 'xmp')}\nrev={q.get('rev', 0)}\n")


def check_recipe(vector, codes):
    got = resolve(vector["request"], vector["facts"])
    if "error" in vector:
        assert vector["error"] in codes
        assert got == vector["error"], got
        return
    assert got == vector["text"], got
    assert sha256(got) == vector["key"]
    line = lines_of(got)
    assert vector["subject"] == sha256(f"seedpress-subject/1\nmodel={line['model']}\n"
                                       f"latent={line['latent']}\nclass={line['class']}\n")


def is_number(text, low, high):
    return re.fullmatch(r"0|-?[1-9][0-9]*", text) is not None and low <= int(text) <= high


def is_matrix(text):
    parts = text.split(",")
    return len(parts) == 9 and parts != IDENTITY and all(
        re.fullmatch(r"[0-9a-f]{8}", p) and p != "80000000" and
        int(p, 16) & 0x7F800000 != 0x7F800000 for p in parts)


def is_recipe(text):
    """The strict reading of a text, from the page alone."""
    m = re.fullmatch(r"seedpress-recipe/1\nmodel=([0-9a-f]{64})\nlatent=seed:([^\n]*)\npsi=([^\n]*)\n"
                     r"cutoff=([^\n]*)\nclass=([^\n]*)\nnoise=([^\n]*)\ntransform=([^\n]*)\n"
                     r"size=([^\nx]*)x([^\n:]*):native\nformat=jpeg:q([^\n:]*):420:baseline\n"
                     r"mark=(none|xmp|c2pa)\nrev=([^\n]*)\n", text)
    if not m:
        return False
    _, seed, psi, cutoff, klass, noise, transform, width, height, quality, _, rev = m.groups()
    u32 = LIMITS["seed"]
    is_noise = noise in ("none", "const", "stream") or (
        noise.startswith("random:") and is_number(noise[7:], 0, u32))
    is_shift = (transform.startswith("tr:") and transform != "tr:0,0,0" and
                transform.count(",") == 2 and
                all(is_number(v, -1000000000, 1000000000) for v in transform[3:].split(",")))
    return (is_number(seed, 0, u32) and is_number(psi, -2000000, 2000000) and
            is_number(cutoff, 0, 64) and (klass == "none" or is_number(klass, 0, 65535)) and is_noise and
            (transform == "none" or is_shift or
             (transform.startswith("m:") and is_matrix(transform[2:]))) and
            is_number(width, 1, 4096) and is_number(height, 1, 4096) and is_number(quality, 1, 100) and
            is_number(rev, 0, u32))


def check_texts(recipes):
    for vector in recipes["resolve"]:
        assert "error" in vector or is_recipe(vector["text"])
    for vector in recipes["refused_texts"]:
        assert not is_recipe(vector["text"]), vector["name"]


def main(folder):
    errors = read(folder, "errors.json")
    messages = read(folder, "messages.json")
    recipes = read(folder, "recipes.json")
    codes = {e["code"] for e in errors}
    failed = 0

    assert len(codes) == len(errors) and [e["number"] for e in errors] == list(range(len(errors)))
    for check, vectors in ((check_message, messages), (check_recipe, recipes["resolve"])):
        for vector in vectors:
            try:
                check(vector, codes)
            except AssertionError as e:
                failed += 1
                print(f"{vector['name']}: {e}", file=sys.stderr)
    check_texts(recipes)
    print(f"{len(messages)} messages, {len(recipes['resolve'])} recipes, "
          f"{len(recipes['refused_texts'])} refused texts, {len(errors)} errors: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
