"""The flights are those of the published package, the datasheet states what is in them, and damage is noticed."""

import csv
import importlib.util
import io
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from labkit import console, data
from labkit.errors import FailureError, UserError
from tests import needs

ROOT = Path(__file__).resolve().parent.parent
SHEET = ROOT / "datasets" / "flights" / "README.md"


def script(name: str) -> ModuleType:
    """`datasets/NAME.py`, loaded by its path: a published package is called `datasets` too."""
    spec = importlib.util.spec_from_file_location(f"course_data_{name}", ROOT / "datasets" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = script("build")
describe = script("describe")


@pytest.fixture(scope="module")
def package() -> Path:
    try:
        file: Path = build.fetch()
    except FailureError as error:
        needs.require("index", str(error))
        raise
    return file


@pytest.fixture(scope="module")
def raw(package: Path) -> dict[str, str]:
    """The package's five CSV files, read with nothing but the standard library."""
    texts = {}
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            path = Path(member.name)
            if path.parent.name == "data" and (file := archive.extractfile(member)):
                content = file.read()
                if path.suffix == ".zip":
                    content = zipfile.ZipFile(io.BytesIO(content)).read("flights.csv")
                texts[path.name.split(".")[0]] = content.decode("utf-8")
    return texts


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the dataset that a test may damage, and that labkit reads instead."""
    folder = tmp_path / "flights"
    shutil.copytree(data.DATA, folder)
    monkeypatch.setattr(data, "DATA", folder)
    yield folder


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def shipped(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "README.md")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


# against the published package


def test_the_deliveries_hold_exactly_the_lines_of_the_published_flights(raw: dict[str, str]) -> None:
    header, *published = (
        ",".join("" if cell == "NA" else cell for cell in line.split(",")) for line in raw["flights"].splitlines()
    )
    delivered: list[str] = []
    for month in data.MONTHS:
        first, *rows = data.delivery(month).decode("utf-8").splitlines()
        assert first == header
        assert {row.split(",")[1] for row in rows} == {str(month)}
        delivered += rows
    assert len(delivered) == 336_776
    assert sorted(delivered) == sorted(published)


@pytest.mark.parametrize("name", ["weather", "airports", "airlines", "planes"])
def test_the_other_tables_hold_exactly_the_cells_of_the_published_ones(raw: dict[str, str], name: str) -> None:
    table = pq.read_table(data.DATA / f"{name}.parquet")
    convert: dict[str, Callable[[str], object]] = {
        "int32": int,
        "double": float,
        "string": str,
        "timestamp[us, tz=UTC]": lambda text: datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
    }
    read = [convert[str(kind)] for kind in table.schema.types]
    header, *published = csv.reader(io.StringIO(raw[name]))
    assert header == table.schema.names
    expected = Counter(
        tuple(None if cell == "NA" else to(cell) for to, cell in zip(read, row, strict=True)) for row in published
    )
    assert Counter(tuple(row.values()) for row in table.to_pylist()) == expected


def test_the_package_rebuilds_every_file_byte_for_byte(package: Path, tmp_path: Path) -> None:
    build.write(build.read(package), tmp_path)
    assert shipped(tmp_path) == shipped(data.DATA)


def test_the_datasheets_months_are_those_counted_in_the_published_csv(raw: dict[str, str]) -> None:
    flights = list(csv.DictReader(io.StringIO(raw["flights"])))
    stated = [line.strip("| ").split(" | ") for line in SHEET.read_text(encoding="utf-8").splitlines()]
    table = {cells[0]: cells for cells in stated if cells[0].startswith("2013")}
    for month in range(1, 13):
        rows = [row for row in flights if row["month"] == str(month)]
        cancelled = sum(row["dep_time"] == "NA" for row in rows)
        arrived = [int(row["arr_delay"]) for row in rows if row["arr_delay"] != "NA"]
        late = sum(delay > 15 for delay in arrived)
        counts = (len(rows), cancelled, len(rows) - cancelled - len(arrived), late)
        rates = (late / len(arrived), late / len(rows))
        expected = [f"{count:,}" for count in counts] + [f"{100 * rate:.1f}%" for rate in rates]
        assert table[f"2013-{month:02d}"][1:7] == expected


@pytest.mark.parametrize("wrong", ["other", "absent"])
def test_another_file_than_the_published_package_is_refused_in_one_sentence(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / build.SDIST
    if wrong == "other":
        file.write_bytes(b"not the package")
    assert console.run(build.app, ["--from", str(file), "--into", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert str(file) in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FailureError, match="--from FILE"):
        build.fetch(tmp_path)


def test_another_writer_is_refused_and_leaves_the_files_alone(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PYARROW", "0.0.1")
    with pytest.raises(UserError, match=r"pyarrow 0\.0\.1"):
        build.write({}, copy)
    data.verify()


# the datasheet


def test_the_datasheet_states_what_is_counted() -> None:
    text = SHEET.read_text(encoding="utf-8")
    assert describe.sheet(text) == text


def test_a_wrong_figure_in_the_datasheet_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "README.md"
    text = SHEET.read_text(encoding="utf-8")
    assert text.count("| 27,004 |") == 1
    file.write_text(text.replace("| 27,004 |", "| 27,005 |"), encoding="utf-8")
    assert console.run(describe.app, ["--file", str(file)]) == 1
    assert "27,005" in capsys.readouterr().err
    assert console.run(describe.app, ["--file", str(file), "--write"]) == 0
    assert file.read_text(encoding="utf-8") == text


def test_a_datasheet_without_a_table_is_not_taken_for_right() -> None:
    with pytest.raises(FailureError, match="quirks"):
        describe.sheet(SHEET.read_text(encoding="utf-8").replace("<!-- quirks -->", ""))


def test_what_the_datasheet_says_of_keys_and_missing_values_holds() -> None:
    flights, weather = data.flights(), data.weather()
    assert not flights.duplicated(["time_hour", "carrier", "flight"]).any()
    assert not weather.duplicated(["origin", "time_hour"]).any()
    assert flights["arr_delay"].isna().equals(flights["air_time"].isna())
    assert flights["dep_time"].isna().equals(flights["dep_delay"].isna())
    assert flights.loc[flights["tailnum"].isna(), "dep_time"].isna().all()
    new_york = pd.to_datetime(flights[["year", "month", "day", "hour"]]).dt.tz_localize("America/New_York")
    assert (new_york == flights["time_hour"]).all()


# checksums


def test_the_checksums_name_every_file_and_no_other() -> None:
    names = {line.split()[1] for line in (data.DATA / "SHA256SUMS").read_text(encoding="ascii").splitlines()}
    assert names | {"SHA256SUMS"} == set(shipped(data.DATA))
    data.verify()


@pytest.mark.parametrize("name", ["flights/2013-03.parquet", "weather.parquet"])
def test_one_altered_bit_is_noticed_and_the_file_named(copy: Path, name: str) -> None:
    damage(copy / name)
    with pytest.raises(FailureError, match=name):
        data.verify()
    with pytest.raises(UserError, match=name):
        data.weather() if name == "weather.parquet" else data.flights(3)


def test_a_month_is_read_although_another_is_damaged(copy: Path) -> None:
    damage(copy / "flights" / "2013-03.parquet")
    assert len(data.flights(4)) == 28_330


def test_a_missing_month_is_named_with_what_brings_it_back(copy: Path) -> None:
    (copy / "flights" / "2013-03.parquet").unlink()
    with pytest.raises(UserError, match=r"2013-03\.parquet is missing: .*git checkout"):
        data.flights_path(3)
    with pytest.raises(FailureError, match=r"2013-03\.parquet is missing"):
        data.verify()


@pytest.mark.parametrize("sums", [None, "not a list of checksums\n"])
def test_checksums_that_cannot_be_read_are_one_sentence(copy: Path, sums: str | None) -> None:
    (copy / "SHA256SUMS").unlink()
    if sums is not None:
        (copy / "SHA256SUMS").write_text(sums, encoding="ascii")
    with pytest.raises(FailureError, match=r"SHA256SUMS is .*git checkout"):
        data.flights(1)


# reading


@pytest.mark.parametrize("month", [0, 13, -1, "3", 1.5, None, [1, 2]])
def test_a_month_outside_the_year_is_refused(month: object) -> None:
    with pytest.raises(UserError, match="from 1 to 12"):
        data.flights(month)  # type: ignore[arg-type]


@pytest.mark.parametrize("columns", [["day", "delay"], "day"])
def test_an_unknown_column_is_named_with_the_ones_there_are(columns: object) -> None:
    with pytest.raises(UserError, match=r"no column '(delay|d)'.*arr_delay"):
        data.flights(1, columns=columns)  # type: ignore[arg-type]


def test_months_and_columns_come_as_asked() -> None:
    frame = data.flights(2, np.int64(1), columns=["dest", "month"])  # type: ignore[arg-type]
    assert list(frame.columns) == ["dest", "month"]
    assert list(frame["month"].unique()) == [2, 1]
    assert len(frame) == 24_951 + 27_004
    assert frame.index.is_unique


def test_a_columns_type_is_the_same_in_every_month() -> None:
    types = {tuple(data.flights(month).dtypes.items()) for month in data.MONTHS}
    assert len(types) == 1
    assert {str(kind) for _, kind in types.pop()} == {"int32", "Int32", "str", "datetime64[us, UTC]"}


def test_a_delivery_reads_back_as_the_month_it_came_from() -> None:
    month = data.flights(9)
    content = data.delivery(9)
    back = pd.read_csv(io.BytesIO(content), dtype=month.dtypes.drop("time_hour").to_dict(), parse_dates=["time_hour"])
    pd.testing.assert_frame_equal(back.astype(month.dtypes.to_dict()), month)
    assert content == data.delivery(9)
    assert b"\r" not in content and b"NaN" not in content and b"<NA>" not in content


@pytest.mark.parametrize("month", data.MONTHS)
def test_a_week_can_be_read_without_the_rest_of_its_month(month: int) -> None:
    file = pq.ParquetFile(data.flights_path(month))
    day = file.schema_arrow.names.index("day")
    days = [file.metadata.row_group(group).column(day).statistics for group in range(file.num_row_groups)]
    assert sum(part.min <= 7 for part in days) <= 2 < len(days)
    assert [(part.min, part.max) for part in days] == sorted((part.min, part.max) for part in days)
