"""The emulators as processes: started once, found again, replaced when dead, ended without a trace."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import psutil
import pytest

from labkit import cloud
from labkit.emulators import kinds, processes
from labkit.emulators.processes import Emulator, Place
from labkit.errors import FailureError, UserError


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = dict(os.environ)
    monkeypatch.setenv("MLE_STATE", str(tmp_path))
    yield tmp_path
    cloud.stop()
    os.environ.clear()
    os.environ.update(before)


def saved(state: Path) -> dict[str, object]:
    values = json.loads((state / "cloud" / "aws.json").read_text(encoding="utf-8"))
    assert isinstance(values, dict)
    return values


def elsewhere(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"from labkit import cloud\n{code}"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_plain_boto3_reaches_the_local_cloud_by_the_environment(state: Path) -> None:
    print(cloud.start())
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="here")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["here"]


def test_a_second_start_finds_the_first_and_its_content(state: Path) -> None:
    first = cloud.start()
    boto3.client("s3").create_bucket(Bucket="here")
    assert cloud.start() == first
    assert len(boto3.client("s3").list_buckets()["Buckets"]) == 1


def test_another_process_finds_it_and_it_outlives_the_one_that_started_it(state: Path) -> None:
    pid = int(elsewhere("print(cloud.start().pid)"))
    assert cloud.start().pid == pid


def test_many_starts_at_once_make_one_process(state: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        pids = set(pool.map(elsewhere, ["print(cloud.start().pid)"] * 4))
    assert len(pids) == 1


def test_stop_leaves_no_process_and_says_what_ran(state: Path) -> None:
    pid = cloud.start().pid
    assert pid is not None
    assert cloud.stop() == ["aws"]
    assert not psutil.pid_exists(pid)
    assert cloud.running() == []
    assert cloud.stop() == []


def test_a_killed_emulator_is_started_again_on_its_port(state: Path) -> None:
    first = cloud.start()
    assert first.pid is not None
    psutil.Process(first.pid).kill()
    psutil.Process(first.pid).wait(5)
    second = cloud.start()
    assert second.pid != first.pid
    assert second.endpoint == first.endpoint


def test_a_process_that_has_the_old_number_now_is_left_alone(state: Path) -> None:
    cloud.start()
    cloud.stop()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        file = state / "cloud" / "aws.json"
        file.write_text(json.dumps(saved(state) | {"pid": stranger.pid}), encoding="utf-8")
        assert cloud.start().pid != stranger.pid
        assert stranger.poll() is None
        stranger.communicate(b"\n")


@pytest.mark.parametrize("text", ["", "[]", '{"port": "x"}', "\0"])
def test_a_broken_state_file_is_replaced(state: Path, text: str) -> None:
    (state / "cloud").mkdir(parents=True)
    (state / "cloud" / "aws.json").write_text(text, encoding="utf-8")
    assert cloud.start().pid == saved(state)["pid"]


def test_another_program_on_the_old_port_is_not_taken_for_ours(state: Path) -> None:
    port = int(cloud.start().endpoint.rpartition(":")[2])
    cloud.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        assert cloud.start().endpoint != f"http://127.0.0.1:{port}"


def test_a_given_port_in_use_is_named(state: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use"):
            cloud.start(port=port)


def test_a_port_that_does_not_exist_is_the_users_mistake(state: Path) -> None:
    with pytest.raises(UserError, match="port 70000"):
        cloud.start(port=70000)


def test_two_states_are_two_clouds(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cloud.start()
    with monkeypatch.context() as patch:
        patch.setenv("MLE_STATE", str(tmp_path / "other"))
        second = cloud.start()
        assert second.endpoint != first.endpoint
        cloud.stop()


def test_one_that_dies_at_once_is_told_in_one_sentence_with_its_log(tmp_path: Path) -> None:
    broken = Emulator("aws", lambda port: [sys.executable, "-c", "print('no luck')"], lambda running: False)
    place = Place(tmp_path, "aws")
    with pytest.raises(FailureError, match=str(place.log)):
        processes.ensure(broken, place)
    assert "no luck" in place.log.read_text(encoding="utf-8")


def test_one_that_never_answers_is_ended_after_its_limit(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"import os, pathlib; pathlib.Path({str(pids)!r}).write_text(str(os.getpid())); input()"
    silent = Emulator("aws", lambda port: [sys.executable, "-c", f"{code}\nwhile True: pass"], lambda running: False, 1)
    with pytest.raises(FailureError, match="within 1 seconds"):
        processes.ensure(silent, Place(tmp_path, "aws"))
    assert not pids.exists() or not psutil.pid_exists(int(pids.read_text(encoding="utf-8")))


def test_a_lock_that_is_never_released_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOCK_SECONDS", 0.2)
    place = Place(tmp_path, "aws")
    with processes._locked(place.lock, "aws"), pytest.raises(FailureError, match="has been starting or stopping"):
        processes.ensure(kinds.emulator("aws"), place)


def test_a_file_like_numpy_beside_the_notebook_is_not_imported(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moto.py").write_text("raise SystemExit('shadowed')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLE_COURSE", str(Path(__file__).parent.parent))
    assert cloud.start().pid


def test_variables_of_a_real_account_are_taken_away(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    cloud.start()
    boto3.client("s3").list_buckets()
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"} & set(os.environ)


def test_a_real_cloud_is_left_alone(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLE_CLOUD", "real")
    before = dict(os.environ)
    assert "real cloud" in str(cloud.start())
    assert dict(os.environ) == before
    assert not (state / "cloud").exists()
    with pytest.raises(UserError, match="MLE_CLOUD"):
        cloud.reset()


def test_an_unknown_cloud_and_an_unknown_mode_are_told(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="choose aws, gcp, azure"):
        cloud.available("ibm")  # type: ignore[arg-type]
    monkeypatch.setenv("MLE_CLOUD", "maybe")
    with pytest.raises(UserError, match="MLE_CLOUD is 'maybe'"):
        cloud.start()


def test_recording_without_a_cloud_says_what_to_call(state: Path) -> None:
    with pytest.raises(UserError, match=r"labkit\.cloud\.start"), cloud.record():
        pass


def test_what_is_missing_for_azure_is_told_with_the_command(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("HOME", str(tmp_path / "empty"))
    sentence = cloud.available("azure")
    assert sentence is not None
    assert "lab start 02 --cloud azure" in sentence


def test_no_registry_stands_in_the_lock_of_azurite() -> None:
    lock = json.loads((Path(kinds.__file__).parent / "npm" / "package-lock.json").read_text(encoding="utf-8"))
    packages = [value for name, value in lock["packages"].items() if name]
    assert packages
    assert all("resolved" not in one and one["integrity"].startswith("sha512-") for one in packages)


def test_a_full_disk_leaves_no_emulator_behind(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (state / "cloud").mkdir(parents=True)
    part = state / "cloud" / "aws.part"
    part.mkdir()  # writing the state fails
    with pytest.raises(OSError):
        cloud.start()
    shutil.rmtree(part)
    mine = [one for one in psutil.Process().children(recursive=True) if "labkit.emulators.aws" in one.cmdline()]
    assert mine == []
