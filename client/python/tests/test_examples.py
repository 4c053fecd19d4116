"""What is shown to users: the examples as they stand, the code of the pages; types; packaging."""
from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import kit
import pytest
from conftest import Stack
from seedpress import Seedpress

HERE = kit.ROOT / "client" / "python"
EXAMPLES = HERE / "examples"


def environment(stack: Stack) -> dict[str, str]:
    return dict(os.environ, PYTHONPATH=str(HERE), SEEDPRESS_BROKER=stack.clients,
                PYTHONDONTWRITEBYTECODE="1")


def run(stack: Stack, folder: Path, *arguments: str) -> str:
    ran = subprocess.run([sys.executable, "-W", "error", *arguments], cwd=folder, check=True,
                         stdout=subprocess.PIPE, text=True, env=environment(stack), timeout=120)
    return ran.stdout


def test_five_lines_are_enough_for_a_picture(stack: Stack, tmp_path: Path) -> None:
    told = run(stack, tmp_path, str(EXAMPLES / "five_lines.py"))
    assert (tmp_path / "42.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert told.startswith("42 ")


def test_a_hundred_seeds_are_saved_as_they_come(stack: Stack, tmp_path: Path) -> None:
    assert run(stack, tmp_path, str(EXAMPLES / "hundred.py")) == ""
    files = sorted(os.listdir(tmp_path / "pictures"))
    assert files == [f"seed0{seed}.jpg" for seed in range(100, 200)]


def test_the_site_serves_pictures_and_errors(stack: Stack, tmp_path: Path) -> None:
    site = subprocess.Popen([sys.executable, str(EXAMPLES / "site.py"), "0"], cwd=tmp_path,
                            stdout=subprocess.PIPE, text=True, env=environment(stack))
    assert site.stdout
    try:
        assert select.select([site.stdout], [], [], kit.PATIENCE_S)[0]
        address = site.stdout.readline().strip()
        with urllib.request.urlopen(address, timeout=60) as answer:
            file = answer.read()
        with Seedpress(stack.clients) as sp:
            assert sp.generate("avatars64", 42, 0.7).data == file
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address.replace("42.jpg", "99999999999.jpg"), timeout=60)
        assert refused.value.code == 400
        refused.value.close()
    finally:
        site.terminate()
        site.wait(kit.PATIENCE_S)
        site.stdout.close()


def code_of(page: Path) -> list[str]:
    return re.findall(r"```python\n(import seedpress.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", [HERE / "README.md", kit.ROOT / "client" / "README.md"],
                         ids=["client/python/README.md", "client/README.md"])
def test_the_code_of_the_pages_runs(stack: Stack, tmp_path: Path, page: Path) -> None:
    pieces = code_of(page)
    assert pieces
    for piece in pieces:
        run(stack, tmp_path, "-c", piece)
    assert (tmp_path / "42.jpg").exists()


def test_the_types_hold() -> None:
    ran = subprocess.run(["mypy", "--cache-dir", os.devnull, "--config-file", "pyproject.toml",
                          "seedpress", "examples", "tests"], cwd=HERE, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    assert ran.returncode == 0, ran.stdout


def test_every_module_has_its_row_in_the_readme() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (HERE / "README.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    modules = {path.stem for path in (HERE / "seedpress").glob("*.py")} - {"__init__"}
    assert modules <= named


def test_the_version_is_that_of_the_rest() -> None:
    import seedpress

    wanted = re.search(r"^## ([0-9.]+)", (kit.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = re.search(r'^version = "(.*)"', (HERE / "pyproject.toml").read_text(), re.MULTILINE)
    assert wanted and project and seedpress.__version__ == project[1] == wanted[1]


def test_the_package_builds_and_holds_every_module(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        (source / name).write_bytes((HERE / name).read_bytes())
    package = source / "seedpress"
    package.mkdir()
    for path in (HERE / "seedpress").iterdir():
        if path.is_file():
            (package / path.name).write_bytes(path.read_bytes())
    script = "import setuptools.build_meta as b, sys; print(b.build_sdist(sys.argv[1]))"
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=source, check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    name = ran.stdout.splitlines()[-1]
    listed = subprocess.run(["tar", "-tzf", str(tmp_path / name)], check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    for path in (HERE / "seedpress").iterdir():
        if path.is_file():
            assert f"seedpress/{path.name}\n" in listed
