"""The nightly ingest: a delivery comes in, is checked, and replaces its month in the store. Tasks 1, 2 and 3."""

import hashlib
import io
from collections.abc import Sequence
from typing import Literal, TypedDict

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from starter.delivery import AIRPORTS, FLIGHT, REQUIRED, SCHEMA, read_delivery
from starter.store import head, s3


class Report(TypedDict):
    """What one run did. delivered = stored + quarantined, in rows."""

    action: Literal["created", "replaced", "unchanged"]
    delivered: int
    stored: int
    quarantined: int


# ---------------------------------------------------------------- Task 1: layout


def month_key(year: int, month: int) -> str:
    """Return the key of a month's object, e.g. `flights/year=2013/month=01/flights.parquet`.

    Year and month always have four and two digits, so that the order of the keys is the order in time.
    Raises ValueError for a month outside 1 to 12.
    """
    ### BEGIN SOLUTION
    if not 1 <= month <= 12:
        raise ValueError(f"month {month} does not exist: months are 1 to 12")
    return f"flights/year={year:04d}/month={month:02d}/flights.parquet"
    ### END SOLUTION


def encode_month(frame: pd.DataFrame, note: dict[str, str] | None = None) -> bytes:
    """Return the frame as the bytes of one Parquet file, with the types and units of `SCHEMA`.

    frame: the columns of `SCHEMA`, in any order, numbers as float64 or whole numbers. An empty value becomes a null.
    note: texts to keep in the file's own metadata, beside the schema (Task 7 uses it).
    Raises ValueError where a value does not fit the type of its column: no digit is lost in silence. (pyarrow's
    ArrowInvalid is a ValueError.)
    """
    # 1. Make an Arrow table of the frame, with SCHEMA and without the frame's index.
    # 2. Add the note to the metadata of the table's schema.
    # 3. Write it as Parquet into memory and return the bytes.
    ### BEGIN SOLUTION
    table = pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **(note or {})})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
    ### END SOLUTION


def read_month(bucket: str, year: int, month: int, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return one stored month: `columns` in the order asked for, all of them when None.

    The types of the frame are those that pyarrow gives: whole numbers with nulls come as floats.
    Raises LookupError, naming the month, where that month is not stored.
    """
    ### BEGIN SOLUTION
    key = month_key(year, month)
    if head(bucket, key) is None:
        raise LookupError(f"{year}-{month:02d} is not stored in {bucket}")
    body = s3().get_object(Bucket=bucket, Key=key)["Body"].read()
    frame = pq.read_table(io.BytesIO(body), columns=None if columns is None else list(columns)).to_pandas()
    return frame if columns is None else frame[list(columns)]
    ### END SOLUTION


# ---------------------------------------------------------------- Task 2: a schema with units and ranges


def minutes_of_day(clock: pd.Series) -> pd.Series:
    """Return clock times written hhmm as minutes since midnight: 517 is 317, 2400 is 1440. NaN stays NaN."""
    ### BEGIN SOLUTION
    return clock // 100 * 60 + clock % 100
    ### END SOLUTION


def split_valid(frame: pd.DataFrame, year: int, month: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (stored, quarantined): every row of `frame` is in exactly one of them, in the order delivered.

    stored: the columns of `frame`. quarantined: the same and `reason`, the first rule of the notebook's table that
    the row breaks. An empty `dep_time`, `arr_time`, delay or `air_time` breaks no rule: the flight was cancelled.
    """
    # 1. For each reason, in the table's order: which rows break that rule? A Series of True and False.
    # 2. Give each row the first reason that fits.
    # 3. Among the rows without a reason, the second and later ones of a flight are duplicates.
    # 4. Split by whether there is a reason.
    ### BEGIN SOLUTION
    clocks = frame[["dep_time", "sched_dep_time", "arr_time", "sched_arr_time"]]
    hhmm = clocks.isna() | ((clocks >= 1) & (clocks <= 2400) & (clocks % 100 < 60))

    def contradicts(event: str) -> pd.Series:
        late = minutes_of_day(frame[f"{event}_time"]) - minutes_of_day(frame[f"sched_{event}_time"])
        return ((late - frame[f"{event}_delay"]) % 1440).fillna(0) != 0

    mph = frame["distance"] / (frame["air_time"] / 60)
    rules = {
        "month": (frame["year"] != year) | (frame["month"] != month),
        "missing": frame[REQUIRED].isna().any(axis=1),
        "origin": ~frame["origin"].isin(AIRPORTS),
        "clock": ~hhmm.all(axis=1),
        "delay": contradicts("dep") | contradicts("arr"),
        "distance": frame["distance"] <= 0,
        "speed": mph.notna() & ~mph.between(50, 800),
    }
    reason = pd.Series("", index=frame.index, dtype="object")
    for name, broken in rules.items():
        reason[broken & (reason == "")] = name
    valid = frame[reason == ""]
    reason[valid.index[valid.duplicated(FLIGHT)]] = "duplicate"
    return frame[reason == ""], frame[reason != ""].assign(reason=reason[reason != ""])
    ### END SOLUTION


# ---------------------------------------------------------------- Task 3: a run that can be repeated


def publish(bucket: str, key: str, body: bytes, metadata: dict[str, str], seen: str | None) -> bool:
    """Write an object only if the store still holds what we saw; return whether it was written.

    seen: the ETag of the object we looked at, None if there was none. Where somebody else wrote in the meantime
    (S3 answers `PreconditionFailed` or `ConditionalRequestConflict`), nothing is overwritten and False comes back.
    Any other error is raised as it is.
    """
    ### BEGIN SOLUTION
    condition = {"IfNoneMatch": "*"} if seen is None else {"IfMatch": seen}
    try:
        s3().put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata, **condition)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"):
            return False
        raise
    return True
    ### END SOLUTION


def ingest(bucket: str, year: int, month: int, raw: bytes) -> Report:
    """Bring one delivery into the store, so that running it again changes nothing; return what was done.

    raw: the nightly CSV drop of that month. Its SHA-256, in hex, is the metadata `source-sha256` of the month's
    object, beside `delivered`, `stored` and `quarantined`, the row counts as texts.
    Rows that break a rule go, as Parquet with their `reason`, to
    `quarantine/year=2013/month=01/<first 16 digits of the SHA-256>.parquet`; without such rows nothing is written there.
    Raises ValueError, and writes nothing at all, where `raw` is no delivery, where none of its rows is sound (a good
    month must not be replaced by an empty one), and where a sound row cannot be stored with the types of `SCHEMA`.
    Raises RuntimeError where another run was faster.
    """
    # 1. Is the month stored already, and from the same bytes? Then nothing is written: report what the metadata say.
    # 2. Read the delivery, split it and encode the month: whatever can be wrong with it shows before the first write.
    # 3. Write what is quarantined.
    # 4. Last of all publish the month: one conditional write makes the run valid.
    ### BEGIN SOLUTION
    key = month_key(year, month)
    digest = hashlib.sha256(raw).hexdigest()
    current = head(bucket, key)
    if current is not None and current["Metadata"].get("source-sha256") == digest:
        known = current["Metadata"]
        return {
            "action": "unchanged",
            "delivered": int(known["delivered"]),
            "stored": int(known["stored"]),
            "quarantined": int(known["quarantined"]),
        }
    frame = read_delivery(raw)
    stored, quarantined = split_valid(frame, year, month)
    if stored.empty:
        raise ValueError(f"none of {len(frame)} rows is a sound flight of {year}-{month:02d}: nothing was stored")
    body = encode_month(stored)
    counts = {"delivered": len(frame), "stored": len(stored), "quarantined": len(quarantined)}
    if len(quarantined):
        aside = f"quarantine/year={year:04d}/month={month:02d}/{digest[:16]}.parquet"
        s3().put_object(Bucket=bucket, Key=aside, Body=quarantined.to_parquet(index=False))
    metadata = {"source-sha256": digest} | {name: str(count) for name, count in counts.items()}
    if not publish(bucket, key, body, metadata, current["ETag"] if current else None):
        raise RuntimeError(f"another run stored {year}-{month:02d} in the meantime: look at it, then run again")
    return {"action": "replaced" if current else "created", **counts}
    ### END SOLUTION
