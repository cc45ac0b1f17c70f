"""The project's files agree with each other: CI, the commit hook, the citation, the package's metadata."""

import re
import tomllib

import yaml

from omni_clst.settings import REPOSITORY


def read(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def test_ci_and_hook_call_scripts_that_exist():
    called = re.findall(r"bash (script/\S+)", read(".github/workflows/ci.yml") + read(".pre-commit-config.yaml"))
    assert sorted(called) == ["script/lint.sh", "script/setup.sh", "script/setup_vllm.sh", "script/test.sh"]
    assert [script for script in called if not (REPOSITORY / script).is_file()] == []


def test_ci_runs_both_ends_of_the_python_range():
    versions = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["tests"]["strategy"]["matrix"]["python-version"]
    requires = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    lowest, above = (int(minor) for minor in re.fullmatch(r">=3\.(\d+),<3\.(\d+)", requires).groups())
    assert versions == [f"3.{lowest}", f"3.{above - 1}"]


def test_citation_is_complete_and_agrees_with_the_package():
    citation = yaml.safe_load(read("CITATION.cff"))
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["preferred-citation"]["url"] == project["urls"]["Paper"]


def test_contributing_names_launchers_and_tests_that_exist():
    named = re.findall(r"(?:tests|script|configs)/\w+\.\w+", read("CONTRIBUTING.md"))
    assert len(named) > 10
    assert [path for path in named if not (REPOSITORY / path).is_file()] == []
