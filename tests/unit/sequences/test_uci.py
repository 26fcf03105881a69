"""The paper's sets from a folder, on small files in the published formats."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prunella.core.errors import DataError, FileError, InputError
from prunella.sequences import TASKS, load

SPLITS = ("train", "validation", "test")


def write(path, lines, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(end.join(lines) + end, encoding="utf-8", newline="")


def parts_of(name, folder, **options):
    parts = {split: load(name, split, data_dir=folder, **options) for split in SPLITS}
    assert len({part.features for part in parts.values()}) == 1
    assert len({part.outputs for part in parts.values()}) == 1
    return parts


# -- series -------------------------------------------------------------------------------------


def test_beijing(tmp_path):
    lines = ["No,year,month,day,hour,pm2.5,DEWP,TEMP,PRES,cbwd,Iws,Is,Ir"]
    winds = ("NW", "NE", "SE", "cv")
    for i in range(200):
        dust = "NA" if i in (0, 1, 90) else str(10 * i)
        lines.append(f"{i + 1},2010,1,1,{i % 24},{dust},-21,-11,1021,{winds[i % 4]},1.79,{i % 2},0")
    path = tmp_path / "PRSA_data_2010.1.1-2014.12.31.csv"
    write(path, lines)
    parts = parts_of("beijing-pm25", tmp_path, length=5)
    test = parts["test"]
    assert test.inputs.shape == (5, 5, 11)
    got = test.in_units(test.targets)[:, :, 0].flatten().double().numpy()
    np.testing.assert_allclose(got, 10 * np.arange(171, 196), atol=0.01)
    said = parts["train"].in_units(parts["train"].targets).round().long()
    assert 900 not in said  # the dust of row 90 is not known
    assert {890, 910} <= set(said.flatten().tolist())
    write(path, [*lines, "201,2010,1,1,0,5,1,1,1,XX,1,1,1"])
    with pytest.raises(FileError, match="wind 'XX', expected one of NW, NE, SE, cv"):
        load("beijing-pm25", "train", data_dir=tmp_path)


AIR = (
    "Date;Time;CO(GT);PT08.S1(CO);NMHC(GT);C6H6(GT);PT08.S2(NMHC);NOx(GT);PT08.S3(NOx);NO2(GT);"
    "PT08.S4(NO2);PT08.S5(O3);T;RH;AH;;"
)


def test_air_quality(tmp_path):
    lines = [AIR]
    for i in range(200):
        benzene = "-200" if i == 60 else f"{i},5"
        lines.append(
            f"10/03/2004;18.00.00;2,6;1360;-200;{benzene};1046;166;1056;113;1692;1268;13,6;48,9;"
            f"0,{7000 + i};;"
        )
    lines += [";" * 16] * 3  # as the published file ends
    write(tmp_path / "AirQualityUCI.csv", lines, end="\r\n")
    parts = parts_of("air-quality", tmp_path, length=5)
    test = parts["test"]
    got = test.in_units(test.targets)[:, :, 0].flatten().double().numpy()
    np.testing.assert_allclose(got, np.arange(171, 196) + 0.5, atol=1e-3)
    said = parts["train"].in_units(parts["train"].targets)
    assert not (said - 60.5).abs().lt(0.01).any()
    assert said.min() > 0
    assert "NMHC(GT)" not in test.features


def test_appliances(tmp_path):
    names = ["date", "Appliances", "lights"]
    names += [name for room in range(1, 10) for name in (f"T{room}", f"RH_{room}")]
    names += ["T_out", "Press_mm_hg", "RH_out", "Windspeed", "Visibility", "Tdewpoint"]
    names += ["rv1", "rv2"]
    lines = [",".join(f'"{name}"' for name in names)]
    for i in range(200):
        fields = ["2016-01-11 17:00:00", str(10 * i), "30", *(["19.89"] * 26)]
        lines.append(",".join(f'"{field}"' for field in fields))
    write(tmp_path / "energydata_complete.csv", lines)
    parts = parts_of("appliances-energy", tmp_path, length=5)
    test = parts["test"]
    assert test.inputs.shape == (5, 5, 26)
    assert not {"rv1", "rv2"} & set(test.features)
    got = test.in_units(test.targets)[:, :, 0].flatten().double().numpy()
    np.testing.assert_allclose(got, 10 * np.arange(171, 196), atol=0.01)


# -- sensors ------------------------------------------------------------------------------------

TAGS = ("010-000-024-033", "010-000-030-096", "020-000-033-111", "020-000-032-221")


def person_lines():
    """Persons A to E, one recording each: 10 rows of walking, then 10 of falling."""
    return [
        f"{person}01,{TAGS[i % 4]},633790226051280329,27.05.2009 14:03:25:127,"
        f"{p + i / 100},1.88,0.5,{'walking' if i < 10 else 'falling'}"
        for p, person in enumerate("ABCDE")
        for i in range(20)
    ]


def test_person_activity(tmp_path):
    path = tmp_path / "ConfLongDemo_JSI.txt"
    write(path, person_lines())
    parts = parts_of("person-activity", tmp_path, length=6)
    assert [len(parts[split]) for split in SPLITS] == [9, 3, 3]
    # Rows 0 to 5, 6 to 11 and 12 to 17 of each person; the activity is that of the last row.
    assert parts["test"].outputs == ("falling", "walking")
    assert parts["test"].targets.tolist() == [1, 0, 0]
    known = np.array([p + i / 100 for p in range(3) for i in range(18)])
    want = (4 + np.arange(18) / 100 - known.mean()) / known.std()
    np.testing.assert_allclose(parts["test"].inputs[..., 0].flatten(), want, atol=1e-4)
    for change, words in (("A01", "recording 'X01'"), (TAGS[0], "tag 'X01'")):
        write(path, [line.replace(change, "X01") for line in person_lines()])
        with pytest.raises(FileError, match=f"line 1: {words}, expected one of"):
            load("person-activity", "train", data_dir=tmp_path)


AREM = ("bending1", "bending2", "cycling", "lying", "sitting", "standing", "walking")


def write_arem(folder, rows=10):
    for label, name in enumerate(AREM):
        for number in range(1, 6):
            gap = " " if (name, number) == ("bending2", 4) else ","  # as published
            lines = [
                f"# Task: {name}",
                "# Frequency (Hz): 20",
                "# Clock (millisecond): 250",
                "# Duration (seconds): 120",
                "# Columns: time,avg_rss12,var_rss12,avg_rss13,var_rss13,avg_rss23,var_rss23",
            ]
            lines += [
                gap.join(map(str, (250 * i, label, number, 0.5, i, 2, 3))) for i in range(rows)
            ]
            write(folder / name / f"dataset{number}.csv", lines, end="\r\n")


def test_arem(tmp_path):
    write_arem(tmp_path)
    parts = parts_of("arem", tmp_path, length=4)
    assert [len(parts[split]) for split in SPLITS] == [7 * 3 * 2, 7 * 2, 7 * 2]
    assert parts["test"].targets.tolist() == [label for label in range(7) for _ in range(2)]
    assert parts["test"].outputs == AREM
    # Recording 5 tests and 4 validates: the second number tells, training has 1 to 3.
    tested, validated = (parts[s].inputs[..., 1].unique() for s in ("test", "validation"))
    spread = np.std([1, 2, 3])
    np.testing.assert_allclose(tested, [3 / spread], atol=1e-5)
    np.testing.assert_allclose(validated, [2 / spread], atol=1e-5)
    (tmp_path / "lying" / "dataset2.csv").write_text("1,2,3\n", encoding="utf-8")
    with pytest.raises(FileError, match=r"dataset2.csv: '1,2,3'; expected a time and six numbers"):
        load("arem", "train", data_dir=tmp_path)
    with pytest.raises(
        FileError,
        match=r"holds no file dataset1\.csv, nor with any other number\. It is the data set AReM",
    ):
        load("arem", "train", data_dir=tmp_path / "lying")


def test_walkers(tmp_path):
    for person in range(1, 12):  # 10 and 11 must not come before 2
        lines = [f"{0.03 * i:.4f},{person},{i / 10},2.4" for i in range(100)]
        write(tmp_path / f"{person}.csv", lines)
    (tmp_path / "README").write_text("words", encoding="utf-8")
    parts = parts_of("walkers", tmp_path, length=5)
    assert parts["train"].outputs == tuple(f"person {i}" for i in range(1, 12))
    assert [len(parts[split]) for split in SPLITS] == [11 * 14, 11 * 3, 11 * 3]
    test = parts["test"]
    # x is the person's number, standardised by 1 to 11.
    want = (np.arange(1, 12) - 6) / np.std(np.arange(1, 12))
    np.testing.assert_allclose(test.inputs[::3, 0, 0], want, atol=1e-5)
    assert test.targets[::3].tolist() == list(range(11))
    # y is the time: each walk's training part comes before its test part.
    assert parts["train"].inputs[..., 1].max() < parts["validation"].inputs[..., 1].min()
    assert parts["validation"].inputs[..., 1].max() < test.inputs[..., 1].min()


def write_gas(folder, exposures=15):
    """Exposure i lasts an hour; R1 is its number in the first half and 100 in the second."""
    classes = ("banana", "wine", "background")
    about = ["id\tdate\tclass\tt0\tdt "]
    data = ["id time       R1         R2 R3 R4 R5 R6 R7 R8        Temp.      Humidity"]
    for i in range(exposures):
        about.append(f"{i}\t07-04-15\t{classes[i % 3]}\t13.49\t1.00 ")
        for time in np.arange(-0.5, 1.5, 0.05):
            first = i if time < 0.5 - 1e-9 else 100
            data.append(f"{i}  {time:.6f}  {first}  10 11 7 13 6 5 {i % 2}  26.3  59.1")
    write(folder / "HT_Sensor_metadata.dat", about)
    write(folder / "HT_Sensor_dataset.dat", data)
    return about, data


def test_gas(tmp_path):
    about, data = write_gas(tmp_path)
    parts = parts_of("gas", tmp_path, length=4)
    assert [len(parts[split]) for split in SPLITS] == [9, 3, 3]
    assert parts["test"].outputs == ("background", "banana", "wine")
    assert parts["test"].targets.tolist() == [1, 2, 0]
    # The fifth of each class: exposures 12, 13 and 14; a quarter of an hour is a step.
    seen = np.concatenate([[i, i, 100, 100] for i in range(9)])
    want = (np.array([[i, i, 100, 100] for i in (12, 13, 14)]) - seen.mean()) / seen.std()
    np.testing.assert_allclose(parts["test"].inputs[..., 0], want, atol=1e-4)
    # More steps than rows: the last one known is repeated.
    fine = load("gas", "test", data_dir=tmp_path, length=60)
    assert torch.isfinite(fine.inputs).all()
    assert torch.equal(fine.inputs[:, 0], fine.inputs[:, 1])
    write(tmp_path / "HT_Sensor_dataset.dat", [*data, "1 2 3"])
    with pytest.raises(FileError, match="row 601 of the data: 3 fields, expected 12"):
        load("gas", "train", data_dir=tmp_path)
    write(tmp_path / "HT_Sensor_dataset.dat", [*data, " ".join("x" * 12)])
    with pytest.raises(FileError, match="expected numbers"):
        load("gas", "train", data_dir=tmp_path)
    write(tmp_path / "HT_Sensor_dataset.dat", data)
    write(tmp_path / "HT_Sensor_metadata.dat", [*about, "99\t1\tbeer\t1\t1"])
    with pytest.raises(FileError, match="class 'beer', expected background, banana, wine"):
        load("gas", "train", data_dir=tmp_path)


# -- texts --------------------------------------------------------------------------------------


def test_movie_reviews(tmp_path):
    for ending, word in (("pos", "fine"), ("neg", "dull")):
        lines = [f"a {word} caf\xe9 film , number {i} . " for i in range(100)]
        (tmp_path / f"rt-polarity.{ending}").write_text("\n".join(lines), encoding="cp1252")
    parts = parts_of("movie-reviews", tmp_path)
    assert sum(map(len, parts.values())) == 200
    for part in parts.values():
        fine = part.features.index("fine")
        assert torch.equal((part.inputs == fine).any(dim=1).long(), part.targets)
        assert part.outputs == ("negative", "positive")


def test_reuters(tmp_path):
    train = [f"{('earn', 'acq', 'crude')[i % 3]}\tshr net loss number {i}" for i in range(90)]
    test = [f"{('earn', 'acq', 'crude')[i % 3]}\tshr profit {i}" for i in range(30)]
    write(tmp_path / "r52-train-all-terms.txt", train)
    write(tmp_path / "r52-test-all-terms.txt", test)
    parts = parts_of("reuters52", tmp_path)
    assert len(parts["test"]) == 30
    assert len(parts["train"]) + len(parts["validation"]) == 90
    assert len(parts["validation"]) > 2
    assert parts["test"].outputs == ("acq", "crude", "earn")
    assert parts["test"].targets[:3].tolist() == [2, 0, 1]
    assert "profit" not in parts["train"].features  # a word of the test part alone
    write(tmp_path / "r52-test-all-terms.txt", ["earn"])
    with pytest.raises(FileError, match="line 1: 'earn'; expected CLASS, tab, TEXT"):
        load("reuters52", "test", data_dir=tmp_path)


# -- all ----------------------------------------------------------------------------------------

FROM_A_FOLDER = [name for name, task in TASKS.items() if "data_dir" in task.source]


def test_all_ten_sets_of_the_paper_but_nasdaq_are_read_from_a_folder():
    marks = ("AEP", "AIR", "PM2.5", "LPA", "AREM", "GAS", "MR", "R52", "UID")
    for mark in marks:
        assert sum(f"({mark})" in TASKS[name].line for name in FROM_A_FOLDER) == 1, mark


@pytest.mark.parametrize("name", FROM_A_FOLDER)
def test_a_folder_is_asked_for_and_must_hold_the_files(name, tmp_path):
    with pytest.raises(InputError, match=r"data_dir \(--data-dir\)\. (It is|The file is)"):
        load(name, "train")
    with pytest.raises(FileError, match=r"holds none of|holds no file"):
        load(name, "train", data_dir=tmp_path)


def test_a_part_without_sequences_is_refused(tmp_path):
    for person in range(1, 3):
        write(tmp_path / f"{person}.csv", [f"{i},1,2,3" for i in range(20)])
    with pytest.raises(DataError, match="walkers: 0 sequences in the test part and 4 in the train"):
        load("walkers", "test", data_dir=tmp_path, length=5)
