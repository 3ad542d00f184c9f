"""The card of a published corpus: one section and one header for all configs of a repository, each kept by itself."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import jinja2
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from .errors import one_sentence, printable
from .filters import REASONS, checks_done
from .triples import TEXT_COLUMNS

TEMPLATE, SECTION_TEMPLATE = (Path(__file__).parent / name for name in ("README.md", "section.md"))
SECTION = re.compile(r"<!-- paraclip (\{.*?\}) -->\n.*?\n<!-- end of paraclip config -->\n*", re.DOTALL)
OLD = "Made with ParaCLIP."  # in cards of version 0.2, which had no sections
SIZES = {
    "n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6, "1M<n<10M": 10**7, "10M<n<100M": 10**8,
}  # fmt: skip
TAGS = ["paraphrase", "clip", "paraclip", "image-text-retrieval"]
TASKS = ["sentence-similarity", "text-retrieval"]
MAIN_LANGUAGE = 0.05  # share of the texts from which a language is named in the header


def make_card(
    repo_id: str,
    statistics: dict,
    info: datasets.DatasetInfo,
    examples: list[dict],
    languages: Counter[str | None],
    *,
    license: str,
    config_name: str,
    revision: str | None = None,
    old: str | None = None,
) -> DatasetCard:
    """The card of a repository in which one config is made or made again; what else it says is kept.

    Args:
        statistics: as `corpus.statistics` gives them.
        info: features and splits of the config, which the viewer shows.
        examples: some rows.
        languages: how many of the texts are in each language, or not surely in one (None).
        revision: the branch, if it is not the main one.
        old: the README.md that is there.

    Raises:
        InputError: the header of `old` cannot be read.
    """
    sizes = {name: split.num_examples for name, split in (info.splits or {}).items()}
    main = [name for name, count in languages.most_common() if name and count >= MAIN_LANGUAGE * languages.total()]
    known = {"config": config_name, "license": license, "language": main}
    facts = statistics | {
        "recipes": [{**recipe, "checks": checks_done(recipe)} for recipe in statistics["recipes"] if recipe["rows"]],
        "source": _source(statistics["source"]),
        "languages": _languages(languages),
        "explanations": {
            reason: REASONS.get(reason.split(": ", 1)[-1], "tried again by the next run")
            for reason in (*statistics["reasons"], *statistics.get("negative_reasons", ()))
        },
    }
    names = {"repo_id": repo_id, "config_name": config_name, "revision": revision, "license": license}
    template = _environment().from_string(SECTION_TEMPLATE.read_text("utf-8"))
    text = template.render(sizes=sizes, examples=examples, **names, **facts)
    mark = json.dumps(known, sort_keys=True).replace(">", "\\u003e")  # nothing ends the comment early
    section = f"<!-- paraclip {mark} -->\n{text.strip()}\n<!-- end of paraclip config -->\n"
    with one_sentence(f"{repo_id}: its README.md on the Hub has no valid header", "Mend it there."):
        card = DatasetCard(old) if old is not None and _is_kept(old, config_name) else None
        data = card.data if card is not None else DatasetCardData(pretty_name=repo_id.split("/")[-1])
        _update(data, [*(others := _others(card, config_name)), known], statistics["source"], bool(others))
        splits = [{"split": name, "path": f"{config_name}/{name}-*.parquet"} for name in sizes if sizes[name]]
        MetadataConfigs({config_name: {"data_files": splits}}).to_dataset_card_data(data)
        DatasetInfosDict({config_name: info}).to_dataset_card_data(data)
        data["size_categories"] = _size_category(data)
    if card is None:
        template = _environment().from_string(TEMPLATE.read_text("utf-8"))
        has_negatives = "negatives" in statistics
        text = template.render(card_data=data.to_yaml(), repo_id=repo_id, section=section, negatives=has_negatives)
        return DatasetCard(text)
    card.text = _replaced(card.text, config_name, section)
    return card


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(keep_trailing_newline=True)
    environment.globals |= {"cell": cell, "code": code}
    return environment


# ----------------------------------------------------------------------------------------------- what was there before
def _is_kept(old: str, config_name: str) -> bool:
    """Whether a README.md says anything but what version 0.2 said of the same config."""
    configs = DatasetCard(old).data.to_dict().get("configs") or []
    return SECTION.search(old) is not None or OLD not in old or [c["config_name"] for c in configs] != [config_name]


def _sections(text: str) -> Iterator[tuple[dict, re.Match]]:
    for match in SECTION.finditer(text):
        yield json.loads(match[1]), match


def _others(card: DatasetCard | None, config_name: str) -> list[dict]:
    """What is known of the other configs; the licence and languages of what has no section stand for themselves."""
    if card is None:
        return []
    found = [known for known, _ in _sections(card.text)]
    others = [known for known in found if known["config"] != config_name]
    if {config["config_name"] for config in card.data.get("configs") or []} - {known["config"] for known in found}:
        header = card.data.to_dict()
        others += [{"license": license, "language": []} for license in _as_list(header.get("license"))]
        others += [{"license": None, "language": _as_list(header.get("language"))}]
    return others


def _replaced(text: str, config_name: str, section: str) -> str:
    for known, match in _sections(text):
        if known["config"] == config_name:
            return f"{text[: match.start()]}{section}{text[match.end() :]}"
    return f"{text.rstrip()}\n\n{section}"


def _update(data: Any, configs: list[dict], source: dict, has_others: bool) -> None:
    """The header's licence, languages, tags, tasks and sources: those of all configs."""
    licenses = _unique(config["license"] for config in configs if config["license"])
    data["license"] = licenses[0] if len(licenses) == 1 else licenses
    data["language"] = _unique(language for config in configs for language in config["language"]) or None
    data["tags"] = _unique([*_as_list(data.get("tags")), *TAGS])
    data["task_categories"] = _unique([*_as_list(data.get("task_categories")), *TASKS])
    data["annotations_creators"] = _unique([*_as_list(data.get("annotations_creators")), "machine-generated"])
    sources = _as_list(data.get("source_datasets")) if has_others else []
    data["source_datasets"] = _unique([*sources, *([source["dataset"]] if "/" in source.get("dataset", "") else [])])
    data["source_datasets"] = data["source_datasets"] or None


def _size_category(data: Any) -> str:
    infos = DatasetInfosDict.from_dataset_card_data(data).values()
    total = sum(split.num_examples for info in infos for split in (info.splits or {}).values())
    return next((name for name, bound in SIZES.items() if total < bound), "n>100M")


def _as_list(value: Any) -> list:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _unique(values: Iterable[Any]) -> list:
    return list(dict.fromkeys(values))


# ------------------------------------------------------------------------------------------------------- what it says
def _source(source: dict) -> str:
    """The fingerprint of the captions, in words."""
    said = []
    if "dataset" in source:
        said = [f"the data set {code(source['dataset'])}"]
        said += [f"{name} {code(source[name])}" for name in ("config", "split", "revision") if name in source]
    elif files := source.get("files"):
        names = ", ".join(code(file["name"]) for file in files[:5]) + (" ..." if len(files) > 5 else "")
        said = [
            f"{len(files):,} file{'s' * (len(files) > 1)} of {sum(file['bytes'] for file in files):,} bytes: {names}"
        ]
    said += [f"column {code(source['caption_column'])}"] if "caption_column" in source else []
    said += [f"where {code(source['where'])}"] if "where" in source else []
    said += [f"the first {source['limit']:,} rows"] if "limit" in source else []
    return ", ".join(said) or "not recorded"


def _languages(languages: Counter[str | None]) -> str:
    total = languages.total()
    if not total:
        return "not measured"
    shares = [f"{name or 'not sure'} {count / total:.1%}" for name, count in languages.most_common() if name]
    shares += [f"not sure {languages[None] / total:.1%}"] if languages[None] else []
    return f"{', '.join(shares)}, as py3langid tells them of {total:,} captions and paraphrases"


def cell(text: object) -> str:
    """Text as a card shows it, in a table or not: what Markdown or HTML could read as more becomes an entity."""
    text = " ".join(printable(text).split())
    return re.sub(r"[^\w\s.,'\"()!?;/-]|_|(?<=www)\.", lambda match: f"&#{ord(match[0])};", text, flags=re.ASCII)


def code(text: object) -> str:
    """Text as code in a line of Markdown."""
    text = " ".join(printable(text).split())
    if "<!--" in text:  # the mark of a section is looked for in code, too
        return cell(text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " * ("`" in text[:1] + text[-1:])
    return f"{fence}{space}{text}{space}{fence}"


def measured_languages(rows: Iterable[dict]) -> Counter[str | None]:
    """How many texts are surely in which language, or in none (None); nothing where py3langid is not installed."""
    try:
        import py3langid  # noqa: F401
    except ImportError:
        return Counter()
    from .language import surely

    return Counter(surely(row[name]) for row in rows for name in TEXT_COLUMNS)
