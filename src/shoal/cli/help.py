"""What ``--help`` says beside the options: what is read and written, and examples to copy."""

from __future__ import annotations

DATA = (
    "a .npy, .npz, .csv, .parquet, .arrow, .feather or .ipc file, a directory or a pattern of "
    "such files, or a URL (Parquet and Arrow need shoal[parquet], URLs shoal[remote]); several of "
    "them are one data set, in the order given; - reads CSV from standard input"
)

#: What ``predict`` and ``transform`` write.
OUTPUT = """\
DATA is read, and the file written, piece by piece: both may be larger than memory. The file appears
when all of it is written; one that is there already is replaced with --force only. Rows are in the
order of DATA. Where rows are skipped (--on-bad-rows, or as in training), .csv and .parquet files
begin with a column "row", the index in DATA of each row that is written, from 0; a .npy file is
just shorter. "-o -" writes CSV to standard output as it comes, the summary to standard error.

"-o DIR/" writes DIR/part-00000.parquet and so on, a file for each part of DATA, which appears when
all of it is written; with --ray each worker writes its own. The column "row" is the index in DATA.

--keep and --keep-all put columns of DATA before those of the result, with their types; of CSV they
are text in .csv, and in .parquet whole numbers, numbers or text, as all of their values are.
"""
LABELS = """\
.npy      the cluster of each row, int64 [n]
.csv      columns cluster_idx and scores, the distance to the center of that cluster; and of models
          trained with --sphere km, that distance in kilometres
.parquet  the same

"""
DISTANCES = """\
.npy      [n, k], of float32 or, for float64 data and wide integers, float64
.csv      columns d0, d1, ... d(k-1)
.parquet  one column, distances, of fixed-size lists of k numbers

Distances are squared for squared_euclidean.

"""
MEASURES = """\
Prints the number of rows, the loss (the weighted sum of the distances of all rows to their centers)
and the loss per row (per unit of weight). A model trained with weights is measured with them. With
--model-dir also written under DIR/eval, or DIR/eval_NAME.
"""

#: What ``export`` writes, and how names of such files end.
FORMATS = {
    "onnx": ".onnx",
    "savedmodel": "",
    "npy": ".npy",
    "npz": ".npz",
    "faiss": ".faiss",
    "safetensors": ".safetensors",
}
EXPORTS = """\
onnx         predicts in onnxruntime and others: centers, metric, names of columns (shoal[onnx])
savedmodel   a directory, predicts in TensorFlow and TensorFlow Serving (shoal[tensorflow])
npy          the centers, [k, d]
npz          the whole model, for NumPy; shoal reads it too
faiss        a flat index of the centers, or with --ivf an empty IVF index of them (shoal[faiss])
safetensors  the whole model, as fit writes it

The file appears when all of it is written.
"""

#: What ``choose-k`` prints.
CHOOSING = """\
Fits each k by full batches over the same rows, and prints inertia, silhouettes, Calinski-Harabasz
and Davies-Bouldin (with --gap, the gap statistic), and which k each of them suggests, and why.
"""

#: What ``report`` writes.
PAGE = """\
One self-contained page: sizes, distances and silhouettes of all rows, a map of the centers and a
sample, what makes each cluster different, its nearest and farthest rows with their other columns,
the loss by step, what changed between checkpoints. It needs no network (shoal[report]).
"""

#: What each command is for, in a line.
SUMMARIES = {
    "fit": "train on data and write a model",
    "choose-k": "say how many clusters there may be",
    "predict": "write the nearest center of every row",
    "transform": "write the distance of every row to every center",
    "evaluate": "measure a model on data",
    "export": "write a model in another form",
    "report": "write a page about a model and data",
    "inspect": "say what a model holds, in any form",
    "demo": "cluster made-up points, to see what it looks like",
    "completion": "print a script that completes commands in a shell",
}

EXAMPLES = {
    "fit": """\
shoal fit points.csv -k 10
shoal fit "days/*.parquet" -k 100 --columns age,income --preview
shoal fit "days/*.parquet" -k 100 --init kmc2 --model-dir run --resume
shoal fit embeddings.npy -k 1000 --metric cosine --mini-batch --batch-size 8192
shoal fit cities.csv -k 60 --sphere latitude,longitude -m cities.safetensors
zcat big.csv.gz | shoal fit - -k 20
""",
    "choose-k": """\
shoal choose-k points.csv
shoal choose-k points.parquet --k 10:100:10 --runs 3 --plot k.png
shoal choose-k points.csv --k 2,4,8,16 --gap 5 --json
""",
    "predict": """\
shoal predict points.csv -o labels.csv
shoal predict new.parquet -m model.safetensors --keep id,title -o labels.parquet
shoal predict new.csv --model-dir run --keep-all -o - | head
shoal predict "days/*.parquet" --model-dir run -o labels/
""",
    "transform": """\
shoal transform points.npy -o distances.npy
shoal transform new.parquet --model-dir run --keep id -o distances.parquet
""",
    "evaluate": """\
shoal evaluate tomorrow.parquet -m model.safetensors
shoal evaluate test.csv --model-dir run --name test --json
""",
    "export": """\
shoal export model.safetensors -o model.onnx
shoal export run -o centers.npy
shoal export run --format savedmodel -o served/1
""",
    "report": """\
shoal report model.safetensors points.csv -o report.html
shoal report run "days/*.parquet" -o report.html --name-column title --title Days
shoal report digits.safetensors digits.npy -o report.html --image-shape 28,28
shoal report docs.safetensors tfidf.npz -o report.html --vocabulary terms.txt --metadata docs.csv
""",
    "inspect": """\
shoal inspect model.safetensors
shoal inspect run --json
""",
    "demo": """\
shoal demo
shoal demo -k 7 --rows 1000000 -o points.csv
""",
    "completion": """\
bash  shoal completion bash > ~/.local/share/bash-completion/completions/shoal
zsh   shoal completion zsh > "${fpath[1]}/_shoal"
fish  shoal completion fish > ~/.config/fish/completions/shoal.fish
""",
}

#: What stands behind the options.
NOTES = {
    "choose-k": CHOOSING,
    "predict": LABELS + OUTPUT,
    "transform": DISTANCES + OUTPUT,
    "evaluate": MEASURES,
    "export": EXPORTS,
    "report": PAGE,
}

#: What ``shoal --help`` ends with.
CODES = """\
shoal COMMAND --help shows the options of a command, and examples. Results go to standard output,
everything else to standard error. Exit codes: 0; 1 for an error; 2 for wrong usage; 130 after
Ctrl-C and 143 after SIGTERM, which write what there is and say how to go on.
"""


def epilog(command: str) -> str:
    """What stands behind the options of a command."""
    examples = "".join(f"  {line}\n" for line in EXAMPLES[command].splitlines())
    return f"{NOTES.get(command, '')}\nexamples:\n{examples}".lstrip("\n")
