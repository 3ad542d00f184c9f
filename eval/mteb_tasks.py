"""Paraphrased retrieval and SugarCrepe++ as tasks of MTEB, in its own conventions.

The file needs nothing of this project, so that its classes can be contributed: each goes into a file of
`mteb/tasks/`. The data of SugarCrepe++ by text are its authors', on the Hub. Those of the other two are nowhere on
the Hub yet: `python -m eval.mteb` takes them from a folder, and MTEB's own `task.push_dataset_to_hub(...)` uploads
them in the form that the classes load.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import concatenate_datasets
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks._statistics_calculation import calculate_text_statistics
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.image.image_text_pair_classification import AbsTaskImageTextPairClassification
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import EncoderProtocol
from mteb.similarity_functions import pairwise_cos_sim
from mteb.types.statistics import SplitDescriptiveStatistics, TextStatistics

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from mteb.types import RelevantDocumentsType

PARACLIP = r"""
@inproceedings{kim-etal-2024-fine,
  author = {Kim, Hyunjae and Yoon, Seunghyun and Bui, Trung and Zhao, Handong and Tran, Quan and Dernoncourt, Franck and Kang, Jaewoo},
  booktitle = {Findings of the Association for Computational Linguistics: EACL 2024},
  pages = {2175--2184},
  title = {Fine-tuning {CLIP} Text Encoders with Two-step Paraphrasing},
  url = {https://aclanthology.org/2024.findings-eacl.144/},
  year = {2024},
}
"""  # noqa: E501 (as MTEB formats them)
SUGARCREPE_PP = r"""
@inproceedings{dumpala2024sugarcrepe,
  author = {Dumpala, Sri Harsha and Jaiswal, Aman and Sastry, Chandramouli and Milios, Evangelos and Oore, Sageev and Sajjad, Hassan},
  booktitle = {Advances in Neural Information Processing Systems, Datasets and Benchmarks Track},
  title = {{SugarCrepe++} Dataset: Vision-Language Model Sensitivity to Semantic and Lexical Alterations},
  year = {2024},
}
"""  # noqa: E501
TRIPLET = ("caption", "caption2", "negative_caption")
K = 10


class ParaphrasedImageRetrieval(AbsTaskRetrieval):
    """Do two wordings of one wish find the same pictures?

    The queries are wordings; the id of each is `ROW/WORDING`, and those of one row mean the same. Every two wordings
    of a row are compared by their rankings, ties by lower place in the corpus: average overlap (Webber et al. 2010)
    and Jaccard similarity of the first ten. `average_overlap_at_10` and `jaccard_similarity_at_10` are the means over
    the pairs with the wording `caption`; those of each kind of pair carry its name. The usual figures of retrieval
    are of all wordings together.
    """

    shown = ("average_overlap_at_10", "jaccard_similarity_at_10")
    metadata = TaskMetadata(
        name="ParaphrasedImageRetrieval",
        description="Agreement of the pictures that are retrieved for a caption and for rewordings of it.",
        reference="https://aclanthology.org/2024.findings-eacl.144/",
        dataset={"path": "paraclip/paraphrased-image-retrieval", "revision": "not-published-yet"},
        type="Any2AnyRetrieval",
        category="t2i",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="average_overlap_at_10",
        date=("2013-01-01", "2026-12-31"),
        domains=["Web", "Written"],
        task_subtypes=["Image Text Retrieval"],
        license="not specified",
        annotations_creators="LM-generated",
        dialect=[],
        modalities=["text", "image"],
        sample_creation="created",
        bibtex_citation=PARACLIP,
        prompt={"query": "Find an image that matches the given caption."},  # type: ignore[arg-type]
    )

    def task_specific_scores(
        self,
        scores: dict[str, dict[str, float]],
        qrels: RelevantDocumentsType,
        results: dict[str, dict[str, float]],
        hf_split: str,
        hf_subset: str,
    ) -> dict[str, float]:
        """The agreement of the rankings of two wordings; `results` are document -> score of each query."""
        place = {document: i for i, document in enumerate(self.dataset[hf_subset][hf_split]["corpus"]["id"])}
        if len(place) <= K:
            raise ValueError(f"{len(place)} pictures: every wording finds the same {K} unless there are more.")
        rows: dict[str, dict[str, list[str]]] = defaultdict(dict)
        for query, found in results.items():
            row, _, wording = query.rpartition("/")
            rows[row][wording] = sorted(found, key=lambda document: (-found[document], place[document]))
        measured: dict[str, list[float]] = defaultdict(list)
        for wordings in rows.values():
            for one, other in combinations(sorted(wordings), 2):
                for metric, agreement in _agreement(wordings[one], wordings[other]).items():
                    measured[f"{metric}_{one}_{other}"].append(agreement)
                    if "caption" in (one, other):
                        measured[metric].append(agreement)
        return {metric: float(np.mean(values)) for metric, values in measured.items()}


def _agreement(first: list[str], second: list[str]) -> dict[str, float]:
    """Of two rankings."""
    common = [len({*first[:depth]} & {*second[:depth]}) for depth in range(1, K + 1)]
    return {
        f"average_overlap_at_{K}": sum(shared / depth for depth, shared in enumerate(common, start=1)) / K,
        f"jaccard_similarity_at_{K}": common[-1] / (2 * K - common[-1]),
    }


class SugarCrepePlusPlusDescriptiveStatistics(SplitDescriptiveStatistics):
    """Number of items, and of each text what MTEB says of texts."""

    num_samples: int
    caption_statistics: TextStatistics
    caption2_statistics: TextStatistics
    negative_caption_statistics: TextStatistics


class SugarCrepePlusPlusText(AbsTask):
    """Are a caption and its paraphrase nearer to each other than either is to a hard negative?

    An item is right where cos(caption, caption2) is above cos(caption, negative) and above cos(caption2, negative), as
    in the authors' text-only task (TOT). A tie is wrong, and so is a negative that repeats a caption.
    """

    shown = ("accuracy",)
    abstask_prompt = "Retrieve text with the same meaning."
    metadata = TaskMetadata(
        name="SugarCrepePlusPlusText",
        description="A caption and its paraphrase against a hard negative of similar words, by text alone.",
        reference="https://arxiv.org/abs/2406.11171",
        dataset={"path": "Aman-J/SugarCrepe_pp", "revision": "5d265737efeae563ce08a0ed462de33eac2fef5d"},
        type="Compositionality",
        category="t2t",
        eval_splits=["train"],
        eval_langs={
            kind: ["eng-Latn"]
            for kind in ("replace_attribute", "replace_object", "replace_relation", "swap_atribute", "swap_object")
        },
        main_score="accuracy",
        date=("2024-01-01", "2024-12-31"),
        domains=["Web", "Written"],
        task_subtypes=["Caption Pairing"],
        license="cc-by-4.0",
        annotations_creators="LM-generated and reviewed",
        dialect=[],
        modalities=["text"],
        sample_creation="LM-generated and verified",
        bibtex_citation=SUGARCREPE_PP,
    )

    def _get_content_columns(self) -> dict[str, Any]:
        return dict.fromkeys(TRIPLET, "text")

    def _evaluate_subset(
        self,
        model,
        data_split: Dataset,
        *,
        encode_kwargs,
        hf_split: str,
        hf_subset: str,
        prediction_folder=None,
        num_proc: int | None = None,
        timer,
        **kwargs: Any,
    ) -> dict[str, float]:
        if not isinstance(model, EncoderProtocol):
            raise TypeError("Expected model to be an instance of EncoderProtocol")
        vectors = []
        for column in TRIPLET:
            with timer(f"Encoding {column}", split=hf_split, subset=hf_subset):
                loader = create_dataloader(
                    data_split, task_metadata=self.metadata, input_column=column, num_proc=num_proc, **encode_kwargs
                )
                vectors.append(
                    model.encode(
                        loader,
                        task_metadata=self.metadata,
                        hf_split=hf_split,
                        hf_subset=hf_subset,
                        **encode_kwargs,
                    )
                )
        same, *wrong = (np.asarray(pairwise_cos_sim(vectors[a], vectors[b])) for a, b in ((0, 1), (0, 2), (1, 2)))
        if prediction_folder:
            predictions = [scores.tolist() for scores in (same, *wrong)]
            self._save_task_predictions(predictions, model, prediction_folder, hf_split=hf_split, hf_subset=hf_subset)
        repeats = [row[TRIPLET[2]] in (row[TRIPLET[0]], row[TRIPLET[1]]) for row in data_split]
        right = (same > wrong[0]) & (same > wrong[1]) & ~np.array(repeats)
        return {"accuracy": float(right.mean())}

    def _calculate_descriptive_statistics_from_split(
        self,
        split: str,
        *,
        hf_subset: str | None = None,
        compute_overall: bool = False,
        num_proc: int | None = None,
    ) -> SugarCrepePlusPlusDescriptiveStatistics:
        dataset: Any = self.dataset
        rows = concatenate_datasets([dataset[subset][split] for subset in ([hf_subset] if hf_subset else dataset)])
        caption, paraphrase, negative = (calculate_text_statistics(list(rows[column])) for column in TRIPLET)
        return SugarCrepePlusPlusDescriptiveStatistics(
            num_samples=len(rows),
            caption_statistics=caption,
            caption2_statistics=paraphrase,
            negative_caption_statistics=negative,
        )


class SugarCrepePlusPlusImage(AbsTaskImageTextPairClassification):
    """Is a picture nearer to its caption and to the paraphrase of it than to a hard negative?

    An item is right where both cosines are above that of the negative: the authors' image-to-text task (ITT). A tie is
    wrong.
    """

    shown = ("accuracy",)
    images_column_names = ("image",)
    texts_column_names = TRIPLET
    metadata = TaskMetadata(
        name="SugarCrepePlusPlusImage",
        description="A picture with its caption and a paraphrase of it against a hard negative of similar words.",
        reference="https://arxiv.org/abs/2406.11171",
        dataset={"path": "paraclip/sugarcrepe-pp", "revision": "not-published-yet"},
        type="Compositionality",
        category="i2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="accuracy",
        date=("2024-01-01", "2024-12-31"),
        domains=["Web", "Written"],
        task_subtypes=["Caption Pairing"],
        license="cc-by-4.0",
        annotations_creators="LM-generated and reviewed",
        dialect=[],
        modalities=["text", "image"],
        sample_creation="LM-generated and verified",
        bibtex_citation=SUGARCREPE_PP,
    )

    def _compute_metrics(  # type: ignore[override]
        self, scores: list[torch.Tensor], num_images_per_sample: int, num_texts_per_sample: int
    ) -> dict[str, float]:
        """Of (1, 3) cosines of each item."""
        right = [bool((own[0, :2] > own[0, 2]).all()) for own in scores]
        return {"accuracy": float(np.mean(right))}
