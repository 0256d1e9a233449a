"""`manifest schema`: what the schema refuses is what the reader refuses, as far as a schema can say it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_manifest import BAD_LINES, Manifests, jobs, line

from wan_ddp.__main__ import main
from wan_ddp.errors import ManifestError
from wan_ddp.job import JOB_FIELDS, Job
from wan_ddp.manifest import job_line
from wan_ddp.manifest_tools.schema import schema

ROOT = Path(__file__).parents[1]
VALIDATOR = jsonschema.Draft202012Validator(schema())
# What is no JSON value of its own, or a property of the text, of bytes, or of two fields at once.
BEYOND_A_SCHEMA = (
    "lone surrogate",
    "stands twice",
    "not JSON",
    "nested too deep",
    "numbers must be finite",
    "digits",
    "bytes; it may have 200",
    "类" * 67,  # 201 bytes
)
WRITTEN_AS_A_FLOAT = ("prompt_index is 0.0", "width is 832.0")


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    return Manifests(tmp_path_factory.mktemp("manifests"))


def test_the_command_prints_a_schema_that_is_one_itself(capsys):
    assert main(["manifest", "schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(printed)
    assert printed == schema()
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_field_is_in_it_with_its_default_and_what_is_allowed():
    fields = schema()["properties"]
    assert tuple(fields) == JOB_FIELDS
    for name, field in fields.items():
        assert field["description"]
        if name not in JOB_FIELDS[:5]:
            assert field["default"] == Job.__dataclass_fields__[name].default


@pytest.mark.parametrize("name", ["all.jsonl", "demo.jsonl"])
def test_the_projects_own_manifests_are_valid(name):
    lines = (ROOT / "manifests" / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 14
    for text in lines:
        VALIDATOR.validate(json.loads(text))


@pytest.mark.parametrize(
    ("bad", "problem"),
    [each for each in BAD_LINES if not any(words in each[1] for words in BEYOND_A_SCHEMA + WRITTEN_AS_A_FLOAT)],
    ids=lambda text: f"{text:.60}",
)
def test_what_the_reader_refuses_the_schema_refuses(bad, problem):
    assert not VALIDATOR.is_valid(json.loads(bad))


def test_few_of_the_readers_complaints_are_beyond_a_schema():
    beyond = [each for each in BAD_LINES if any(words in each[1] for words in BEYOND_A_SCHEMA + WRITTEN_AS_A_FLOAT)]
    assert len(beyond) < len(BAD_LINES) / 3


@settings(max_examples=100)
@given(jobs())
def test_any_job_that_the_format_can_say_is_valid(job):
    VALIDATOR.validate(json.loads(job_line(job)))


values: st.SearchStrategy[Any] = (
    st.integers(-20, 5000)
    | st.sampled_from([2**63 - 1, 2**63, 0.5, 1, 1.0, 0.0, -0.5, 100, 100.5, 240, 1e-7, 1e-6, 1001, 1005, 4096, 4112])
    | st.booleans()
    | st.none()
    | st.sampled_from(
        ["", " ", "a", ".", "..", "a/b", "a\\b", "a\n", "\x7f", "\0", "logs", "镜头", "x" * 200, "x" * 201]
    )
    | st.sampled_from(["v2v", "none", "vace", "V2V"])
    | st.just([])
    | st.just({})
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*JOB_FIELDS, "sead"]), values, max_size=3))
@example({"mechanism": "none", "denoising_strength": 0.5})
@example({"denoising_strength": 1})
@example({"category": "a\n"})
def test_reader_and_schema_agree_about_any_values(manifests, changes):
    changes = {
        name: int(value) if value in (0.0, 1.0) and name in INTEGERS else value for name, value in changes.items()
    }
    text = line(**changes)
    try:
        manifests.read(text)
    except ManifestError as error:
        assert not VALIDATOR.is_valid(json.loads(text)) or "bytes" in str(error)
    else:
        VALIDATOR.validate(json.loads(text))


INTEGERS = [name for name, field in schema()["properties"].items() if field.get("type") == "integer"]
