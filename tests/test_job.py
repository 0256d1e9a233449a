"""A job's name and what decides its pixels."""

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from factories import make_job
from hypothesis import given
from hypothesis import strategies as st

from wan_ddp.job import (
    JOB_FIELDS,
    SETTING_FIELDS,
    Conditions,
    Identifier,
    Job,
    fingerprint,
    fingerprint_inputs,
    own_inputs,
)

# Another valid value for every field, and whether the pixels may differ with it.
OTHER_VALUES: dict[str, tuple[Any, bool]] = {
    "category": ("single_object", False),
    "reference": ("/elsewhere/pan.mp4", False),  # its content counts, not where it lies
    "prompt": ("a dog", True),
    "prompt_index": (1, False),
    "seed": (43, True),
    "negative_prompt": ("", True),
    "mechanism": ("vace", True),
    "denoising_strength": (0.5, True),
    "width": (64, True),
    "height": (64, True),
    "num_frames": (9, True),
    "fps": (16.0, True),
    "num_inference_steps": (3, True),
    "cfg_scale": (1.0, True),
    "sigma_shift": (3.0, True),
    "note": ({"error": "boom"}, False),
}
OTHER_CONDITIONS: dict[str, Any] = {
    "sampling": "time",
    "short_reference": "hold",
    "tiled": False,
    "preset": "fast",
    "lora": ("a.safetensors",),
    "model": "other",
}


def mark(job: Job, conditions: Conditions = Conditions(model="m"), reference: str | None = "digest") -> str:  # noqa: B008
    return fingerprint(fingerprint_inputs(job, conditions, reference))


@pytest.mark.parametrize(
    ("reference", "folder"),
    [
        ("/r/pan.mp4", "ref_pan_832x480"),
        ("/r/ref_镜头仰角旋转_832x480.mp4", "ref_镜头仰角旋转_832x480"),
        ("/r/ref_pan_640x352.mov", "ref_pan_640x352"),
        ("/r/ref_pan.mp4", "ref_ref_pan_832x480"),
        ("/r/ref__832x480.mp4", "ref_ref__832x480_832x480"),
        ("/r/pan.v2.mp4", "ref_pan.v2_832x480"),
        ("/r/no_suffix", "ref_no_suffix_832x480"),
        ("/r/e\u0301tude.mp4", "ref_\u00e9tude_832x480"),
    ],
)
def test_the_output_is_named_by_category_reference_seed_and_prompt(reference: str, folder: str) -> None:
    job = make_job(reference=reference, width=832, height=480, seed=142, prompt_index=3)
    assert job.id == f"camera_motion/{folder}/seed_142_prompt_3"


def test_cost_is_frames_times_pixels_times_steps() -> None:
    job = make_job(num_frames=5, width=32, height=16, num_inference_steps=2)
    assert job.cost == 5 * 32 * 16 * 2
    assert replace(job, prompt="another", seed=1, mechanism="none").cost == job.cost


def test_every_field_is_known_to_these_tests() -> None:
    assert set(OTHER_VALUES) == set(JOB_FIELDS) == {*SETTING_FIELDS, *JOB_FIELDS[:5], "note"}
    assert {"control", *OTHER_CONDITIONS} == {field.name for field in fields(Conditions)}


@pytest.mark.parametrize("name", JOB_FIELDS)
def test_the_fingerprint_changes_with_what_decides_the_pixels_and_with_nothing_else(name: str) -> None:
    value, decides_pixels = OTHER_VALUES[name]
    job = make_job()
    assert (mark(replace(job, **{name: value})) != mark(job)) is decides_pixels


@pytest.mark.parametrize("name", OTHER_CONDITIONS)
def test_the_fingerprint_changes_with_every_condition_of_the_run(name: str) -> None:
    conditions = Conditions(model="m")
    assert mark(make_job(), replace(conditions, **{name: OTHER_CONDITIONS[name]})) != mark(make_job(), conditions)


def test_the_fingerprint_changes_with_the_content_of_the_reference() -> None:
    assert mark(make_job(), reference="one") != mark(make_job(), reference="two")


def test_a_text_only_job_does_not_depend_on_its_reference() -> None:
    job = make_job(mechanism="none")
    conditions = Conditions(model="m")
    other = replace(conditions, sampling="time", short_reference="loop", control="gray")
    assert mark(job, conditions, None) == mark(job, other, "digest")


@pytest.mark.parametrize(
    ("mechanism", "depends"), [("v2v", False), ("none", False), ("vace", True), ("fun_control", True)]
)
def test_control_counts_only_where_it_is_used(mechanism: str, depends: bool) -> None:
    job = make_job(mechanism=mechanism)
    gray = Conditions(model="m", control="gray")
    assert (mark(job, gray) != mark(job)) is depends


@given(st.permutations(sorted(fingerprint_inputs(make_job(), Conditions(), "digest").items())))
def test_a_fingerprint_does_not_depend_on_the_order_of_its_inputs(items: list[tuple[str, Any]]) -> None:
    assert fingerprint(dict(items)) == mark(make_job(), Conditions(), "digest")


texts = st.text(st.characters(codec="utf-8"))
numbers = st.sampled_from([0.0, -0.0, 5, 5.0, 1, 1.0, True, 1e-7, 1e22])


@given(
    st.lists(
        st.builds(
            make_job,
            prompt=texts,
            negative_prompt=texts,
            mechanism=st.sampled_from(["v2v", "none", "vace", "fun_control"]),
            seed=st.integers(0, 2**63 - 1),
            cfg_scale=numbers,
            fps=numbers,
        ),
        max_size=4,
    ),
    st.builds(
        Conditions,
        control=st.sampled_from(["as-is", "gray"]),
        tiled=st.booleans(),
        lora=st.sampled_from([(), ("a:1", '"')]),
        model=texts,
    ),
    st.lists(texts, min_size=4, max_size=4),
)
def test_jobs_identified_together_have_the_fingerprints_that_each_has_alone(
    jobs: list[Job], conditions: Conditions, digests: list[str]
) -> None:
    identify = Identifier(conditions).identify
    for job, digest in [each for pair in zip(jobs, digests, strict=False) for each in (pair, pair)]:
        shared, found = identify(job, digest)
        inputs = own_inputs(shared, job)
        assert inputs == fingerprint_inputs(job, conditions, digest)
        assert repr(inputs["cfg_scale"]) == repr(job.cfg_scale)
        canonical = json.dumps(inputs, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        assert found == fingerprint(inputs) == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize(("model", "digest"), [(None, "digest"), ("m", None), (None, None)])
def test_what_is_not_known_has_no_fingerprint(model: str | None, digest: str | None) -> None:
    identify = Identifier(Conditions(model=model)).identify
    assert identify(make_job(), digest)[1] is None
    assert (identify(make_job(mechanism="none"), digest)[1] is None) is (model is None)


def test_fingerprints_stay_what_they_were() -> None:
    """Changed on purpose only: a new one makes every video that exists look changed."""
    inputs = fingerprint_inputs(make_job(negative_prompt="blurry"), Conditions(model="tiny"), "0" * 64)
    assert inputs == {
        "prompt": "a cat walks 一只猫在走",
        "seed": 42,
        "negative_prompt": "blurry",
        "mechanism": "v2v",
        "denoising_strength": 0.75,
        "width": 32,
        "height": 16,
        "num_frames": 5,
        "fps": 15.0,
        "num_inference_steps": 2,
        "cfg_scale": 5.0,
        "sigma_shift": 5.0,
        "sampling": "frames",
        "short_reference": "refuse",
        "tiled": True,
        "preset": "plain",
        "lora": [],
        "model": "tiny",
        "reference": "0" * 64,
    }
    assert fingerprint(inputs) == "d1f83807c1abc3c8d111458fd1f2c7b878884fba938d4b29a62c1986b129f7e2"
