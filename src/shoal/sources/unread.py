"""Files that are not read: what to do with them, by the end of their name and their first bytes."""

from __future__ import annotations

#: What to do with files of other kinds, by what their names end in.
_BY_END = {
    **dict.fromkeys((".txt", ".dat", ".data"), "if it is a table, rename it to end in .csv"),
    **dict.fromkeys((".xls", ".xlsx", ".xlsm", ".ods"), "use pandas.read_excel(...)"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "use pandas.read_json(...), with lines=True"),
    **dict.fromkeys((".pq", ".parq"), "if it is Parquet, rename it to end in .parquet"),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "save what is in it with np.save(...)"),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), "use h5py.File(...)[...], or pandas.read_hdf(...)"),
    **dict.fromkeys((".pt", ".pth"), "use torch.load(...)"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff"), "use np.asarray(Image.open(...))"),
    ".safetensors": "use safetensors.numpy.load_file(...)[...]",
    ".mat": "use scipy.io.loadmat(...)[...]",
    ".orc": "use pyarrow.orc.read_table(...)",
    ".avro": "write it as Parquet",
    ".db": "use duckdb.sql(...), or pandas.read_sql(...)",
    ".sqlite": "use pandas.read_sql(...)",
    ".duckdb": "use duckdb.sql(...)",
    ".tfrecord": "use tf.data.TFRecordDataset(...), in batches",
    ".zip": "take its files out",
    ".tar": "take its files out",
    ".nc": "use xarray.open_dataset(...)[...].values",
    ".arff": "use scipy.io.arff.loadarff(...)[0]",
    ".libsvm": "use sklearn.datasets.load_svmlight_file(...)[0]",
    ".svmlight": "use sklearn.datasets.load_svmlight_file(...)[0]",
}

#: What a file is by its first bytes, and the kind that is (see ``paths.KINDS``).
_BY_BYTES = (
    (b"\x93NUMPY", "an array of NumPy", "npy"),
    (b"PAR1", "Parquet", "parquet"),
    (b"ARROW1", "Arrow", "ipc"),
    (b"PK\x03\x04", "a ZIP archive, as .npz and .xlsx files are", "npz"),
    (b"\x1f\x8b", "compressed by gzip: rename it to end in .gz", "gz"),
    (b"BZh", "compressed by bzip2: rename it to end in .bz2", "bz2"),
    (b"\xfd7zXZ", "compressed by xz: rename it to end in .xz", "xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: rename it to end in .zst", "zst"),
    (b"\x89HDF", "HDF5", "hdf5"),
    (b"\x89PNG", "an image", "png"),
    (b"\xff\xd8\xff", "an image", "jpg"),
    (b"%PDF", "a PDF", "pdf"),
)


def by_end(name: str) -> str:
    """What to do with a file of this name, behind the message that it is not read."""
    lower = name.lower()
    return next((f": {cure}" for end, cure in _BY_END.items() if lower.endswith(end)), "")


def by_bytes(head: bytes, kind: str) -> str:
    """What a file that begins so is, where it is not of its ``kind``; else nothing."""
    for magic, what, other in _BY_BYTES:
        if head.startswith(magic):
            return "" if other == kind else f"by its first bytes it is {what}"
    is_text = kind != "csv" and head.strip() and all(9 <= one < 127 for one in head)
    return "by its first bytes it is text" if is_text else ""
