"""The project's files tell the truth about each other."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from modeling_paraclip import __version__

ROOT = Path(__file__).parent.parent


def test_readme_commands_are_what_ci_runs():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for command in (
        "pip install -c constraints.txt -e . && python train.py",
        'pip install -c constraints.txt -e ".[test]" && pytest',
    ):
        assert command in readme and command in ci
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
        assert (ROOT / path).exists(), path


def test_constraints_pin_every_dependency():
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text().lower(), flags=re.M))
    block = (ROOT / "setup.cfg").read_text().split("install_requires =")[1].split("[options.packages")[0]
    assert set(re.findall(r"^    ([\w-]+)", block, flags=re.M)) <= pinned


def test_version_is_stated_once_and_the_same():
    assert f"version = {__version__}\n" in (ROOT / "setup.cfg").read_text()
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it, by absolute name; of `from a import b` both a and a.b."""
    package, found = path.relative_to(ROOT).parent.parts, set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): imports_of(path)
    for package in ("modeling_paraclip", "dataset_builder", "eval")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
}


@pytest.mark.parametrize(
    ("package", "others"),
    [
        ("modeling_paraclip", ("dataset_builder", "eval", "train")),
        ("dataset_builder", ("modeling_paraclip", "eval", "train")),
        ("eval", ("dataset_builder", "train")),
    ],
)
def test_imports_run_one_way(package, others):
    for module, imported in MODULES.items():
        if module.split(".")[0] == package:
            assert not {name.split(".")[0] for name in imported} & set(others), module


def test_no_imports_run_in_circles():
    graph = {module: imported & set(MODULES) for module, imported in MODULES.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_each_source_file_has_its_test_file():
    without = {"modeling_paraclip.errors", "dataset_builder.errors", "dataset_builder.generators.lexicon",
               "dataset_builder.generators.contrasts",
               "dataset_builder.wording.senses"}  # fmt: skip
    tests = {str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py")}
    for module in set(MODULES) - without:
        package, *folders, name = module.split(".")
        name = name.strip("_")
        if folders[:1] == ["metrics"]:
            folders = ["metrics"]
        expected = {
            "/".join([package, *folders, f"test_{name}.py"]),
            "/".join([package, f"test_{'_'.join([*folders, name])}.py"]),
        }
        assert tests & expected, module


# What can run somebody else's code
DANGEROUS = re.compile(
    r"torch\.load\b|\bpickle\b|yaml\.(unsafe_|full_)?load\b|(?<![.\w])(eval|exec)\(|trust_remote_code=True|shell=True"
    r"|os\.system|weights_only=False|allow_pickle=True"
)


def test_nothing_runs_code_that_comes_with_data():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [
            ROOT / "train.py",
            *(
                p
                for name in ("modeling_paraclip", "dataset_builder", "eval", "scripts", "space")
                for p in (ROOT / name).rglob("*.py")
            ),
        ]
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if DANGEROUS.search(line) and not line.strip().startswith("#")
    ]
    assert not found, "\n".join(found)


def test_the_search_for_dangerous_calls_finds_them():
    for line in (
        "torch.load(path)", "import pickle", "yaml.load(text)", "eval(text)", "x = exec(text)", "shell=True",
        "np.load(f, allow_pickle=True)", "from_pretrained(name, trust_remote_code=True)", "os.system('ls')",
    ):  # fmt: skip
        assert DANGEROUS.search(line), line
    for line in (
        "model.eval()",
        "from eval.suite import x",
        "trust_remote_code=False",
        "torch.save(x)",
        "yaml.safe_load",
    ):
        assert not DANGEROUS.search(line), line
