#!/usr/bin/python3
"""Holds client/gateway/openapi.json and a running gateway to each other:

    openapi_check.py ENDPOINT PICTURE < "METHODS PATTERN" lines of `seedpress-gateway --routes`

Each method of each path is asked, with good and with bad requests: the status must be one of those
that the file names, and the body must fit its schema. Every route must be in the file, and every
path of the file must be a route. Prints what does not hold; exits with 1 then."""
import http.client
import json
import re
import sys
import urllib.parse

import jsonschema

ENDPOINT, PICTURE = sys.argv[1:3]
with open("client/gateway/openapi.json", encoding="utf-8") as file:
    DOC = json.load(file)
HASH = "1" * 64
failures = []
asked = set()               # (path of the file, method, status)


def fail(words):
    failures.append(words)
    print(words)


def ask(method, target, body=None):
    connection = http.client.HTTPConnection(ENDPOINT, timeout=120)
    connection.request(method, target, body)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def resolve(node):
    while isinstance(node, dict) and "$ref" in node:
        at = DOC
        for name in node["$ref"].removeprefix("#/").split("/"):
            at = at[name]
        node = at
    return node


def path_of(target):
    """The path of the file that a URL belongs to: the one with the fewest parameters."""
    found = []
    for path in DOC["paths"]:
        pattern = re.sub(r"\\\{[a-z0-9_]+\\\}", "[^/]+", re.escape(path))
        if re.fullmatch(pattern, target.split("?")[0]):
            found.append(path)
    return min(found, key=lambda p: p.count("{")) if found else None


def check_parameters(operation, target, method):
    """A good request may only say what the file knows."""
    known = {resolve(p)["name"] for p in operation["parameters"]}
    for name in urllib.parse.parse_qs(target.partition("?")[2]):
        if name not in known:
            fail(f"{method} {target}: the file does not know the parameter {name}")


def check_headers(documented, answer, words):
    for name, header in documented.get("headers", {}).items():
        value = answer.headers.get(name)
        schema = header["schema"]
        if value is None:
            continue
        value = int(value) if schema.get("type") == "integer" else value
        try:
            jsonschema.Draft202012Validator(schema).validate(value)
        except jsonschema.ValidationError as e:
            fail(f"{words}: {name}: {e.message}")


def check_events(text, words):
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines and (len(lines) != 2 or not lines[0].startswith("event: ")):
            fail(f"{words}: an event is not like one: {block!r}")
        elif lines:
            json.loads(lines[1].removeprefix("data: "))


def check_body(documented, answer, data, words):
    kinds = documented.get("content", {})
    kind = (answer.headers.get("Content-Type") or "").split(";")[0]
    if not kinds:
        if data:
            fail(f"{words}: has a body, which the file does not know")
    elif kind not in kinds:
        fail(f"{words}: is {kind}, which the file does not know")
    elif kind == "application/json":
        schema = {"$ref": "#/s", "s": kinds[kind]["schema"], "components": DOC["components"]}
        for e in jsonschema.Draft202012Validator(schema).iter_errors(json.loads(data)):
            fail(f"{words}: {'/'.join(map(str, e.absolute_path))}: {e.message[:200]}")
    elif kind == "text/event-stream":
        check_events(data.decode(), words)


def check(method, target, wanted, body=None):
    """wanted: the status that it must be."""
    answer, data = ask(method, target, body)
    words = f"{method} {target}: {answer.status}"
    path = path_of(target)
    operation = DOC["paths"].get(path, {}).get(method.lower())
    if answer.status != wanted:
        fail(f"{words} and not {wanted}: {data[:300]!r}")
        return None
    if operation is None:           # what the file does not have must be refused
        if wanted not in (404, 405):
            fail(f"{words}: the file does not know it")
        return data
    documented = resolve(operation["responses"].get(str(answer.status)))
    asked.add((path, method.lower(), answer.status))
    if documented is None:
        fail(f"{words}: the file does not know this status")
        return data
    if answer.status < 400:
        check_parameters(operation, target, method)
    check_headers(documented, answer, words)
    if method != "HEAD":
        check_body(documented, answer, data, words)
    return data


def check_good():
    models = json.loads(check("GET", "/v1/models", 200))
    at = models["models"][0]["url"]
    name = "/v1/" + models["models"][0]["name"] + "/"
    with open(PICTURE, "rb") as picture:
        file = picture.read()
    for folder in at, name:
        for method in "GET", "HEAD":
            check(method, folder + "42.jpg", 200)
            check(method, folder + "42.jpg?psi=0.70", 308)
    check("GET", at + "random.jpg", 303)
    check("GET", at + "latest.jpg?every=60", 303)
    check("GET", at + "page?seed=1000&n=3&psi=0.7", 200)
    check("GET", at + "ladder?seed=42&from=0&to=1&steps=11", 200)
    check("GET", at + "events?seed=1000&n=3", 200)
    check("GET", "/v1/composite?items=" + models["models"][0]["name"] + ":3&seed=7", 200)
    check("POST", "/v1/verify", 200, file)
    check("POST", "/v1/provenance", 200, file)
    check("GET", "/v1/provenance?seed=1000&limit=2", 200)
    check("GET", "/v1/provenance?recipe=" + HASH, 200)
    check("GET", "/v1/openapi.json", 200)
    for page in "/livez", "/readyz", "/metrics":
        check("GET", page, 200)
    return at


def check_documented_parameters(at):
    """What the file names, the server knows."""
    for path, item in DOC["paths"].items():
        if "get" not in item:
            continue
        model = "/v1/{model}/"
        target = path.replace(model, at).replace("{seed}", "42")
        for parameter in map(resolve, item["get"]["parameters"]):
            name, schema = parameter["name"], resolve(parameter["schema"])
            value = parameter.get("example", schema.get("default", schema.get("minimum", HASH)))
            answer, data = ask("GET", f"{target}?{name}={value}")
            if parameter["in"] == "query" and b"there is no parameter" in data:
                fail(f"GET {target}: the server does not know the parameter {name}: {data!r}")


def check_bad(at):
    for what in ("42.jpg", "random.jpg", "latest.jpg", "page", "ladder", "events"):
        check("GET", "/v1/no-such-model/" + what, 404)
        check("GET", at + what + "?psi=9&from=9", 400)
        check("GET", at + what + "?what=1", 400)
        check("POST", at + what, 405, b"x")
    check("HEAD", "/v1/no-such-model/42.jpg", 404)
    check("GET", at + "4294967296.jpg", 400)
    check("GET", at + "latest.jpg?every=7", 400)
    check("GET", at + "page?n=101", 400)
    check("GET", "/v1/composite", 400)
    check("GET", "/v1/composite?items=no-such-model:1", 404)
    check("POST", "/v1/verify", 422, b"no picture")
    check("POST", "/v1/provenance", 422, b"no picture")
    check("GET", "/v1/provenance", 400)
    check("GET", "/v1/provenance?sha256=12", 400)
    check("GET", "/v1/verify", 404)     # a file of --sites might be called so
    check("DELETE", "/v1/models", 405)
    check("GET", "/v1/nothing", 404)


def check_routes(lines):
    """Both have the same paths and methods. HEAD goes with GET and is not told apart."""
    def plain(path):
        return re.sub(r"\{[a-z0-9_]+\}(\.jpg)?|\*", "*", path)

    described = {(method, plain(path)) for path, item in DOC["paths"].items()
                 for method in item if method != "head"}
    served = {(method.lower(), plain(pattern)) for methods, pattern in map(str.split, lines)
              for method in methods.split(",") if pattern != "/**"}     # files of --sites
    for method, path in sorted(served - described):
        fail(f"the route {method} {path} is not in the file")
    for method, path in sorted(described - served):
        fail(f"{method} {path} of the file is no route")


def check_all_asked():
    for path, item in DOC["paths"].items():
        for method in item:
            if not any(a[:2] == (path, method) and a[2] < 400 for a in asked):
                fail(f"{method} {path} was not answered once")


jsonschema.Draft202012Validator.check_schema(
    {"$defs": DOC["components"]["schemas"]})
check_routes([line for line in sys.stdin.read().splitlines() if line])
folder = check_good()
check_documented_parameters(folder)
check_bad(folder)
check_all_asked()
print(f"{len(asked)} answers, {len(failures)} failures")
sys.exit(1 if failures else 0)
