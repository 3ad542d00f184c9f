"""Each metric's folder as a Space: loaded from the Hub by the real client, its card, its page."""

import ast
import importlib.util
import json
import re
import subprocess
import sys

import pytest
import yaml

from tests.eval.metrics.formulas import METRICS
from tests.hub_double import HubDouble

NAMES = sorted(path.name for path in METRICS.iterdir() if (path / f"{path.name}.py").is_file())
ROOT = METRICS.parents[1]
LOAD_ALL = """
import sys, evaluate
for name in sys.argv[1:]:
    metric = evaluate.load(f"org/{name}")
    assert metric.name == name and metric.inputs_description, name
ranked = {"predictions": [["a", "b"]], "references": [["b", "a"]], "k": [1, 2]}
print(evaluate.load("org/average_overlap").compute(**ranked))
print(evaluate.load("org/average_overlap", revision="v1").compute(**ranked))
"""


def test_evaluate_loads_each_from_the_hub(tmp_path):
    with HubDouble() as hub:
        for name in NAMES:
            files = {path.name: path.read_bytes() for path in (METRICS / name).iterdir() if path.is_file()}
            hub.repos[f"org/{name}"] = files
            hub.commits[f"org/{name}", "first"] = dict(files)
            hub.tags[f"org/{name}", "v1"] = "first"
        hub.private.add("org/average_overlap")
        done = subprocess.run([sys.executable, "-c", LOAD_ALL, *NAMES], env=hub.environment(tmp_path), cwd=tmp_path,
                              capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'average_overlap@1': 0.0, 'average_overlap@2': 0.5}"] * 2


def pins(path):
    return dict(re.findall(r"^([\w-]+)==(\S+)", path.read_text(), flags=re.M))


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_a_space(name):
    _, card, text = (METRICS / name / "README.md").read_text().split("---\n", 2)
    data = yaml.safe_load(card)
    assert data["sdk"] == "gradio" and data["tags"] == ["evaluate", "metric"] and len(data["short_description"]) <= 60
    assert data["sdk_version"] == pins(ROOT / "space" / "requirements.txt")["gradio"]
    assert (METRICS / name / data["app_file"]).read_text() == (METRICS / NAMES[0] / "app.py").read_text()
    assert f'evaluate.load("ORG/{name}")' in text
    needed, project = pins(METRICS / name / "requirements.txt"), pins(ROOT / "constraints.txt")
    assert needed == {package: project[package] for package in needed}
    module = ast.parse((METRICS / name / f"{name}.py").read_text())
    imported = {alias.name for node in module.body if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module.split(".")[0] for node in module.body if isinstance(node, ast.ImportFrom)}
    assert imported - set(sys.stdlib_module_names) <= set(needed)


@pytest.mark.parametrize("name", NAMES)
def test_the_snippet_of_the_card_is_true(name, tmp_path):
    code = (METRICS / name / "README.md").read_text().split("```python\n")[1].split("```")[0]
    *lines, call, expected = code.replace("ORG/", f"{METRICS}/").strip().splitlines()
    names = {}
    exec("\n".join(lines).replace('")', f'", cache_dir="{tmp_path}")'), names)
    assert eval(call, names) == ast.literal_eval(expected.removeprefix("# "))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_computes_its_example_and_says_what_is_wrong(name, monkeypatch):
    gradio = pytest.importorskip("gradio", reason="needs gradio: pip install -r space/requirements.txt")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "0")
    spec = importlib.util.spec_from_file_location("app_of_a_metric", METRICS / name / "app.py")
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    page = app.build()
    given = page.input_components[0].value
    assert all(0 <= value <= 2 for value in app.compute(given).values())
    for wrong in ("{", "[]", json.dumps({**json.loads(given), "references": []}), '{"predictions": 7}'):
        with pytest.raises(gradio.Error):
            app.compute(wrong)
