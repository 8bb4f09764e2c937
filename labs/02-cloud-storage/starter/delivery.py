"""What the airport and we agreed on: the columns, their units, and how a delivery is read. Given, nothing to write."""

import io

import pandas as pd
import pyarrow as pa

COLUMNS = [
    # name, type in storage, unit or meaning, may be empty
    ("year", pa.int16(), "scheduled departure, local date", False),
    ("month", pa.int8(), "1 to 12", False),
    ("day", pa.int8(), "1 to 31", False),
    ("dep_time", pa.int16(), "hhmm local, midnight is 2400", True),
    ("sched_dep_time", pa.int16(), "hhmm local", False),
    ("dep_delay", pa.int16(), "minutes, early is negative", True),
    ("arr_time", pa.int16(), "hhmm local at the destination, midnight is 2400", True),
    ("sched_arr_time", pa.int16(), "hhmm local at the destination", False),
    ("arr_delay", pa.int16(), "minutes, early is negative", True),
    ("carrier", pa.string(), "code of the airline", False),
    ("flight", pa.int16(), "flight number", False),
    ("tailnum", pa.string(), "registration of the aircraft", True),
    ("origin", pa.string(), "airport code", False),
    ("dest", pa.string(), "airport code", False),
    ("air_time", pa.int16(), "minutes in the air", True),
    ("distance", pa.int16(), "miles", False),
    ("hour", pa.int8(), "of the scheduled departure", False),
    ("minute", pa.int8(), "of the scheduled departure", False),
    ("time_hour", pa.timestamp("s", tz="UTC"), "scheduled departure, to the hour", False),
]

SCHEMA = pa.schema([pa.field(name, type, empty, metadata={"unit": unit}) for name, type, unit, empty in COLUMNS])
"""The schema of a stored month. `SCHEMA.field("distance").metadata` names the unit."""

REQUIRED = [field.name for field in SCHEMA if not field.nullable]
"""The columns that are never empty."""

AIRPORTS = ("EWR", "JFK", "LGA")
"""Where the flights of this airport authority take off."""

FLIGHT = ["year", "month", "day", "carrier", "flight", "origin"]
"""The columns that together name one flight."""


def read_delivery(raw: bytes) -> pd.DataFrame:
    """Return a nightly CSV drop as a frame: numbers as float64, empty fields as NaN, one row a line.

    Raises ValueError where the bytes are no delivery at all: other columns, a row with a field too many, or text
    where a number belongs.
    A line that was cut off is no error here: its last fields are empty, and so is a time in another form.
    """
    numbers = {field.name: "float64" for field in SCHEMA if pa.types.is_integer(field.type)}
    texts = {field.name: "str" for field in SCHEMA if field.name not in numbers}
    frame = pd.read_csv(io.BytesIO(raw), dtype=numbers | texts, keep_default_na=False, na_values=[""])
    if list(frame.columns) != SCHEMA.names:
        raise ValueError(f"this is no delivery of flights: its columns are {', '.join(map(str, frame.columns))}")
    # The exact form: a looser one takes the beginning of a time that was cut off for another time.
    hours = pd.to_datetime(frame["time_hour"], format="%Y-%m-%dT%H:%M:%SZ", utc=True, errors="coerce")
    return frame.assign(time_hour=hours)
