"""The manifest's format as a JSON Schema, made from the fields that check it. Pure.

What JSON Schema cannot say: that integers are written without `.0`, lengths in bytes, lone surrogates, duplicate keys,
and two lines with one output.
"""

import json
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from wan_ddp.job import CONTROL_CHARACTER, MAX_NAME_BYTES, Job, Mechanism
from wan_ddp.manifest import SLOWEST_FPS, TAKEN_NAMES

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema of one line."""
    validator = TypeAdapter(Job)
    generated = validator.json_schema()
    fields: dict[str, dict[str, Any]] = generated["properties"]
    for field in fields.values():
        del field["title"]
    # JSON Schema's dialect of patterns has no \xNN.
    control = CONTROL_CHARACTER.pattern.replace(r"\x", r"\u00")
    # What the fields' validators ask beyond type and range.
    fields["category"] |= {
        "minLength": 1,
        "maxLength": MAX_NAME_BYTES,
        "not": {"anyOf": [{"enum": [".", "..", *TAKEN_NAMES]}, {"pattern": r"[/\\]"}, {"pattern": control}]},
    }
    fields["reference"] |= {"minLength": 1, "not": {"pattern": r"\u0000"}}
    fields["prompt"] |= {"pattern": r"\S"}
    # Pydantic says the range of a field with a validator of its own by other words than JSON Schema's.
    frames = fields["num_frames"]
    lowest, highest = _taken(frames, "ge", "minimum"), _taken(frames, "le", "maximum")
    frames["enum"] = [number for number in range(lowest, highest + 1) if _is_good(validator, "num_frames", number)]
    fields["fps"]["minimum"] = SLOWEST_FPS
    # 1 is the others' strength, never written.
    fields["denoising_strength"]["exclusiveMaximum"] = fields["denoising_strength"].pop("maximum")
    others = [mechanism for mechanism in get_args(Mechanism) if mechanism != "v2v"]
    return {
        "$schema": _DRAFT,
        "title": "A line of a manifest: one video to make",
        "type": generated["type"],
        "properties": fields,
        "required": generated["required"],
        "additionalProperties": generated["additionalProperties"],
        "if": {"properties": {"mechanism": {"enum": others}}, "required": ["mechanism"]},
        "then": {"properties": {"denoising_strength": False}},
    }


def schema_text() -> str:
    return json.dumps(schema(), ensure_ascii=False, indent=2)


def _taken(field: dict[str, Any], *names: str) -> int:
    values = [field.pop(name) for name in names if name in field]
    return int(values[0])


def _is_good(validator: TypeAdapter[Job], field: str, value: Any) -> bool:
    job = {"category": "a", "reference": "a", "prompt": "a", "prompt_index": 0, "seed": 0, field: value}
    try:
        validator.validate_python(job)
    except ValidationError:
        return False
    return True
