"""The repository checks itself: public names, imports, sizes, documents, dependencies."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib.util
import inspect
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shoal

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "shoal"

# ---- The rules. Names are modules below `shoal`; a package stands for everything inside it. ----

FACES = {
    "memory",
    "directories",
    "estimator",
    "training",
    "settings",
    "model_fn",
    "program",
    "evaluation",
    "inference",
    "prepared",
    "runs",
    "choosing",
    "sklearn",
    "saving",
    "export",
    "report",
    "plot",
    "notebook",
    "cli",
}
MIDDLE = {"steps", "executors", "hooks"}
# Of the steps, shards know random numbers alone, by which they find the rows of a mini-batch.
STEPS = {
    f"steps.{name}"
    for name in ("lloyd", "minibatch", "seeding", "plus_plus", "parallel", "chains", "round")
}

# A layer must not import these, nor `shoal` itself, which has them all.
FORBIDDEN = {
    "loop": FACES,
    "steps": {"loop", *FACES},
    "executors": {"loop", *FACES},
    "hooks": {"loop", *FACES},
    "shards": {"loop", "feed", "executors", "hooks", *STEPS, *FACES},
}

# A leaf imports nothing of shoal but these (and itself).
LEAVES: dict[str, set[str]] = {
    "errors": set(),
    "types": set(),
    "state": {"types"},
    "dtypes": {"errors"},
    "metric": {"dtypes", "errors", "types", "_core", "sources"},
    "checks": {"errors"},
    "storage.jsonl": {"errors", "storage.files"},
    "sources": {"errors", "checks", "dtypes", "state", "types"},
    "sources.rows": {
        "state",
        "types",
        "sources.mapped",
        "sources.places",
        "sources.sparse",
        "sources.weights",
    },
}

# These import nothing from outside but the standard library and these.
PURE = {name: {"numpy"} for name in ("types", "state", "dtypes", "metric", "checks")}

# These are imported by no one but the modules named (and themselves).
IMPORTERS = {
    "loop": {"training", "program"},
    "feed": {"loop", "program", "inference", "memory"},
    "_core": {"", "shards", "metric", "build"},
    "executors.cluster": {"executors.crew", "executors.ray"},
}

MAX_FILE_LINES = 400  # in C++
MAX_CODE_LINES = 350  # of a Python file: without docstrings, comments and blank lines
MAX_TEST_LINES = 600  # of a file of tests
MAX_FUNCTION_LINES = 70  # the docstring is not counted
MAX_POSITIONAL = 6  # `self` and `cls` are not counted

GENERATED = {"src/shoal/_core.pyi"}
SOURCE_SUFFIXES = {".py", ".pyi", ".h", ".hpp", ".cpp", ".inc"}

# Functions in C++ that are longer: one line for each entry of a list, or not yet cut.
LONG_CPP = {
    "NB_MODULE(_core, m) {",
    "Int8Filter::Int8Filter(const Filter& filter, const Int8Kernels& kernels, Team& team) {",
    "void try_case(const Case& given) {",
}

# Signatures that follow an interface users already know.
MANY_POSITIONAL = {
    "estimator.KMeansClustering.__init__",
    "export.original.export",
    "export.original.export_savedmodel",
    "estimator.KMeansClustering.fit",
    "estimator.KMeansClustering.evaluate",
    "program.KMeans.__init__",
}

# Paths that exist on one machine only.
PRIVATE_PATH = re.compile(r"(?<![\w.~}-])/(work|root|home|Users)/")


# ---- Reading the sources ----


def python_files() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def module_name(path: Path) -> str:
    """`src/shoal/steps/lloyd.py` is `steps.lloyd`; `src/shoal/__init__.py` is the empty name."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(module: str, names: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


def is_module(name: str) -> bool:
    path = SRC.joinpath(*name.split("."))
    return name == "_core" or path.is_dir() or path.with_suffix(".py").exists()


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, also those inside functions and for type checkers."""
    package = ["shoal", *path.relative_to(SRC).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                inside = full.startswith("shoal.") and is_module(full.removeprefix("shoal."))
                yield node.lineno, full if inside else base


def inner_imports(path: Path) -> Iterator[tuple[int, str]]:
    for line, name in imported(path):
        if name == "shoal" or name.startswith("shoal."):
            yield line, name.removeprefix("shoal").removeprefix(".")


def functions(path: Path) -> Iterator[tuple[str, bool, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Dotted name, whether it is a method, and node of every function, however deep."""

    def visit(node: ast.AST, prefix: str, in_class: bool) -> Iterator[Any]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}.{child.name}".lstrip(".")
                yield name, in_class, child
                yield from visit(child, name, False)
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}.{child.name}".lstrip("."), True)
            else:
                yield from visit(child, prefix, in_class)

    tree = ast.parse(path.read_text("utf-8"), str(path))
    return visit(tree, module_name(path), False)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- Public names ----


def test_public_names_are_sorted() -> None:
    assert list(shoal.__all__) == sorted(set(shoal.__all__))


def test_star_import_hides_no_name_of_python() -> None:
    assert set(shoal.__all__) & set(dir(builtins)) == set()
    assert shoal.open is shoal.sources.open.open_source


def test_public_names_exist_and_are_documented() -> None:
    missing = [name for name in shoal.__all__ if not hasattr(shoal, name)]
    assert not missing, f"in shoal.__all__ but not in shoal: {missing}"
    objects = {name: getattr(shoal, name) for name in shoal.__all__}
    bare = [
        name
        for name, value in objects.items()
        if (inspect.isclass(value) or callable(value)) and not (value.__doc__ or "").strip()
    ]
    assert not bare, f"public but without a docstring: {bare}"


# ---- Import direction ----


def test_import_direction() -> None:
    wrong = []
    for path in python_files():
        module = module_name(path)
        for line, name in inner_imports(path):
            where = f"{relative(path)}:{line} imports {name or 'shoal'}"
            for layer, names in FORBIDDEN.items():
                if within(module, {layer}) and (not name or within(name, names)):
                    wrong.append(f"{where}: {layer} must not")
            for leaf, names in LEAVES.items():
                if within(module, {leaf}) and not within(name, names | {leaf}):
                    wrong.append(f"{where}: {leaf} may import only {sorted(names) or 'itself'}")
            for target, users in IMPORTERS.items():
                if within(name, {target}) and not within(module, users | {target}):
                    wrong.append(f"{where}: only {sorted(users)} may")
    assert not wrong, "\n".join(wrong)


def circles(uses: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or through others."""

    def reached(module: str) -> set[str]:
        found: set[str] = set()
        waiting = [module]
        while waiting:
            new = uses.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found

    behind = {module: reached(module) for module in uses}
    inside = {
        tuple(sorted(other for other in behind[module] if module in behind.get(other, set())))
        for module in uses
    }
    return [list(circle) for circle in sorted(inside) if circle]


def test_no_module_imports_itself_through_others() -> None:
    """Imports inside functions, and those for type checkers only, count like any other."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    uses = {module_name(path): {name for _, name in inner_imports(path)} for path in python_files()}
    assert circles(uses) == []


def test_pure_modules_import_little_from_outside() -> None:
    wrong = []
    for path in python_files():
        for leaf, names in PURE.items():
            if not within(module_name(path), {leaf}):
                continue
            for line, name in imported(path):
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names | names | {"shoal"}:
                    wrong.append(f"{relative(path)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_importing_shoal_loads_only_numpy() -> None:
    program = (
        "import sys, numpy, numpy.random\n"
        "before = {name.partition('.')[0] for name in sys.modules}\n"
        "import shoal\n"
        "after = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(after - before - {'shoal'} - sys.stdlib_module_names))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


# ---- Names with an underscore ----

# Parts of Python's own interfaces, whatever their names.
SPELLED_SO = {"_getframe", "_replace", "_asdict", "_fields", "_make"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in SPELLED_SO


def foreign_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each use of a name with an underscore that is another module's."""
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    for node in nodes:
        if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            of = node.value.id if isinstance(node.value, ast.Name) else ""
            if of not in ("self", "cls"):
                yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shoal."):
            for alias in node.names:
                if private(alias.name):
                    yield node.lineno, f"{node.module}.{alias.name}"


def test_no_module_uses_the_underscored_names_of_another() -> None:
    program = (
        "from shoal.a import b, _c\n"
        "class D:\n"
        "    def __init__(self, other): self._e = other._e + other._f + other.g._h\n"
        "    def k(self): return self._inherited._replace(a=1)\n"
    )
    found = [text for _, text in foreign_names(ast.parse(program))]
    assert found == ["shoal.a._c", "other.g._h", "other._f"]
    wrong = [
        f"{relative(path)}:{line} {text}"
        for path in python_files()
        for line, text in foreign_names(ast.parse(path.read_text("utf-8"), str(path)))
    ]
    assert not wrong, "names of other modules; ask for a value instead:\n" + "\n".join(wrong)


# ---- Questions to sources, not for their type ----


def type_tests(tree: ast.AST, classes: set[str]) -> Iterator[int]:
    """Line of each place that asks whether something is of one of these classes."""
    for node in ast.walk(tree):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            asked = [*node.args[1:]]
        elif isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        names = {ast.unparse(name).rpartition(".")[2] for one in asked for name in ast.walk(one)}
        if names & classes:
            yield node.lineno  # type: ignore[attr-defined]


def test_no_module_outside_sources_asks_a_source_for_its_type() -> None:
    program = (
        "def f(a: PagedSource, b=PagedSource(c)): return isinstance(b, Rows)\n"
        "isinstance(a, paged.PagedSource)\n"
        "assert isinstance(a, (Rows, PagedSource))\n"
        "type(a) is PagedSource\n"
        "match a:\n"
        "    case PagedSource(): pass\n"
    )
    assert sorted(type_tests(ast.parse(program), {"PagedSource"})) == [2, 3, 4, 6]
    trees = {path: ast.parse(path.read_text("utf-8")) for path in python_files()}
    inside = [path for path in trees if within(module_name(path), {"sources"})]
    nodes = [node for path in inside for node in ast.walk(trees[path])]
    defined = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    classes = {name for name in defined if name.endswith("Source")} | {"Source"}
    assert {"PagedSource", "StreamSource"} <= classes
    wrong = [
        f"{relative(path)}:{line}"
        for path in trees.keys() - inside
        for line in type_tests(trees[path], classes)
    ]
    assert not wrong, "ask a source what it can do:\n" + "\n".join(sorted(wrong))


def asks_for_mini_batches(tree: ast.AST) -> bool:
    nodes = list(ast.walk(tree))
    asked = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    keys = [node.slice for node in nodes if isinstance(node, ast.Subscript)]
    return "use_mini_batch" in asked | {key.value for key in keys if isinstance(key, ast.Constant)}


def test_the_algorithm_is_chosen_in_few_places() -> None:
    for text, expected in (("a.use_mini_batch", True), ("f(use_mini_batch=a)", False)):
        assert asks_for_mini_batches(ast.parse(text)) is expected
    trees = {relative(path): ast.parse(path.read_text("utf-8")) for path in python_files()}
    asking = [name for name, tree in trees.items() if asks_for_mini_batches(tree)]
    assert 1 <= len(asking) <= 5, f"ask for the algorithm of steps/algorithm.py: {asking}"


# ---- Sizes ----


def lines_of_code(text: str) -> int:
    """Lines of Python but for docstrings, comments and blank ones."""
    lines = {
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    }
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            doc = node.body[0]
            assert doc.end_lineno is not None
            lines -= set(range(doc.lineno, doc.end_lineno + 1))
    return len(lines)


def test_files_are_short() -> None:
    assert lines_of_code('"""A\n\nb."""\n\nx = 1  # one\n# two\ndef f():\n    """C."""\n') == 2
    long = []
    for path in sorted([*(ROOT / "src").rglob("*"), *(ROOT / "cpp").rglob("*")]):
        if path.suffix in SOURCE_SUFFIXES and relative(path) not in GENERATED:
            text, python = path.read_text("utf-8"), path.suffix == ".py"
            lines = lines_of_code(text) if python else len(text.splitlines())
            if lines > (MAX_CODE_LINES if python else MAX_FILE_LINES):
                long.append(f"{relative(path)}: {lines} lines")
    assert not long, "too long:\n" + "\n".join(long)


def test_files_of_tests_are_short() -> None:
    found = [path for path in sorted((ROOT / "tests").rglob("*")) if path.suffix in SOURCE_SUFFIXES]
    lines = {relative(path): len(path.read_text("utf-8").splitlines()) for path in found}
    long = [f"{name}: {number} lines" for name, number in lines.items() if number > MAX_TEST_LINES]
    assert not long, f"more than {MAX_TEST_LINES} lines; cut them at their headings:\n" + "\n".join(
        long
    )


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        doc = node.body[0]
        assert doc.end_lineno is not None
        lines -= doc.end_lineno - doc.lineno + 1
    return lines


def test_functions_are_short() -> None:
    long = []
    for path in python_files():
        for name, _, node in functions(path):
            if code_lines(node) > MAX_FUNCTION_LINES:
                long.append(f"{relative(path)}:{node.lineno} {name}: {code_lines(node)} lines")
    assert not long, f"more than {MAX_FUNCTION_LINES} lines of code:\n" + "\n".join(long)


OPENS = re.compile(
    r"( *)(?!namespace|struct|class|enum|union|extern|if\b|for\b|while\b|switch\b|do\b|[}/#])\S.*\{"
)


def cpp_functions(text: str) -> Iterator[tuple[int, str, int]]:
    """First line, its text, and length of functions: clang-format ends one as deep as it began."""
    lines, start, depth = text.splitlines(), -1, ""
    for at, line in enumerate(lines):
        opens = OPENS.fullmatch(line)
        if start < 0 and opens is not None and not line.endswith("= {"):
            start = at
            while start > 0 and not re.search(r"^$|[;{}:]$|^ *(//|#)", lines[start - 1]):
                start -= 1  # to where its signature begins
            depth = lines[start][: -len(lines[start].lstrip())]
        elif start >= 0 and line.startswith(depth + "}"):
            yield start + 1, lines[start].strip(), at - start + 1
            start = -1


def test_functions_in_cpp_are_short() -> None:
    program = ["void f() {", "  g([&] {", "    h();", "  });", "}", "", "struct S {"]
    program += ["  S(int a)", "      : a(a) {", "    if (a) {", "      f();", "    }", "  }", "};"]
    assert list(cpp_functions("\n".join(program))) == [(1, "void f() {", 5), (8, "S(int a)", 6)]
    long = []
    for path in sorted([*(ROOT / "cpp").rglob("*"), *(ROOT / "tests" / "cpp").rglob("*")]):
        if path.suffix in SOURCE_SUFFIXES:
            for line, first, length in cpp_functions(path.read_text("utf-8")):
                if length > MAX_FUNCTION_LINES and first not in LONG_CPP:
                    long.append(f"{relative(path)}:{line} {first}: {length} lines")
    assert not long, f"more than {MAX_FUNCTION_LINES} lines:\n" + "\n".join(long)


def test_functions_take_few_positional_parameters() -> None:
    wide = []
    for path in python_files():
        for name, is_method, node in functions(path):
            if name in MANY_POSITIONAL:
                continue
            parameters = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
            bound = is_method and parameters[:1] in (["self"], ["cls"])
            count = len(parameters) - bound
            if count > MAX_POSITIONAL:
                wide.append(f"{relative(path)}:{node.lineno} {name}: {count}")
    assert not wide, f"more than {MAX_POSITIONAL} positional parameters:\n" + "\n".join(wide)


# ---- Documents ----


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def canonical(requirement: str) -> str:
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    assert match, f"not a requirement: {requirement!r}"
    return re.sub(r"[-_.]+", "-", match[1]).lower()


def test_every_dependency_is_explained() -> None:
    settings = pyproject()
    project = settings["project"]
    requirements = [*project.get("dependencies", []), *settings["build-system"]["requires"]]
    for several in project.get("optional-dependencies", {}).values():
        requirements += several
    for several in settings["dependency-groups"].values():
        requirements += several
    declared = {canonical(requirement) for requirement in requirements} - {"shoal"}
    table = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    explained = {canonical(name) for name in re.findall(r"(?m)^\| `([^`]+)` \|", table)}
    assert sorted(declared - explained) == [], "missing in docs/dependencies.md"
    assert sorted(explained - declared) == [], "in docs/dependencies.md but not used"


def test_version_is_the_same_everywhere() -> None:
    version = pyproject()["project"]["version"]
    assert shoal.__version__ == version
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"(?m)^## \[?{re.escape(version)}(?![\w.])", changelog), (
        f"CHANGELOG.md has no heading for {version}"
    )


def test_files_name_no_private_path() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout, to know which files belong to the project")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    found = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" in data[:8192]:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if PRIVATE_PATH.search(line):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


# ---- Tools ----


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy", "--strict", "src/"]],
    ids=" ".join,
)
def test_lint(command: list[str]) -> None:
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed; `make lint` installs and runs it")
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_shows_what_its_examples_print() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    pairs = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", readme, re.DOTALL)
    assert len(pairs) > 1
    for code, shown in pairs:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
        assert printed.getvalue() == shown
