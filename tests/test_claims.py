"""Claims hold over processes, hosts and crashes, and forget no attempt: on real folders, with real links."""

import errno
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from wan_ddp import claims as claims_module
from wan_ddp import folders, owners
from wan_ddp.attempts import MAX_LOST_IN_A_ROW
from wan_ddp.claims import Claim, Claims, claim_key
from wan_ddp.errors import MachineError, Stopped
from wan_ddp.process import own_token

KEY = claim_key("a/b/c", "fingerprint")
OTHER_BOOT = "0" * 8
NFS = os.environ.get("WAN_TEST_NFS")  # a folder on NFS, to run these tests there as well

CLAIMANT = """
import sys
from pathlib import Path
from wan_ddp.claims import Claims
claims = Claims(Path(sys.argv[1]), run_id="run", rank=int(sys.argv[2]))
claims.open()
print("ready", flush=True)
for line in sys.stdin:
    key = line.strip()
    claim = claims.claim(key, 3)
    if not isinstance(claim, str) and len(sys.argv) > 3:
        claim.end(sys.argv[3])
    print(key, claim if isinstance(claim, str) else claim.generation, flush=True)
"""


@pytest.fixture(params=["tmp", *(["nfs"] if NFS else [])])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "tmp":
        yield tmp_path / "out" / ".claims"
    else:
        with tempfile.TemporaryDirectory(dir=NFS) as on_nfs:
            yield Path(on_nfs, "out", ".claims")


@pytest.fixture
def claims(folder: Path) -> Iterator[Claims]:
    with Claims(folder, run_id="run", rank=0) as opened:
        yield opened


def take(claims: Claims, key: str = KEY, max_attempts: int = 3) -> Claim:
    claim = claims.claim(key, max_attempts)
    assert isinstance(claim, Claim), claim
    return claim


def names(folder: Path, key: str = KEY) -> set[str]:
    return {path.name.removeprefix(f"{key}.") for path in folder.glob(f"{key[:2]}/{key}.*")}


def standing(claims: Claims, key: str = KEY, max_attempts: int = 3) -> str:
    return claims.look().standing(key, max_attempts)


def write_claim(folder: Path, content: bytes, *, age: float = 0.0, generation: int = 1) -> Path:
    """A claim as another owner's file would look like, touched `age` seconds ago."""
    path = folder / KEY[:2] / f"{KEY}.{generation}"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def about(token: str, host: str = "another") -> bytes:
    return json.dumps({"token": token, "host": host, "rank": 1, "run_id": "run", "started": "2026"}).encode()


def token(*, boot: str | None = None, namespace: str | None = None) -> str:
    own = own_token().split("-")
    return "-".join([boot or own[0], namespace or own[1], "4711", "4711"])


class Claimant:
    """A process that claims each key it is told."""

    def __init__(self, folder: Path, rank: int, *more: str) -> None:
        command = [sys.executable, "-c", CLAIMANT, str(folder), str(rank), *more]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> "Claimant":
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def claim(self, key: str = KEY) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{key}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def claimant(folder: Path) -> Iterator[Claimant]:
    process = Claimant(folder, 1)
    yield process.ready()
    process.kill()


class FakeOs:
    """`os` as the modules under test see it, with other functions in the place of some."""

    def __init__(self, **functions: Callable[..., object]) -> None:
        self.functions = functions

    def __getattr__(self, name: str) -> object:
        return self.functions.get(name, getattr(os, name))


@pytest.fixture
def fake_os(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def fake(**functions: Callable[..., object]) -> None:
        for module in (claims_module, owners, folders):
            monkeypatch.setattr(module, "os", FakeOs(**functions))

    return fake


def once(error: BaseException, *, made: bool = False) -> Callable[..., None]:
    """`os.link` that raises the first time, without or after having made the link."""
    calls: list[object] = []

    def link(*arguments: object, **options: object) -> None:
        calls.append(arguments)
        if len(calls) > 1 or made:
            os.link(*arguments, **options)  # type: ignore[arg-type]
        if len(calls) == 1:
            raise error

    return link


# One owner.


def test_a_key_depends_on_the_job_and_its_settings() -> None:
    keys = {claim_key(job, fingerprint) for job in ("a", "镜头") for fingerprint in ("f", "g")}
    assert len(keys) == 4
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)
    assert claim_key("ab", "c") != claim_key("a", "bc")
    assert claim_key("a", "f") == claim_key("a", "f")


def test_a_claim_is_held_until_it_ends_and_is_a_name_in_the_folder(claims: Claims, folder: Path) -> None:
    assert standing(claims) == "free"
    claim = take(claims)
    assert (claim.generation, claim.decision, claim.history) == (1, "try", ())
    assert names(folder) == {"1"}
    assert standing(claims) == "held"
    assert claims.claim(KEY, 3) == "held"
    claim.end("done")
    claim.end("done")
    assert names(folder) == {"1", "1.done"}
    assert standing(claims) == "done"
    assert claims.history(KEY) == ("done",)


def test_the_owners_file_says_who_it_is(claims: Claims, folder: Path) -> None:
    (own,) = (folder / "owners").iterdir()
    said = json.loads(own.read_bytes())
    assert set(said) == {"token", "host", "rank", "run_id", "started"}
    assert (said["token"], said["run_id"], said["rank"]) == (own_token(), "run", 0)
    take(claims)
    assert own.samefile(folder / KEY[:2] / f"{KEY}.1")


def test_a_failed_job_is_tried_again_until_it_is_given_up_with_its_history(claims: Claims) -> None:
    for generation, how in enumerate(("hang", "released", "gpu"), start=1):
        claim = take(claims, max_attempts=2)
        assert claim.generation == generation
        claim.end(how)  # type: ignore[arg-type]
    assert claim.history == ("hang", "released")
    assert claims.claim(KEY, 2) == "given_up"
    assert standing(claims, max_attempts=2) == "given_up"
    assert claims.history(KEY) == ("hang", "released", "gpu")
    assert claims.latest(KEY) == claims.look().latest(KEY) == 3
    assert take(claims, max_attempts=3).generation == 4


def test_a_job_that_ran_out_of_memory_is_tried_alone(claims: Claims) -> None:
    take(claims).end("out_of_memory")
    assert take(claims).decision == "try_alone"


def test_a_done_job_can_be_claimed_for_a_video_that_has_gone(claims: Claims) -> None:
    take(claims).end("done")
    assert take(claims, max_attempts=1).generation == 2
    assert standing(claims) == "held"


def test_a_grant_gives_new_attempts_once(claims: Claims) -> None:
    claims.grant(KEY, 1)
    assert claims.latest(KEY) == 0
    take(claims).end("error")
    claims.grant(KEY, 0)
    claims.grant(KEY, 2)
    assert claims.claim(KEY, 3) == "given_up"
    claims.grant(KEY, 1)
    assert standing(claims) == "free"
    take(claims).end("error")
    claims.grant(KEY, 1)
    assert claims.claim(KEY, 3) == "given_up"
    assert claims.history(KEY) == ("error", "granted", "error")


def test_nothing_is_granted_to_a_job_in_somebodys_hands(claims: Claims, folder: Path) -> None:
    claim = take(claims)
    claims.grant(KEY, 1)
    assert names(folder) == {"1"}
    claim.end("error")
    assert standing(claims) == "given_up"


def test_a_claim_goes_to_another_process_and_works_there(claims: Claims, folder: Path) -> None:
    claim = take(claims)
    travelled = pickle.loads(pickle.dumps(claim))  # noqa: S301 - our own
    assert travelled == claim
    code = "import pickle, sys; claim = pickle.load(sys.stdin.buffer); assert claim.stands(); claim.end('gpu')"
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(claim), check=True)
    assert names(folder) == {"1", "1.gpu"}


def test_a_claim_no_longer_stands_once_another_generation_is_there(claims: Claims) -> None:
    claim = take(claims)
    assert claim.stands()
    claim.end("released")
    assert claim.stands()
    again = take(claims)
    assert again.stands()
    assert not claim.stands()
    assert replace(again, generation=10).stands()


def test_jobs_in_one_folder_are_told_apart(claims: Claims) -> None:
    key = KEY[:31] + ("0" if KEY[31] != "0" else "1")
    take(claims).end("done")
    take(claims, key)
    look = claims.look()
    assert (look.standing(KEY, 3), look.standing(key, 3)) == ("done", "held")


def test_beats_are_seen_through_every_claim(claims: Claims, folder: Path) -> None:
    take(claims)
    path = folder / KEY[:2] / f"{KEY}.1"
    os.utime(path, (0, 0))
    claims.beat()
    assert path.stat().st_mtime > time.time() - 60


def test_what_is_left_standing_is_released_when_its_owner_leaves(folder: Path) -> None:
    keys = [claim_key(str(number), "") for number in range(30)]
    with Claims(folder, run_id="run", rank=0) as claims:
        for key in [*keys[:10], *keys[20:], *keys[10:20]]:
            claim = take(claims, key)
            if key in keys[:20]:
                claim.end("done")
    assert list((folder / "owners").iterdir()) == []
    look = claims.look()
    assert {look.standing(key, 1) for key in keys[:20]} == {"done"}
    assert all(names(folder, key) == {"1", "1.done"} for key in keys[:20])
    assert {claims.history(key) for key in keys[20:]} == {("released",)}


@pytest.mark.parametrize(("error", "ends"), [(Stopped(15), {"1", "1.released"}), (RuntimeError("a bug"), {"1"})])
def test_a_stopped_owner_releases_its_jobs_and_a_failing_one_does_not(
    folder: Path, error: BaseException, ends: set[str]
) -> None:
    with pytest.raises(type(error)), Claims(folder, run_id="run", rank=0) as claims:
        take(claims)
        raise error
    assert names(folder) == ends
    assert list((folder / "owners").iterdir()) == []


def test_a_claim_made_while_a_signal_came_is_released(folder: Path, fake_os: Callable[..., None]) -> None:
    with pytest.raises(Stopped), Claims(folder, run_id="run", rank=0) as claims:
        fake_os(link=once(Stopped(15), made=True))
        claims.claim(KEY, 3)
    assert names(folder) == {"1", "1.released"}


def test_anothers_claim_is_not_released_with_a_link_that_failed(
    folder: Path, fake_os: Callable[..., None], claimant: Claimant
) -> None:
    with pytest.raises(Stopped), Claims(folder, run_id="run", rank=0) as claims:
        fake_os(link=once(Stopped(15)))
        try:
            claims.claim(KEY, 3)
        finally:
            assert claimant.claim() == "1"
    assert names(folder) == {"1"}


# Errors of file systems.


def test_a_link_that_was_made_though_an_error_came_back_is_found_by_the_next_claim(
    claims: Claims, folder: Path, fake_os: Callable[..., None]
) -> None:
    fake_os(link=once(OSError(errno.EIO, "the server is gone"), made=True))
    with pytest.raises(OSError, match="gone"):
        claims.claim(KEY, 3)
    assert take(claims).generation == 1
    assert claims.claim(KEY, 3) == "held"
    assert names(folder) == {"1"}


def test_a_link_that_an_error_prevented_is_anothers_to_make(
    claims: Claims, fake_os: Callable[..., None], claimant: Claimant
) -> None:
    fake_os(link=once(OSError(errno.EIO, "the server is gone")))
    with pytest.raises(OSError, match="gone"):
        claims.claim(KEY, 3)
    assert claimant.claim() == "1"
    assert claims.claim(KEY, 3) == "held"


def test_a_link_whose_answer_an_nfs_server_lost_is_ours(claims: Claims, fake_os: Callable[..., None]) -> None:
    fake_os(link=once(FileExistsError(errno.EEXIST, "File exists"), made=True))
    assert take(claims).generation == 1


def test_a_link_that_another_was_faster_with_is_theirs(
    claims: Claims, folder: Path, fake_os: Callable[..., None], claimant: Claimant
) -> None:
    def link(*arguments: object, **options: object) -> None:
        assert claimant.claim() == "1"
        os.link(*arguments, **options)  # type: ignore[arg-type]

    fake_os(link=link)
    assert claims.claim(KEY, 3) == "held"
    assert names(folder) == {"1"}


def test_an_owners_file_with_all_its_links_is_followed_by_another(
    claims: Claims, folder: Path, fake_os: Callable[..., None]
) -> None:
    key = claim_key("x", "")
    first = take(claims)
    fake_os(link=once(OSError(errno.EMLINK, "Too many links")))
    second = take(claims, key)
    own = sorted((folder / "owners").iterdir())
    assert [path.name for path in own] == [f"{own_token()}.0", f"{own_token()}.1"]
    assert own[1].samefile(folder / key[:2] / second.name)
    for path in own:
        os.utime(path, (0, 0))
    claims.beat()
    assert all(path.stat().st_mtime > time.time() - 60 for path in own)
    fake_os(link=once(OSError(errno.EMLINK, "Too many links")))
    first.end("done")
    assert names(folder) == {"1", "1.done"}
    fake_os()
    claims.close()
    assert list((folder / "owners").iterdir()) == []


def test_an_end_takes_no_inode(claims: Claims, folder: Path) -> None:
    take(claims).end("done")
    claim, end = sorted((folder / KEY[:2]).iterdir())
    assert claim.samefile(end)


def test_folders_that_somebody_removed_are_made_again(claims: Claims, folder: Path) -> None:
    claim = take(claims)
    subprocess.run(["rm", "-r", folder], check=True)
    assert claim.stands()
    assert standing(claims) == "free"
    claim.end("hang")
    assert claims.history(KEY) == ("hang",)
    assert take(claims).generation == 2
    subprocess.run(["rm", "-r", folder], check=True)
    claims.beat()
    assert len(list((folder / "owners").iterdir())) == 1


def test_an_error_of_the_disk_is_not_hidden(claims: Claims, fake_os: Callable[..., None]) -> None:
    claim = take(claims)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    fake_os(open=fail)
    for call in (claim.stands, lambda: claim.end("done"), lambda: claims.claim(KEY, 3), claims.look, claims.beat):
        with pytest.raises(OSError, match="Input/output"):
            call()
    fake_os()


def test_a_file_system_without_hard_links_is_refused(folder: Path, fake_os: Callable[..., None]) -> None:
    fake_os(link=once(PermissionError(errno.EPERM, "Operation not permitted")))
    with pytest.raises(MachineError, match="no hard links"):
        Claims(folder, run_id="run", rank=0).open()


def test_half_an_owners_file_is_not_left_on_a_full_disk(folder: Path, fake_os: Callable[..., None]) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    fake_os(fstat=full)
    with pytest.raises(OSError, match="No space"):
        Claims(folder, run_id="run", rank=0).open()
    assert list((folder / "owners").iterdir()) == []


def test_a_symbolic_link_in_the_place_of_a_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.parent.mkdir(parents=True)
    for target in (elsewhere, tmp_path / "nowhere"):
        folder.symlink_to(target)
        with pytest.raises(MachineError, match="symbolic link"):
            Claims(folder, run_id="run", rank=0).open()
        folder.unlink()
    folder.write_bytes(b"")
    with pytest.raises(MachineError, match="symbolic link or a file"):
        Claims(folder, run_id="run", rank=0).open()
    folder.unlink()

    claims = Claims(folder, run_id="run", rank=0)
    claims.open()
    (folder / KEY[:2]).symlink_to(elsewhere)
    for call in (lambda: claims.claim(KEY, 3), claims.look, lambda: claims.grant(KEY, 1)):
        with pytest.raises(MachineError, match="symbolic link"):
            call()
    claims.close()
    (folder / "owners").rmdir()
    (folder / "owners").symlink_to(elsewhere)
    with pytest.raises(MachineError, match="symbolic link"):
        Claims(folder, run_id="run", rank=0).open()
    assert list(elsewhere.iterdir()) == []
    assert not (tmp_path / "nowhere").exists()


def test_symbolic_links_in_the_place_of_files_are_not_followed(claims: Claims, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(about(own_token()))
    (folder / KEY[:2]).mkdir()
    path = folder / KEY[:2] / f"{KEY}.1"
    path.symlink_to(secret)
    assert claims.claim(KEY, 3) == "held"
    os.utime(path, (0, 0), follow_symlinks=False)
    assert standing(claims) == "free"
    (folder / KEY[:2] / f"{KEY}.1.lost").symlink_to(tmp_path / "new")
    assert take(claims).generation == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "out") == ["secret"]


GARBAGE = [
    b"",
    b"{",
    b"\xff\0",
    b"[]",
    b"7",
    b"null",
    b'{"token": 7}',
    b'{"token": "1-2-3"}',
    b'{"token": "../../etc/passwd"}',
    b"[" * 100_000,
    b'{"token": "' + b"a" * 10_000,
]


@pytest.mark.parametrize("content", GARBAGE)
def test_an_owner_that_cannot_be_read_is_judged_by_its_last_touch(claims: Claims, folder: Path, content: bytes) -> None:
    write_claim(folder, content, age=200)
    assert claims.claim(KEY, 3) == "held"
    assert standing(claims) == "held"
    write_claim(folder, content, age=400)
    assert standing(claims) == "free"
    assert take(claims).history == ("lost",)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_at_all_holds_nobody_up_for_long(
    claims: Claims, folder: Path, make: Callable[[Path], None]
) -> None:
    (folder / KEY[:2]).mkdir()
    path = folder / KEY[:2] / f"{KEY}.1"
    make(path)
    assert claims.claim(KEY, 3) == "held"
    os.utime(path, (0, 0))
    assert take(claims).generation == 2


def test_a_file_of_another_user_is_judged_by_its_last_touch(
    claims: Claims, folder: Path, fake_os: Callable[..., None]
) -> None:
    path = write_claim(folder, about(token()))

    def deny(name: str, *arguments: object, **options: object) -> int:
        if name == path.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return os.open(name, *arguments, **options)  # type: ignore[arg-type]

    fake_os(open=deny)
    assert claims.claim(KEY, 3) == "held"
    os.utime(path, (0, 0))
    assert take(claims).history == ("lost",)


def test_names_that_are_none_of_ours_are_left_alone(claims: Claims, folder: Path) -> None:
    (folder / KEY[:2]).mkdir()
    strange = ["x", f"{KEY}", f"{KEY}.", f"{KEY}.x", f"{KEY}.0", f"{KEY}.01.done", f"{KEY}x.1", f".{KEY}.1.nfs", "镜头"]
    for name in strange:
        (folder / KEY[:2] / name).write_bytes(b"")
    (folder / "zz").mkdir()
    (folder / "README").write_bytes(b"")
    assert standing(claims) == "free"
    take(claims).end("done")
    assert standing(claims) == "done"
    assert {path.name for path in (folder / KEY[:2]).iterdir()} == {*strange, f"{KEY}.1", f"{KEY}.1.done"}


# Other owners, on this host and others.


def test_a_living_process_keeps_its_claim_however_long_it_is_silent(
    claims: Claims, folder: Path, claimant: Claimant
) -> None:
    assert claimant.claim() == "1"
    os.utime(folder / KEY[:2] / f"{KEY}.1", (0, 0))
    claimant.process.send_signal(signal.SIGSTOP)
    try:
        assert claims.claim(KEY, 3) == "held"
        assert standing(claims) == "held"
    finally:
        claimant.process.send_signal(signal.SIGCONT)


def test_a_killed_process_is_charged_with_what_it_had_in_its_hands(
    claims: Claims, folder: Path, claimant: Claimant
) -> None:
    assert claimant.claim() == "1"
    claimant.kill()
    assert standing(claims) == "free"
    assert names(folder) == {"1"}
    claim = take(claims, max_attempts=2)
    assert (claim.generation, claim.history) == (2, ("died",))
    assert names(folder) == {"1", "1.died", "2"}


def test_a_job_whose_owners_keep_dying_is_given_up_by_the_one_who_finds_it(folder: Path, claims: Claims) -> None:
    for generation in ("1", "2"):
        claimant = Claimant(folder, 1).ready()
        assert claimant.claim() == generation
        claimant.kill()
    assert standing(claims, max_attempts=2) == "free"
    assert claims.claim(KEY, 2) == "given_up"
    assert standing(claims, max_attempts=2) == "given_up"
    assert claims.history(KEY) == ("died", "died")


def test_a_word_that_the_owner_leaves_behind_while_it_is_judged_counts(
    claims: Claims, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_claim(folder, about(token()))

    def dies_now(_: str) -> bool:
        path.with_name(f"{KEY}.1.released").touch()
        return True

    monkeypatch.setattr(owners, "is_dead", dies_now)
    assert take(claims, max_attempts=1).history == ("released",)


@pytest.mark.parametrize(
    "owner",
    [
        about(token(boot=OTHER_BOOT)),
        about(token(namespace="1")),
        about(token(boot=OTHER_BOOT), host=owners.gethostname()),
    ],
    ids=["another host", "another container", "another host of this name"],
)
def test_an_owner_elsewhere_is_lost_when_it_is_silent_and_free_of_charge(
    claims: Claims, folder: Path, owner: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners.time, "clock_gettime", lambda _: 1e9)
    write_claim(folder, owner, age=200)
    assert standing(claims) == "held"
    assert claims.claim(KEY, 1) == "held"
    write_claim(folder, owner, age=400)
    assert standing(claims) == "free"
    claim = take(claims, max_attempts=1)
    assert (claim.generation, claim.history) == (2, ("lost",))


def test_what_was_claimed_before_this_machine_was_started_again_is_lost_at_once(
    claims: Claims, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners.time, "clock_gettime", lambda _: 30.0)  # seconds since the start
    rebooted = about(token(boot=OTHER_BOOT), host=owners.gethostname())
    write_claim(folder, rebooted, age=20)
    assert claims.claim(KEY, 1) == "held"
    write_claim(folder, about(token(boot=OTHER_BOOT)), age=40)
    assert claims.claim(KEY, 1) == "held"
    write_claim(folder, rebooted, age=40)
    assert take(claims, max_attempts=1).history == ("lost",)


def test_silence_is_measured_by_the_file_servers_clock(
    claims: Claims, folder: Path, fake_os: Callable[..., None]
) -> None:
    """The server's clock is an hour ahead of ours: touching a file sets its time."""

    def touch(name: str, **options: object) -> None:
        os.utime(name, (time.time() + 3600,) * 2, **options)  # type: ignore[call-overload]

    fake_os(utime=touch)
    write_claim(folder, about(token(boot=OTHER_BOOT)), age=-3500)
    assert claims.claim(KEY, 1) == "held"
    write_claim(folder, about(token(boot=OTHER_BOOT)), age=-3000)
    assert take(claims).history == ("lost",)


def test_an_owner_on_another_host_is_never_silent_only_lost_so_that_its_job_is_waited_for(
    claims: Claims, folder: Path
) -> None:
    write_claim(folder, about(own_token(os.getppid())), age=200)
    assert claims.silence(KEY) > 190
    write_claim(folder, about(token(boot=OTHER_BOOT)), age=200)
    assert claims.silence(KEY) == 0.0


def test_a_job_that_ten_lost_hosts_had_in_their_hands_is_given_up(claims: Claims, folder: Path) -> None:
    for generation in range(1, MAX_LOST_IN_A_ROW + 1):
        claim = claims.claim(KEY, 1)
        assert isinstance(claim, Claim)
        assert claim.generation == generation
        (folder / KEY[:2] / claim.name).unlink()
        write_claim(folder, about(token(boot=OTHER_BOOT)), age=400, generation=generation)
    assert claims.claim(KEY, 1) == "given_up"


def test_an_owner_that_was_thought_lost_learns_so_and_its_own_word_counts(claims: Claims, folder: Path) -> None:
    theirs = Claim(folder, KEY, 1, "try")
    write_claim(folder, about(token(boot=OTHER_BOOT)), age=400)
    ours = take(claims)
    assert not theirs.stands()
    assert ours.stands()
    theirs.end("gpu")
    assert claims.history(KEY) == ("gpu",)
    assert standing(claims) == "held"
    ours.end("released")
    assert claims.claim(KEY, 1) == "given_up"


def test_the_files_of_owners_that_are_gone_are_swept_and_claims_are_not(
    claims: Claims, folder: Path, claimant: Claimant
) -> None:
    dead = Claimant(folder, 2).ready()
    assert dead.claim() == "1"
    dead.kill()
    other_host = folder / "owners" / f"{token(boot=OTHER_BOOT)}.0"
    long_gone = folder / "owners" / f"{token(boot='1' * 8)}.0"
    for path in (other_host, long_gone, folder / "owners" / "notes.txt"):
        path.write_bytes(b"")
    os.utime(long_gone, (0, 0))
    assert len(list((folder / "owners").iterdir())) == 6
    claims.sweep()
    left = {path.name for path in (folder / "owners").iterdir()}
    assert left == {f"{own_token()}.0", f"{own_token(claimant.process.pid)}.0", other_host.name, "notes.txt"}
    assert names(folder) == {"1"}


def race(folder: Path, orders: list[list[str]], *more: str) -> list[list[str]]:
    """What processes, one for each list, say of its keys when they claim them at the same time."""
    processes = [Claimant(folder, rank, *more) for rank in range(len(orders))]
    for claimant in processes:
        claimant.ready()
    for claimant, order in zip(processes, orders, strict=True):
        assert claimant.process.stdin is not None
        claimant.process.stdin.write("".join(f"{key}\n" for key in order))
        claimant.process.stdin.flush()
    answers = []
    for claimant, order in zip(processes, orders, strict=True):
        assert claimant.process.stdout is not None
        answers.append([claimant.process.stdout.readline().strip() for _ in order])
    for claimant in processes:  # not earlier: the claims of one that has ended are taken over
        claimant.kill()
    return answers


def test_every_key_is_claimed_by_exactly_one_of_eight_racing_processes(folder: Path) -> None:
    keys = [claim_key(str(number), "") for number in range(300)]
    answers = race(folder, [keys] * 8)
    claimed = Counter(line.removesuffix(" 1") for lines in answers for line in lines if not line.endswith(" held"))
    assert claimed == Counter(keys)
    assert sum(any(line.endswith(" 1") for line in lines) for lines in answers) > 1
    assert all(names(folder, key) == {"1"} for key in keys)


def test_racing_processes_that_end_their_claims_leave_unbroken_generations(folder: Path) -> None:
    keys = [claim_key(str(number), "") for number in range(10)]
    answers = race(folder, [random.Random(rank).choices(keys, k=200) for rank in range(8)], "released")
    made = Counter(line for lines in answers for line in lines if not line.endswith(" held"))
    assert set(made.values()) == {1}  # no generation was handed out twice
    for key in keys:
        num = sum(line.startswith(key) for line in made)
        assert names(folder, key) == {f"{n}{end}" for n in range(1, num + 1) for end in ("", ".released")}


def test_what_a_look_says_of_done_jobs_is_true_while_others_claim_and_end(folder: Path, claims: Claims) -> None:
    keys = [claim_key(str(number), "") for number in range(400)]
    claimant = Claimant(folder, 1, "done").ready()
    assert claimant.process.stdin is not None
    claimant.process.stdin.write("".join(f"{key}\n" for key in keys))
    claimant.process.stdin.close()
    seen: set[str] = set()
    while len(seen) < len(keys):
        look = claims.look()
        done = {key for key in keys if look.standing(key, 1) == "done"}
        assert seen <= done
        assert all(names(folder, key) == {"1", "1.done"} for key in done - seen)
        assert not any(look.standing(key, 1) == "given_up" for key in keys)
        seen = done
    claimant.process.wait()
    assert claimant.process.stdout is not None
    claimant.process.stdout.close()
