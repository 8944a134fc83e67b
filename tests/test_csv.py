"""CSV files as people have them: read as pandas reads them, or refused with what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import shoal
from shoal import BadInputError
from shoal.sources import csv_parser
from shoal.sources.columns import Columns
from shoal.sources.files import open_path
from shoal.sources.limits import USUAL, Limits

#: Those of ``read``, by the test that runs.
LIMITS = {"now": USUAL}


@pytest.fixture(params=["pyarrow, in memory", "Python, page by page"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What turns text into numbers, and whether the values are kept."""
    if request.param.startswith("Python"):
        monkeypatch.setattr(csv_parser, "_parsed_fast", lambda *_: None)
        monkeypatch.setitem(LIMITS, "now", Limits(csv_kept=0, csv_page=16))


def saved(folder: Path, content: str | bytes, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, features: Any = None, weight: str | None = None) -> pd.DataFrame:
    """What shoal reads of a file, NaN where it is missing."""
    pages = open_path(path, Columns(features, weight), limits=LIMITS["now"])
    parts = list(pages.stream())
    rows = np.concatenate([part.rows for part in parts])
    for part in parts:
        if part.missing is not None:
            rows[part.first + np.flatnonzero(part.missing)] = np.nan
    return pd.DataFrame(rows, columns=list(pages.columns) or None)


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Equal to the bit, in rows without a missing value; the others are missing as a whole."""
    wanted = wanted.astype(float)
    wanted[wanted.isna().any(axis=1)] = np.nan
    assert set(found.columns) == set(wanted.columns)
    np.testing.assert_array_equal(found[list(wanted.columns)].to_numpy(), wanted.to_numpy())


FRAME = pd.DataFrame({"a": [1.5, -2.0, 3e10, 0.1], "b": [1, 2, 3, 4]})
LOST = pd.DataFrame({"a": [1.5, None, 3e10, 0.1], "b": [1, 2, None, 4]})


# ---- What is no measurement ----


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("content", "names"),
    [
        (FRAME.to_csv(), "'Unnamed: 0'"),
        (FRAME.to_csv(index_label="Unnamed: 0"), "'Unnamed: 0'"),
        (pd.read_csv(io.StringIO(FRAME.to_csv())).to_csv(), "'Unnamed: 0', 'Unnamed: 0'"),
        (FRAME.set_index([[0, 0, 1, 1], [0, 1, 0, 1]]).to_csv(), "'Unnamed: 0', 'Unnamed: 1'"),
        ('"","a","b"\n"1",1.5,1\n"2",-2,2\n"3",3e10,3\n"4",0.1,4\n', "'Unnamed: 0'"),
        ('"a" "b"\n"1" 1.5 1\n"2" -2 2\n"3" 3e10 3\n"4" 0.1 4\n', "'Unnamed: 0'"),
        ('"a","b"\n"1",1.5,1\n"2",-2,2\n"3",3e10,3\n"4",0.1,4\n', "'Unnamed: 0'"),
        ("a\tb\n7\t1.5\t1\n3\t-2\t2\n1\t3e10\t3\n9\t0.1\t4\n", "'Unnamed: 0'"),
    ],
)
def test_an_index_is_left_out_with_one_warning(
    tmp_path: Path, content: str, names: str, caplog: pytest.LogCaptureFixture
) -> None:
    if names.count("'Unnamed: 0'") == 2:  # written twice
        content = content.replace(",Unnamed: 0", ",Unnamed: 0.1", 1)
        names = names.replace("0', 'Unnamed: 0", "0', 'Unnamed: 0.1")
    path = saved(tmp_path, content)
    same(read(path), FRAME)
    [record] = [one for one in caplog.records if one.levelno >= logging.WARNING]
    for word in (names, str(path), "index", "--columns", "feature_columns"):
        assert word in record.getMessage()


@pytest.mark.usefixtures("way")
def test_row_names_that_are_text_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path, '"a" "b"\n"Mazda RX4" 21 6\n"Fiat 128" 32.4 4\n')
    same(read(path), pd.DataFrame({"a": [21, 32.4], "b": [6, 4]}))
    [record] = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "Unnamed: 0" in record.getMessage()


@pytest.mark.usefixtures("way")
def test_an_index_that_is_asked_for_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path, FRAME.to_csv())
    found = read(path, ["Unnamed: 0", "a"])
    same(found, FRAME.reset_index().rename(columns={"index": "Unnamed: 0"})[["Unnamed: 0", "a"]])
    assert not caplog.records
    with pytest.raises(BadInputError, match=r"x\.csv has no columns but what looks like an index"):
        read(saved(tmp_path, "Unnamed: 0\n1\n2\n"))


@pytest.mark.usefixtures("way")
def test_delimiters_at_ends_of_lines_are_no_columns(tmp_path: Path) -> None:
    rows = "1.5,1{0}\n-2,2{0}\n3e10,3{0}\n0.1,4{0}\n"
    for content in ("a,b,\n" + rows, "a,b\n" + rows, "a,b,,,\n" + rows.replace("{0}", "{0}{0}{0}")):
        same(read(saved(tmp_path, content.format(","))), FRAME)
    same(read(saved(tmp_path, "a,b,\n" + rows.format(""))), FRAME)
    same(read(saved(tmp_path, rows.format(","))), FRAME.set_axis([0, 1], axis=1))
    with pytest.raises(BadInputError, match="row 4000 has 3 fields where there are 2 columns"):
        read(saved(tmp_path, "a,b\n" + "1,2,\n" * 4000 + "5,6,7\n"), ["a"])


# ---- Missing values, True and False ----


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("marker", ["", "NA", "N/A", "n/a", "<NA>", "NULL", "null", "None", "#N/A"])
def test_what_pandas_takes_for_missing_is_missing(tmp_path: Path, marker: str) -> None:
    path = saved(tmp_path, LOST.to_csv(index=False, na_rep=marker))
    same(read(path), LOST)
    with pytest.raises(BadInputError, match=r"x\.csv has a missing value .* row 1 \(.*'a'"):
        shoal.KMeansClustering(2, use_mini_batch=False).fit(path, steps=1)
    model = shoal.KMeansClustering(2, on_bad_rows="skip", use_mini_batch=False)
    with pytest.warns(UserWarning, match=r"x\.csv: dropped 2 of 4 rows .*: rows 1, 2$"):
        model.fit(path, steps=1)
    with pytest.warns(UserWarning, match="dropped 2 of 4 rows"):
        labels = model.predict(path, outputs=["row", "cluster_idx"], as_iterable=False)
    assert labels["row"].tolist() == [0, 3]


@pytest.mark.usefixtures("way")
def test_a_missing_weight_leaves_its_row_out(tmp_path: Path) -> None:
    path = saved(tmp_path, "a,w\n1,1\n2,\n3,NA\n4,2\n")
    model = shoal.KMeansClustering(
        1, on_bad_rows="skip", use_mini_batch=False, weight_column="w", feature_columns=["a"]
    )
    with pytest.warns(UserWarning, match="dropped 2 of 4 rows"):
        assert model.fit(path).clusters().item() == 3


@pytest.mark.usefixtures("way")
def test_true_and_false_are_one_and_zero(tmp_path: Path) -> None:
    for yes, no in (("True", "False"), ("TRUE", "FALSE"), ("true", "false")):
        path = saved(tmp_path, f"t,b\n{yes},1\n{no},2\n,3\n{no},4\n")
        same(read(path), pd.DataFrame({"t": [1, 0, None, 0], "b": [1, 2, 3, 4]}))
    with pytest.raises(BadInputError, match=r"'t' holds 'True' in row 0.*numbers \('2' in row 1"):
        read(saved(tmp_path, "t,b\nTrue,1\n2,2\n"))
    assert list(read(saved(tmp_path, "t,b\nTrue,1\nmaybe,2\n"))) == ["b"]


def test_any_frame_comes_back_as_pandas_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random values, markers, delimiters, quotes and pages, read both ways, to the bit."""
    fast = csv_parser._parsed_fast
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(60):
        rng = np.random.default_rng(chance.randrange(1 << 30))
        rows = int(rng.integers(2, 40))
        columns = {
            "f": rng.normal(size=rows) * 10.0 ** rng.integers(-12, 12, rows),
            "i": rng.integers(-9, 9, rows),
            "t": rng.integers(0, 2, rows).astype(bool),
        }
        frame = pd.DataFrame({name: columns[name] for name in chance.sample("fit", 3)})
        frame = frame.mask(rng.random(frame.shape) < chance.choice([0, 0, 0.2]))
        frame = frame.dropna(axis=1, how="all")
        content = frame.to_csv(
            index=False,
            sep=chance.choice(",;\t|"),
            quoting=chance.choice([0, 1]),
            na_rep=chance.choice(["", "NA", "null"]),
            lineterminator=chance.choice(["\n", "\r\n"]),
        )
        packed = chance.choice([False, True])
        path = saved(
            tmp_path,
            gzip.compress(content.encode()) if packed else content,
            "x.csv.gz" if packed else "x.csv",
        )
        limits = Limits(
            csv_page=chance.choice([7, 50, 1 << 20]), csv_kept=chance.choice([0, 1 << 20])
        )
        monkeypatch.setitem(LIMITS, "now", limits)
        monkeypatch.setattr(csv_parser, "_parsed_fast", chance.choice([fast, lambda *_: None]))
        same(read(path), frame)


# ---- Layouts ----


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_are_told_apart(
    tmp_path: Path, delimiter: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "shoal")
    content = FRAME.to_csv(index=False, sep=delimiter, lineterminator=end)
    same(read(saved(tmp_path, content)), FRAME)
    said = f"fields are separated by {delimiter!r}"
    assert (said in caplog.text) == (delimiter != ",")
    without = FRAME.to_csv(index=False, header=False, sep=delimiter, lineterminator=end)
    same(read(saved(tmp_path, without)), FRAME.set_axis([0, 1], axis=1))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", "a\tb\n1.5\t1\n-2\t2\n3e10\t3\n0.1\t4\n"),
        ("x.csv", "  a     b\n  1.5   1\n -2     2\n  3e10  3\n  0.1   4 \n".replace(" \n", "\n")),
        ("x.csv", "sep=;\r\na;b\r\n1.5;1\r\n-2;2\r\n3e10;3\r\n0.1;4\r\n"),
        ("x.csv", "# made by me\n# a,b\n1.5,1\n-2,2\n3e10,3\n0.1,4\n"),
        ("x.csv", "# made by me\na,b\n1.5,1\n-2,2\n3e10,3\n0.1,4\n"),
        ("x.csv", b"\xef\xbb\xbfa;b\n1.5;1\n-2;2\n3e10;3\n0.1;4\n"),
        ("x.csv.gz", gzip.compress(FRAME.to_csv(index=False).encode(), mtime=0)),
        ("x.csv.bz2", bz2.compress(FRAME.to_csv(index=False).encode())),
        ("x.tsv.xz", lzma.compress(FRAME.to_csv(index=False, sep="\t").encode())),
        ("x.CSV", 'a,b\n"1.5","1"\n"-2","2"\n"3e10","3"\n"0.1","4"\n'),
    ],
)
def test_files_of_many_layouts(tmp_path: Path, name: str, content: str | bytes) -> None:
    same(read(saved(tmp_path, content, name)), FRAME)


@pytest.mark.usefixtures("way")
def test_numpys_text_files_are_read(tmp_path: Path) -> None:
    rows = FRAME.to_numpy()
    for delimiter in (" ", ",", ";"):
        for header in ("", delimiter.join("ab")):
            np.savetxt(tmp_path / "x.csv", rows, delimiter=delimiter, header=header)
            same(read(tmp_path / "x.csv"), FRAME if header else FRAME.set_axis([0, 1], axis=1))


@pytest.mark.usefixtures("way")
def test_numbers_for_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = np.random.default_rng(1).normal(size=(9, 3))
    for names in ([0, 1, 2], [2019, 2020, 2021]):
        frame = pd.DataFrame(rows, columns=[str(one) for one in names])
        caplog.clear()
        same(read(saved(tmp_path, frame.to_csv(index=False))), frame)
        assert f"taken as the names of the columns, numbers among them: {names[0]}, " in caplog.text
        same(read(saved(tmp_path, frame.to_csv())), frame)
    whole = pd.DataFrame(np.arange(4).reshape(2, 2) + 5)
    with pytest.raises(BadInputError, match=r"first line, 0,1, may be names of columns or a row"):
        read(saved(tmp_path, whole.to_csv(index=False)))
    same(read(saved(tmp_path, whole.to_csv())), whole.set_axis(["0", "1"], axis=1))
    same(read(saved(tmp_path, "5,7\n1,2\n")), pd.DataFrame([[5, 7], [1, 2]]))


def test_a_first_row_with_text_and_fractions_is_a_row(tmp_path: Path) -> None:
    path = saved(tmp_path, "5.1,3.5,setosa\n4.9,3.0,setosa\n")
    with pytest.raises(BadInputError, match=r"'setosa' in row 0.*no line of names.*\['0', …\]"):
        read(path)
    assert read(path, ["0", "1"]).to_numpy().tolist() == [[5.1, 3.5], [4.9, 3.0]]


@pytest.mark.usefixtures("way")
def test_long_text_in_a_column_that_is_not_used(tmp_path: Path) -> None:
    path = saved(tmp_path, 'a,t\n1,"' + 'so ""long""\n' * 30_000 + '"\n2,short\n')
    same(read(path), pd.DataFrame({"a": [1, 2]}))


# ---- What is refused ----

CUES = ("pandas.read_csv(", "pass the frame")
REFUSED: list[tuple[str, str | bytes, tuple[str, ...]]] = [
    ("decimal commas", "a;b\n1,5;2\n3,25;4\n", ("'1,5' in row 0", "decimal=','", *CUES)),
    ("some decimal commas", "a;b\n1;2\n3,25;4\n", ("'3,25' in row 1", "decimal=','", *CUES)),
    ("all European", "a;b\n1.234,5;2\n", ("decimal=',', thousands='.'", *CUES)),
    ("dots for thousands", "a;b\n1.234.567;2\n", ("thousands='.'", *CUES)),
    ("commas for thousands", 'a,b\n"1,234,567",2\n', ("thousands=','", *CUES)),
    ("decimal commas among commas", "a,b\n1,5,2,5\n", ("row 0 has 4 fields", "decimal points")),
    ("a decimal comma among commas", "a,b\n1,5,2\n3,2,4\n", ("3 fields", "2 names", "decimal")),
    ("one column of decimal commas", "a\n1,5\n3,2\n", ("2 fields", "1 names", "decimal points")),
    ("a title", "My report\n\na,b\n1,2\n", ("2 fields", "1 names", "lines above the names")),
    ("comments between rows", "a,b\n1,2\n# so far\n3,4\n", ("row 1 has 1 field", "comments")),
    ("an open quote", 'a,b\n1,"2\n3,4\n', ("a quote is opened in line 2", "close it")),
    ("a late open quote", 'a,b\n1,"2"\n3,"4\n5,6\n', ("a quote is opened in line 3",)),
    ("Latin-1", "a,b\n1,2\n3,caf\xe9\n".encode("latin-1"), ("Latin-1", "save it as UTF-8")),
    ("UTF-16", "a,b\n1,2\n".encode("utf-16"), ("UTF-16", "save it as UTF-8")),
    ("comments alone", "# a,b\n# 1,2\n", ("comments and no rows",)),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("content", "words"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED]
)
def test_what_cannot_be_read_says_what_to_do(
    tmp_path: Path, content: str | bytes, words: tuple[str, ...]
) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(BadInputError) as caught:
        open_path(path, Columns())
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_what_is_not_compressed_as_its_name_says(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"x\.csv\.gz cannot be read: Not a gzipped file"):
        read(saved(tmp_path, "a\n1\n", "x.csv.gz"))
    with pytest.raises(BadInputError, match=r"x\.npy\.gz is of no known kind"):
        read(saved(tmp_path, "a\n1\n", "x.npy.gz"))


def test_lists_written_as_text_are_not_silently_left_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [1, 2], "embedding": [[1.0, 2.0], [3.0, 4.0]]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(shoal.BadInputError, match=r"'embedding'.*lists written as text.*Parquet"):
        shoal.open(tmp_path / "x.csv")
    assert shoal.open(tmp_path / "x.csv", columns=["id"]).columns == ("id",)


def test_an_index_of_two_levels_is_left_out_before_columns_that_are_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.arange(6.0).reshape(3, 2))
    frame.index = pd.MultiIndex.from_arrays([range(3), range(3)])
    frame.to_csv(tmp_path / "x.csv")
    assert shoal.open(tmp_path / "x.csv").columns == ("0", "1")
