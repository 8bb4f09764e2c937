"""The flights that left New York in 2013, and what goes with them: checked against their checksums, then read.

What the columns mean, in which units, and where the data bites is in `datasets/flights/README.md`.
"""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from labkit import course
from labkit.errors import FailureError, UserError

MONTHS: tuple[int, ...] = tuple(range(1, 13))


def _folder() -> Path:
    """The data beside this package (a clone), else that of the course around the current folder."""
    beside = Path(__file__).resolve().parent.parent / "datasets" / "flights"
    return beside if beside.is_dir() else course.find().root / "datasets" / "flights"


DATA: Path = _folder()


def flights_path(month: int) -> Path:
    """The Parquet file of one month; raises UserError for a month outside 1 to 12, or a missing or altered file."""
    if month not in MONTHS:
        raise UserError(f"there is no month {month!r}: months are whole numbers from 1 to 12")
    return _checked(DATA / "flights" / f"2013-{int(month):02d}.parquet")


def flights(*months: int, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The flights of `months` (all twelve when none is given), one row each, in the order of the schedule."""
    return _read([flights_path(month) for month in months or MONTHS], columns)


def weather() -> pd.DataFrame:
    """Hourly readings at the three airports; joins flights on `origin` and `time_hour`."""
    return _read([_checked(DATA / "weather.parquet")])


def airports() -> pd.DataFrame:
    """Where airports are; `faa` joins `origin` and `dest` of flights."""
    return _read([_checked(DATA / "airports.parquet")])


def airlines() -> pd.DataFrame:
    """The names of the carriers; `carrier` joins flights."""
    return _read([_checked(DATA / "airlines.parquet")])


def planes() -> pd.DataFrame:
    """The aircraft that are registered; `tailnum` joins flights."""
    return _read([_checked(DATA / "planes.parquet")])


def delivery(month: int) -> bytes:
    """One month as the airport's nightly drop: UTF-8 CSV with a header, rows and columns as in the Parquet file.

    An empty field is a missing value. The bytes are the same on every call and every machine.
    """
    table = pq.read_table(flights_path(month))
    place = table.schema.get_field_index("time_hour")
    seconds = table["time_hour"].cast(pa.timestamp("s", tz="UTC"))
    table = table.set_column(place, "time_hour", pc.strftime(seconds, format="%Y-%m-%dT%H:%M:%SZ"))
    sink = pa.BufferOutputStream()
    sink.write(",".join(table.column_names).encode() + b"\n")
    csv.write_csv(table, sink, csv.WriteOptions(include_header=False, quoting_style="none"))
    raw: bytes = sink.getvalue().to_pybytes()
    return raw


def verify() -> None:
    """Check every file of the dataset against SHA256SUMS; raises FailureError naming the first that differs."""
    for name in _sums(DATA):
        if problem := _problem(DATA / name):
            raise FailureError(problem)


@functools.cache
def _checked(file: Path) -> Path:
    """`file`, once it was found as shipped: the first use in a process pays for the checksum, the others do not."""
    if problem := _problem(file):
        raise UserError(problem)
    return file


def _problem(file: Path) -> str | None:
    """What is wrong with a file of the dataset, in one sentence."""
    mend = "bring it back with `git checkout -- datasets/flights`"
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        return f"{file} is missing: {mend}"
    if found != _sums(DATA).get(file.relative_to(DATA).as_posix()):
        return f"{file} is not the file that the course ships (its checksum differs): {mend}"
    return None


@functools.cache
def _sums(folder: Path) -> dict[str, str]:
    """The checksums by file name, as `sha256sum` writes them."""
    file = folder / "SHA256SUMS"
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        return {name: digest for digest, name in (line.split() for line in lines)}
    except FileNotFoundError:
        raise FailureError(f"{file} is missing: bring it back with `git checkout -- datasets/flights`") from None
    except ValueError:
        raise FailureError(f"{file} is broken: bring it back with `git checkout -- datasets/flights`") from None


def _read(files: Sequence[Path], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read Parquet files into one frame: whole numbers stay whole, nullable only where values may be missing."""
    known = pq.read_schema(files[0]).names
    if unknown := [name for name in columns or () if name not in known]:
        raise UserError(f"there is no column {unknown[0]!r}: the columns are {', '.join(known)}")
    wanted = None if columns is None else list(columns)
    table = pa.concat_tables([pq.read_table(file, columns=wanted) for file in files])
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get)
    whole = {field.name: "int32" for field in table.schema if field.type == pa.int32() and not field.nullable}
    return frame.astype(whole)
