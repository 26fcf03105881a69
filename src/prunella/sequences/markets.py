"""Market and weather series that come with packages of the Python package index."""

from __future__ import annotations

from functools import partial

import numpy as np

from prunella.core.errors import FileError
from prunella.sequences.reading import numbers, package_file, read_table
from prunella.sequences.series import Series, next_of, windows
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Task

_PRICES = ("Open", "High", "Low", "Close", "Volume")
_MARKET_DAYS = 30
_WEATHER_DAYS = 30
_KINDS = ("drizzle", "rain", "sun", "snow", "fog")
_WEATHER = ("precipitation", "temp_max", "temp_min", "wind")
_YEAR_DAYS = 365.25
_PERCENT = 100.0


def market(name: str, target: str, asked: Asked) -> SequenceSet:
    """Daily prices of an index: what is said of the next trading day.

    A day has, in per cent of the day before's close (as logarithms): open, high, low and close; and
    the logarithm of the change of volume. Levels, which drift for decades, are left out.

    Args:
        name: "nasdaq" or "sp500".
        target: "return": 100 log of the next close over this one. "range": log of 100 times the log
            of the next day's high over its low, a measure of how much prices move.
        asked: Which part.
    """
    path = package_file("arch", f"data/{name}/{name}.csv.gz", data_dir=asked.data_dir)
    table = numbers(read_table(path, _PRICES), _PRICES, path=path)
    # A day without trade has the volume 0, and its change cannot be said.
    volume = np.where(table[:, 4] > 0, table[:, 4], np.nan)
    prices = table[:, :4]
    if (prices <= 0).any() or (prices[:, 1] < prices[:, 2]).any():
        raise FileError(f"{path}: a price is not positive, or a day's high below its low.")
    log = np.log(prices)
    changes = _PERCENT * (log[1:] - log[:-1, 3:])
    values = np.column_stack((changes, np.diff(np.log(volume))))
    if target == "return":
        said, output = changes[:, 3], "return of the next day, %"
    else:
        width = _PERCENT * (log[1:, 1] - log[1:, 2])
        said = np.log(np.where(width > 0, width, np.nan))
        output = "log of the range of the next day in %"
    series = Series(
        name=f"{name} {target}",
        values=values,
        targets=next_of(said),
        features=("open", "high", "low", "close", "change of volume"),
        output=output,
    )
    return windows(series, asked, length=_MARKET_DAYS)


def seattle_weather(asked: Asked) -> SequenceSet:
    """Daily weather of Seattle, 2012 to 2015: the next day's highest temperature."""
    path = package_file("vega_datasets", "_data/seattle-weather.csv", data_dir=asked.data_dir)
    columns = read_table(path, ("date", *_WEATHER, "weather"))
    table = numbers(columns, _WEATHER, path=path)
    kinds = np.array([[kind == known for known in _KINDS] for kind in columns["weather"]])
    try:
        days = np.array([day.replace("/", "-") for day in columns["date"]], dtype="datetime64[D]")
    except ValueError:
        raise FileError(f"{path}: expected dates such as 2012/01/01.") from None
    if (np.diff(days) != np.timedelta64(1, "D")).any():
        raise FileError(f"{path}: expected one row for each day, in order.")
    angle = 2 * np.pi * (days - days[0]).astype(np.float64) / _YEAR_DAYS
    series = Series(
        name="seattle-weather",
        values=np.column_stack(
            (np.log1p(table[:, :1]), table[:, 1:], kinds, np.sin(angle), np.cos(angle))
        ),
        targets=next_of(table[:, 1]),
        features=(
            "log of 1 + rain, mm",
            "highest temperature, C",
            "lowest temperature, C",
            "wind, m/s",
            *_KINDS,
            "sine of the season",
            "cosine of the season",
        ),
        output="highest temperature of the next day, C",
    )
    return windows(series, asked, length=_WEATHER_DAYS)


_ARCH = "package arch (licence NCSA), file arch/data/{0}/{0}.csv.gz, daily, 1999 to 2018"

MARKETS = (
    *(
        Task(
            name=f"{index}-{target}",
            line=f"{said} of the next trading day of the {title} index, from daily prices",
            kind="regression",
            source=_ARCH.format(index),
            make=partial(market, index, target),
        )
        for index, title in (("nasdaq", "NASDAQ"), ("sp500", "S&P 500"))
        for target, said in (("return", "return"), ("range", "range"))
    ),
    Task(
        name="seattle-weather",
        line="highest temperature of the next day in Seattle, from daily weather",
        kind="regression",
        source="package vega_datasets (licence MIT; NOAA data, public domain), 2012 to 2015",
        make=seattle_weather,
    ),
)
