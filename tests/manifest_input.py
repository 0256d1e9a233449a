"""Folders of clips and prompts as people have them, and the `manifest` commands run on them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wan_ddp.__main__ import main
from wan_ddp.job import Job
from wan_ddp.manifest import read_manifest


@dataclass
class Workplace:
    """A folder with `data`, in which a command is given as in a shell there."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    code: int = -1
    out: str = ""
    err: str = ""

    @property
    def output(self) -> Path:
        return self.folder / "my" / "all.jsonl"

    def clips(self, *names: str) -> None:
        """Files named as clips; `manifest build` does not look into them."""
        for name in names:
            self.write(name, "a clip")

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def json(self, name: str, value: Any) -> Path:
        return self.write(name, json.dumps(value, ensure_ascii=False))

    def run(self, *words: str) -> int:
        self.capsys.readouterr()
        self.code = main(["manifest", *words])
        self.out, self.err = self.capsys.readouterr()
        return self.code

    def built(self, *words: str, seeds: tuple[str, ...] = ("42",)) -> list[Job]:
        """The jobs of the manifest that `manifest build` writes, as a run reads them."""
        self.output.unlink(missing_ok=True)
        more = ["--seeds", *seeds] if seeds else []
        assert self.run("build", *words, "--output", "my/all.jsonl", *more) == 0, self.err
        jobs = read_manifest(self.output, {})
        assert all(Path(job.reference).exists() for job in jobs)
        return jobs

    def refused(self, *words: str, seeds: tuple[str, ...] = ("42",)) -> str:
        """What `manifest build` says when it writes nothing."""
        self.output.unlink(missing_ok=True)
        more = ["--seeds", *seeds] if seeds else []
        before = sorted(self.folder.rglob("*"))
        assert self.run("build", *words, "--output", "my/all.jsonl", *more) == 2, self.out
        assert sorted(self.folder.rglob("*")) == before, "it writes nothing"
        assert self.out == ""
        return self.err
