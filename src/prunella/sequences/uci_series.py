"""Regression sets of the UCI repository: air of Beijing, air of an Italian town, a house's energy.

Each is read from the file that the repository publishes, in a folder that the user gives. Of each,
what is to be said at every step is the next measurement.
"""

from __future__ import annotations

import numpy as np

from prunella.core.errors import FileError
from prunella.sequences.reading import folder_file, numbers, read_table
from prunella.sequences.series import Series, next_of, windows
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Task, uci_files

_HOURS = 48
_TEN_MINUTES = 72
_WINDS = ("NW", "NE", "SE", "cv")
_BEIJING = ("pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir")
# Of the reference instruments only those that nearly always worked; NMHC is missing nine times in
# ten.
_AIR = (
    "CO(GT)",
    "C6H6(GT)",
    "NOx(GT)",
    "NO2(GT)",
    "PT08.S1(CO)",
    "PT08.S2(NMHC)",
    "PT08.S3(NOx)",
    "PT08.S4(NO2)",
    "PT08.S5(O3)",
    "T",
    "RH",
    "AH",
)
_AIR_MISSING = -200.0
# All but two columns of noise that the authors added to test the choice of variables.
_ENERGY = (
    "Appliances",
    "lights",
    *(f"{kind}{room}" for room in range(1, 10) for kind in ("T", "RH_")),
    "T_out",
    "Press_mm_hg",
    "RH_out",
    "Windspeed",
    "Visibility",
    "Tdewpoint",
)
_ADVICE = "It is the data set {} of the UCI repository, https://archive.ics.uci.edu/dataset/{}."


def beijing(asked: Asked) -> SequenceSet:
    """Hourly weather of Beijing, 2010 to 2014: the next hour's fine dust.

    Source: Liang et al., "Assessing Beijing's PM2.5 pollution", Proc. R. Soc. A 471, 2015.
    """
    path = folder_file(
        ("PRSA_data_2010.1.1-2014.12.31.csv", "PRSA_Data_2010.1.1-2014.12.31.csv"),
        data_dir=asked.data_dir,
        advice=_ADVICE.format("Beijing PM2.5", 381),
    )
    columns = read_table(path, (*_BEIJING, "cbwd"))
    odd = sorted(set(columns["cbwd"]) - set(_WINDS))
    if odd:
        raise FileError(f"{path}: wind {odd[0]!r}, expected one of {', '.join(_WINDS)}.")
    table = numbers(columns, _BEIJING, path=path)
    winds = np.array([[wind == known for known in _WINDS] for wind in columns["cbwd"]])
    series = Series(
        name="beijing-pm25",
        values=np.column_stack((table, winds)),
        targets=next_of(table[:, 0]),
        features=(*_BEIJING, *_WINDS),
        output="PM2.5 of the next hour, ug/m3",
    )
    return windows(series, asked, length=_HOURS)


def air_quality(asked: Asked) -> SequenceSet:
    """Hourly air of an Italian town, 2004 to 2005: the next hour's benzene.

    Source: De Vito et al., Sensors and Actuators B 129, 2008.
    """
    path = folder_file(
        ("AirQualityUCI.csv",),
        data_dir=asked.data_dir,
        advice=_ADVICE.format("Air Quality", 360),
    )
    columns = read_table(path, _AIR, delimiter=";")
    table = numbers(columns, _AIR, path=path, decimal=",", missing=_AIR_MISSING)
    series = Series(
        name="air-quality",
        values=table,
        targets=next_of(table[:, _AIR.index("C6H6(GT)")]),
        features=_AIR,
        output="benzene of the next hour, ug/m3",
    )
    return windows(series, asked, length=_HOURS)


def appliances(asked: Asked) -> SequenceSet:
    """A house every ten minutes for 4.5 months: the appliances' energy in the next ten minutes.

    Source: Candanedo, Feldheim and Deramaix, Energy and Buildings 140, 2017.
    """
    path = folder_file(
        ("energydata_complete.csv",),
        data_dir=asked.data_dir,
        advice=_ADVICE.format("Appliances Energy Prediction", 374),
    )
    table = numbers(read_table(path, _ENERGY), _ENERGY, path=path)
    series = Series(
        name="appliances-energy",
        values=table,
        targets=next_of(table[:, 0]),
        features=_ENERGY,
        output="energy of appliances in the next ten minutes, Wh",
    )
    return windows(series, asked, length=_TEN_MINUTES)


UCI_SERIES = (
    Task(
        name="beijing-pm25",
        line="fine dust in Beijing in the next hour, from hourly weather (PM2.5)",
        kind="regression",
        source=uci_files("PRSA_data_2010.1.1-2014.12.31.csv"),
        make=beijing,
    ),
    Task(
        name="air-quality",
        line="benzene in the air in the next hour, from hourly measurements (AIR)",
        kind="regression",
        source=uci_files("AirQualityUCI.csv"),
        make=air_quality,
    ),
    Task(
        name="appliances-energy",
        line="energy of a house's appliances in the next ten minutes, from sensors (AEP)",
        kind="regression",
        source=uci_files("energydata_complete.csv"),
        make=appliances,
    ),
)
