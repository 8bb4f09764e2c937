"""Count what the datasheet of the flights states, and write it into `datasets/flights/README.md`.

`python datasets/describe.py` compares (exit code 1 where they differ); `--write` brings the datasheet up to date.
"""

import difflib
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from labkit import console, data
from labkit.errors import FailureError

LATE = 15
"""Minutes: a flight is late when it arrives more than this after its schedule."""

NEW_YORK = "America/New_York"

MEANING = {
    "flights": {
        "year": "date of the scheduled departure, New York time",
        "month": "date of the scheduled departure, New York time; one file a month",
        "day": "date of the scheduled departure, New York time",
        "dep_time": "actual departure, hhmm, New York time; missing: cancelled",
        "sched_dep_time": "scheduled departure, hhmm, New York time",
        "dep_delay": "minutes after the scheduled departure; negative: early",
        "arr_time": "actual arrival, hhmm, time of the destination",
        "sched_arr_time": "scheduled arrival, hhmm, time of the destination",
        "arr_delay": "minutes after the scheduled arrival; negative: early; missing: cancelled or diverted",
        "carrier": "two-character code of the airline; joins `airlines`",
        "flight": "number of the flight within its airline",
        "tailnum": "registration of the aircraft; joins `planes`",
        "origin": "airport of departure: `EWR`, `JFK` or `LGA`; joins `airports.faa`",
        "dest": "airport of destination; joins `airports.faa`",
        "air_time": "minutes in the air",
        "distance": "miles between the two airports",
        "hour": "hours of `sched_dep_time`",
        "minute": "minutes of `sched_dep_time`",
        "time_hour": "the scheduled departure cut to the full hour, UTC; with `origin` joins `weather`",
    },
    "weather": {
        "origin": "airport of the station",
        "year": "date of the reading, New York time",
        "month": "date of the reading, New York time",
        "day": "date of the reading, New York time",
        "hour": "hour of the reading, New York time",
        "temp": "air temperature, degrees Fahrenheit",
        "dewp": "dew point, degrees Fahrenheit",
        "humid": "relative humidity, percent",
        "wind_dir": "direction the wind blows from, degrees",
        "wind_speed": "miles an hour",
        "wind_gust": "miles an hour; missing: no gust reported",
        "precip": "precipitation, inches",
        "pressure": "at sea level, millibars",
        "visib": "visibility, miles",
        "time_hour": "the hour of the reading, UTC",
    },
    "airports": {
        "faa": "code of the airport",
        "name": "its name",
        "lat": "latitude, degrees north",
        "lon": "longitude, degrees east",
        "alt": "altitude, feet",
        "tz": "hours from UTC in winter",
        "dst": "daylight saving: `A` as in the United States, `N` none, `U` unknown",
        "tzone": "IANA name of the time zone",
    },
    "airlines": {"carrier": "two-character code of the airline", "name": "its name"},
    "planes": {
        "tailnum": "registration of the aircraft",
        "year": "year it was built; not the `year` of flights, so name the columns when you join",
        "type": "type of aircraft",
        "manufacturer": "who built it",
        "model": "model",
        "engines": "number of engines",
        "seats": "number of seats",
        "speed": "average cruising speed, miles an hour",
        "engine": "type of engine",
    },
}


def months() -> list[list[str]]:
    """One row a month: flights, how many did not arrive, and the late rate counted both ways; then the year."""
    flights = data.flights(columns=["month", "dep_time", "arr_delay"])
    rows = [
        ["month", "flights", "cancelled", "diverted", "late", "late, of those that arrived", "late, of all", "bytes"]
    ]
    for month in (*data.MONTHS, None):
        part = flights if month is None else flights[flights["month"] == month]
        size = sum(data.flights_path(one).stat().st_size for one in ([month] if month else data.MONTHS))
        cancelled = part["dep_time"].isna()
        arrived = part["arr_delay"].notna()
        late = part["arr_delay"].gt(LATE).fillna(False)
        rows.append(
            [
                f"2013-{month:02d}" if month else "2013",
                _count(len(part)),
                _count(cancelled.sum()),
                _count((~cancelled & ~arrived).sum()),
                _count(late.sum()),
                f"{late.sum() / arrived.sum():.1%}",
                f"{late.mean():.1%}",
                _count(size),
            ]
        )
    return rows


def quirks() -> list[list[str]]:
    """One row a quirk: what it is, how many rows show it, and what to make of it."""
    flights, weather, planes, airports = data.flights(), data.weather(), data.planes(), data.airports()
    cancelled = flights["dep_time"].isna()
    lost = flights["arr_delay"].isna()
    departed = _minutes(flights["dep_time"]) - _minutes(flights["sched_dep_time"]) - flights["dep_delay"]
    arrived = _minutes(flights["arr_time"]) - _minutes(flights["sched_arr_time"]) - flights["arr_delay"]
    unknown_plane = ~flights["tailnum"].isin(planes["tailnum"])
    unknown_airport = ~flights["dest"].isin(airports["faa"])
    utc = flights["time_hour"]
    measured = pd.MultiIndex.from_frame(weather[["origin", "time_hour"]])
    twice = weather[weather.duplicated(["origin", "year", "month", "day", "hour"])]
    year = pd.date_range("2013-01-01", "2014-01-01", freq="h", tz=NEW_YORK, inclusive="left")
    hours = pd.MultiIndex.from_product([sorted(set(weather["origin"])), year])
    gone = hours[~hours.isin(measured)]
    after_last = gone.get_level_values(1) > weather["time_hour"].max()
    return [
        ["what", "rows", "so"],
        [
            "flights cancelled: no `dep_time`, `dep_delay`, `arr_time`, `arr_delay`, `air_time`",
            _count(cancelled.sum()),
            "they are neither late nor on time; say how you count them",
        ],
        [
            "flights diverted: departed, but no `arr_delay` and no `air_time`",
            _count((lost & ~cancelled).sum()),
            "`arr_delay` is what says that a flight arrived as planned, not `arr_time`",
        ],
        [
            "of these, with an `arr_time` all the same",
            _count((lost & flights["arr_time"].notna()).sum()),
            "do not compute a delay from `arr_time`",
        ],
        [
            "flights without `tailnum`, all of them cancelled",
            _count((flights["tailnum"].isna() & cancelled).sum()),
            "that it is missing tells the outcome: it happens to no other flights",
        ],
        [
            "departures at midnight, written 2400 and never 0",
            _count((flights["dep_time"] == 2400).sum()),
            "hhmm is not a number of minutes: take `// 100 * 60 + % 100`, modulo a day",
        ],
        [
            "arrivals at midnight, written 2400 and never 0",
            _count((flights["arr_time"] == 2400).sum()),
            "the same; the scheduled columns never say 2400",
        ],
        [
            "departures on another date than scheduled: `dep_time` less `sched_dep_time` is a day off `dep_delay`",
            _count((departed.abs() == 24 * 60).sum()),
            "trust the delay; `year`, `month`, `day` are the scheduled date",
        ],
        [
            "arrivals on another date than scheduled: the same for `arr_delay`",
            _count((arrived.abs() == 24 * 60).sum()),
            "trust the delay",
        ],
        [
            "flights that land, by the clocks, before they leave: `arr_time` less than `dep_time`",
            _count((flights["arr_time"] < flights["dep_time"]).sum()),
            "past midnight, or in a time zone further west: the two clocks differ",
        ],
        [
            "flights 4 hours from UTC, in daylight saving time",
            _count((_offset(flights) == 4).sum()),
            "`hour` of New York and the hour of `time_hour` differ by 4",
        ],
        [
            "flights 5 hours from UTC, in winter",
            _count((_offset(flights) == 5).sum()),
            "by 5: join on `time_hour`, never on its parts",
        ],
        [
            "flights whose month in UTC is another than `month`",
            _count((utc.dt.month != flights["month"]).sum()),
            "partition by `month` and `year` as given, not by those of `time_hour`",
        ],
        [
            "pairs of flights that share date, `carrier` and `flight`",
            _count(flights.duplicated(["month", "day", "carrier", "flight"]).sum()),
            "the key is `time_hour`, `carrier`, `flight`: it is unique",
        ],
        [
            "flights scheduled to leave before 5 in the morning",
            _count((flights["hour"] < 5).sum()),
            "it was to fly from `EWR` to `LGA`, and was cancelled: a record to doubt",
        ],
        [
            "flights whose `tailnum` (if any) is not in `planes`",
            _count(unknown_plane.sum()),
            "join left, and expect missing values",
        ],
        [
            "of these, of `AA` or `MQ`",
            _count((unknown_plane & flights["carrier"].isin(["AA", "MQ"])).sum()),
            "both report numbers of their fleet; missing is not at random",
        ],
        [
            "flights to an airport that is not in `airports`: "
            + ", ".join(f"`{code}`" for code in sorted(set(flights["dest"][unknown_airport]))),
            _count(unknown_airport.sum()),
            "Puerto Rico and the Virgin Islands: no coordinates, no time zone",
        ],
        [
            "hours of the year without weather, over the three airports",
            _count(len(gone)),
            "join left, and decide what a missing hour means",
        ],
        [
            f"of these, after the last reading ({weather['time_hour'].max():%Y-%m-%d %H:%M} UTC)",
            _count(after_last.sum()),
            "the readings stop before the year does",
        ],
        [
            "flights without weather in their hour",
            _count((~pd.MultiIndex.from_frame(flights[["origin", "time_hour"]]).isin(measured)).sum()),
            "an inner join loses them, and silently",
        ],
        [
            "weather hours that come twice in New York time",
            _count(len(twice)),
            f"the clock was set back ({twice['time_hour'].min():%Y-%m-%d}); in `time_hour` each is there once",
        ],
        [
            "winds above 100 miles an hour",
            _count((weather["wind_speed"] > 100).sum()),
            f"{weather['wind_speed'].max():,.0f} miles an hour is a broken reading: check ranges",
        ],
        [
            "weather hours without `pressure`",
            _count(weather["pressure"].isna().sum()),
            f"{weather['pressure'].isna().mean():.0%} of all hours: impute, or leave the column",
        ],
        [
            "airports north of 72 degrees",
            _count((airports["lat"] > 72).sum()),
            "`EEN`, in New Hampshire: its latitude and longitude are exchanged",
        ],
    ]


def columns(name: str) -> list[list[str]]:
    """One row a column of the table `name`: meaning and unit, type, missing values, least and greatest value."""
    files = (
        [data.flights_path(month) for month in data.MONTHS] if name == "flights" else [data.DATA / f"{name}.parquet"]
    )
    table = pa.concat_tables([pq.read_table(file) for file in files])
    rows = [["column", "meaning and unit", "type", "missing", "least", "greatest"]]
    for field in table.schema:
        column = table[field.name]
        least, greatest = (_value(end.as_py()) for end in pc.min_max(column).values())
        kind = "timestamp" if pa.types.is_timestamp(field.type) else str(field.type)
        missing = _count(column.null_count) if field.nullable else "never"
        rows.append([f"`{field.name}`", MEANING[name][field.name], kind, missing, least, greatest])
    return rows


def sheet(text: str) -> str:
    """The datasheet `text` with each table between its marks `<!-- name -->` and `<!-- /name -->` counted anew."""
    tables = {"months": months(), "quirks": quirks()} | {name: columns(name) for name in MEANING}
    for name, rows in tables.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        before, *found = marks.split(text)
        if len(found) != 3:
            raise FailureError(f"the datasheet must hold the marks <!-- {name} --> and <!-- /{name} --> once")
        start, end, after = found
        text = before + start + _markdown(rows) + end + after
    return text


def _markdown(rows: list[list[str]]) -> str:
    number = re.compile(r"-?[\d,.]+%?|never")
    right = [all(number.fullmatch(cell) for cell in column) for column in zip(*rows[1:], strict=True)]
    rule = ["---:" if numeric else "---" for numeric in right]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [rows[0], rule, *rows[1:]])


def _minutes(hhmm: "pd.Series[int]") -> "pd.Series[int]":
    """Minutes since midnight; 2400 is the end of the day."""
    return hhmm // 100 * 60 + hhmm % 100


def _offset(flights: pd.DataFrame) -> "pd.Series[int]":
    """Hours that New York is behind UTC."""
    behind: pd.Series[int] = (flights["time_hour"].dt.hour - flights["hour"]) % 24
    return behind


def _count(number: float) -> str:
    return f"{int(number):,}"


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,.10g}" if isinstance(value, float) else str(value)


app = typer.Typer(add_completion=False)


@app.command()
def describe(
    write: Annotated[bool, typer.Option("--write", help="Write the figures into the datasheet.")] = False,
    file: Annotated[Path, typer.Option(help="The datasheet.")] = data.DATA / "README.md",
) -> None:
    """Count what the datasheet states; fail where it states something else."""
    text = file.read_text(encoding="utf-8")
    counted = sheet(text)
    if write:
        file.write_text(counted, encoding="utf-8", newline="\n")
    elif counted != text:
        stated, is_now = (value.splitlines() for value in (text, counted))
        line = next(line for line in difflib.ndiff(stated, is_now) if line.startswith("- "))
        raise FailureError(f"{file} states what is not so: {line[2:]!r}; run `python datasets/describe.py --write`")


if __name__ == "__main__":
    sys.exit(console.run(app))
