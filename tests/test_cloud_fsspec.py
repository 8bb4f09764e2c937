"""One contract for the three clouds, through fsspec: what a portable ingest may rely on."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec import AbstractFileSystem

from labkit import cloud
from tests import needs

ROOTS: dict[cloud.Name, str] = {"aws": "s3://lab-bucket", "gcp": "gs://lab-bucket", "azure": "az://lab-bucket"}


@pytest.fixture(scope="module", params=cloud.NAMES)
def filesystem(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AbstractFileSystem]:
    name: cloud.Name = request.param
    if name != "aws":
        needs.require(name, cloud.available(name))
    before = dict(os.environ)
    os.environ["MLE_STATE"] = str(tmp_path_factory.mktemp("state"))
    cloud.start(name)
    filesystem, _ = fsspec.url_to_fs(ROOTS[name])
    filesystem.mkdir("lab-bucket")
    yield filesystem
    cloud.stop()
    os.environ.clear()
    os.environ.update(before)


def test_what_was_written_is_read_whole_and_by_range(filesystem: AbstractFileSystem) -> None:
    filesystem.pipe_file("lab-bucket/read", b"0123456789")
    assert filesystem.cat_file("lab-bucket/read") == b"0123456789"
    assert filesystem.cat_file("lab-bucket/read", start=2, end=5) == b"234"
    assert filesystem.size("lab-bucket/read") == 10


def test_create_never_overwrites(filesystem: AbstractFileSystem) -> None:
    filesystem.pipe_file("lab-bucket/once", b"1", mode="create")
    with pytest.raises(FileExistsError):
        filesystem.pipe_file("lab-bucket/once", b"2", mode="create")
    assert filesystem.cat_file("lab-bucket/once") == b"1"
    filesystem.pipe_file("lab-bucket/once", b"3")
    assert filesystem.cat_file("lab-bucket/once") == b"3"


def test_open_for_exclusive_writing_never_overwrites(filesystem: AbstractFileSystem) -> None:
    with filesystem.open("lab-bucket/exclusive", "xb") as file:
        file.write(b"1")
    with pytest.raises(FileExistsError), filesystem.open("lab-bucket/exclusive", "xb") as file:
        file.write(b"2")
    assert filesystem.cat_file("lab-bucket/exclusive") == b"1"


def test_a_listing_shows_partitions_and_what_another_wrote_once_the_cache_is_dropped(
    filesystem: AbstractFileSystem,
) -> None:
    filesystem.pipe_file("lab-bucket/flights/year=2013/month=01/flights.parquet", b"1")
    filesystem.invalidate_cache()
    assert filesystem.ls("lab-bucket/flights", detail=False) == ["lab-bucket/flights/year=2013"]
    assert filesystem.find("lab-bucket/flights") == ["lab-bucket/flights/year=2013/month=01/flights.parquet"]


def test_a_change_changes_the_checksum(filesystem: AbstractFileSystem) -> None:
    filesystem.pipe_file("lab-bucket/changed", b"1")
    before = filesystem.checksum("lab-bucket/changed")
    filesystem.pipe_file("lab-bucket/changed", b"2")
    filesystem.invalidate_cache()
    assert filesystem.checksum("lab-bucket/changed") != before


def test_what_is_not_there_is_said_so(filesystem: AbstractFileSystem) -> None:
    assert not filesystem.exists("lab-bucket/nothing")
    with pytest.raises(FileNotFoundError):
        filesystem.cat_file("lab-bucket/nothing")


def test_moved_and_removed_objects_are_gone(filesystem: AbstractFileSystem) -> None:
    filesystem.pipe_file("lab-bucket/old", b"1")
    filesystem.mv("lab-bucket/old", "lab-bucket/new")
    assert not filesystem.exists("lab-bucket/old")
    filesystem.rm_file("lab-bucket/new")
    assert not filesystem.exists("lab-bucket/new")


def test_a_column_of_a_table_is_read(filesystem: AbstractFileSystem) -> None:
    table = pa.table({name: list(range(1000)) for name in "abc"})
    with filesystem.open("lab-bucket/table.parquet", "wb") as file:
        pq.write_table(table, file)
    assert pq.read_table("lab-bucket/table.parquet", filesystem=filesystem, columns=["b"]).column_names == ["b"]


def test_reset_forgets_everything(filesystem: AbstractFileSystem) -> None:
    name = next(one for one in cloud.NAMES if ROOTS[one].partition(":")[0] in str(filesystem.protocol))
    filesystem.pipe_file("lab-bucket/last", b"1")
    cloud.reset(name)
    fresh, _ = fsspec.url_to_fs(ROOTS[name])
    assert not fresh.exists("lab-bucket/last")
    fresh.mkdir("lab-bucket")


@pytest.mark.parametrize("name", cloud.NAMES)
def test_an_emulator_whose_state_is_deleted_ends_itself(
    name: cloud.Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "aws":
        needs.require(name, cloud.available(name))
    before = dict(os.environ)
    monkeypatch.setenv("MLE_STATE", str(tmp_path / "forgotten"))
    pid = cloud.start(name).pid
    assert pid is not None
    emulator = psutil.Process(pid)
    with pytest.raises(psutil.TimeoutExpired):  # it looks every 2 seconds, and stays while the file is there
        emulator.wait(3)
    shutil.rmtree(tmp_path / "forgotten")
    emulator.wait(10)
    os.environ.clear()
    os.environ.update(before)
