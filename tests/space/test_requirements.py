"""A Space gets what the project needs, in the versions that the project is tested with."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def pins(name):
    return dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / name).read_text().lower(), flags=re.M))


def test_versions_are_those_of_the_project():
    needed = (ROOT / "setup.cfg").read_text().split("install_requires =")[1].split("[options.packages")[0]
    space, project = pins("space/requirements.txt"), pins("constraints.txt")
    assert set(re.findall(r"^    ([\w-]+)", needed, flags=re.M)) | {"gradio"} == set(space)
    different = {name for name, version in space.items() if project.get(name, version) != version}
    assert different <= {"pillow"}  # gradio wants it below 13


def test_the_card_of_the_space_names_its_files_and_the_same_gradio():
    card = yaml.safe_load((ROOT / "space" / "README.md").read_text().split("---")[1])
    assert card["sdk"] == "gradio" and card["sdk_version"] == pins("space/requirements.txt")["gradio"]
    assert (ROOT / "space" / card["app_file"]).is_file() and len(card["short_description"]) <= 60
