"""What cluster/ holds for Kubernetes is valid by its schema, and says what launch.sh means."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from wan_ddp.errors import EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_UNUSABLE
from wan_ddp.settings import parse

CLUSTER = Path(__file__).resolve().parent.parent / "cluster"
# The first in which backoffLimitPerIndex is stable, and the latest that is known.
VERSIONS = ["1.33", kubernetes_validate.latest_version()]
EXIT_STOPPED = {130, 143}


def resources() -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def job() -> dict[str, Any]:
    (found,) = [each["spec"] for each in resources() if each["kind"] == "Job"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid_by_the_schema(version: str) -> None:
    for resource in resources():
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_misspelt_field_would_be_noticed() -> None:
    (resource,) = [each for each in resources() if each["kind"] == "Job"]
    resource["spec"]["backoffLimitPerIndexes"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, VERSIONS[0], strict=True)


def test_every_exit_code_has_its_rule(job: dict[str, Any]) -> None:
    rules = job["podFailurePolicy"]["rules"]
    by_code = {code: rule["action"] for rule in rules for code in rule.get("onExitCodes", {}).get("values", [])}
    assert by_code == {EXIT_INCOMPLETE: "FailIndex", EXIT_UNUSABLE: "FailJob"} | dict.fromkeys(EXIT_STOPPED, "Ignore")
    assert EXIT_COMPLETE not in by_code
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    (container,) = job["template"]["spec"]["containers"]
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {container["name"]}
    assert job["template"]["spec"]["restartPolicy"] == "Never", "else the policy is refused"


def test_the_arguments_are_those_of_a_run_on_the_volume_that_is_claimed(job: dict[str, Any]) -> None:
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    settings = parse(container["args"], {})
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    for path in (settings.manifest, settings.output, settings.model_dir):
        assert str(path).startswith(f"{mounts['data']}/")
    assert pod["terminationGracePeriodSeconds"] > 2 * settings.grace
    claims = [each["metadata"]["name"] for each in resources() if each["kind"] == "PersistentVolumeClaim"]
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"][:1]] == claims


def test_the_dockerfile_has_no_fault_that_its_linter_knows() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "requirements-dev.txt brings it"
    said = subprocess.run([hadolint, CLUSTER / "Dockerfile"], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")


def test_what_the_image_copies_is_there() -> None:
    lines = (CLUSTER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (copied,) = [line.split()[1:-1] for line in lines if line.startswith("COPY req")]
    assert all((CLUSTER.parent / name).is_file() for name in copied)
