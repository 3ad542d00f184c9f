"""The tasks: `eval.tasks.NAME` has a function NAME of an encoder and the data folder (None: the Hub).

This module imports nothing, so that `python -m eval --help` is quick. A new task is one file and one line here.
"""

# the names for --tasks, in the order of the tables, and what help says of their data
NAMES = {
    "paraphrased_retrieval": "DIR/*/*triples_val.jsonl (or _test) and images/; not on the Hub",
    "image_text_retrieval": "DIR/*/dataset_*.json (Karpathy) or captions.jsonl, images/; Hub: Flickr30k, COCO test",
    "aro": "DIR/aro/visual_genome_*.json and images/, and what image_text_retrieval reads; Hub: all four of MTEB",
    "sts": "DIR/sts/*.tsv; Hub: STS12 to 16, STS-B, SICK-R",
    "sugarcrepe": "DIR/sugarcrepe/*.json (or .tsv) and images/; Hub: as one, and all kinds but add_att, replace_att",
    "sugarcrepe_pp": "DIR/sugarcrepe_pp/*.json (or .tsv) and, optionally, images/; Hub: by text alone",
    "negclip": "DIR/aro/*_neg_clip.tsv (or negclip_*.tsv) and images/; not on the Hub",
    "order_text": "DIR/aro/*_neg_clip.tsv (or negclip_*.tsv) and DIR/captions/*.jsonl; not on the Hub",
    "winoground": "DIR/winoground/examples.jsonl and images/; Hub: facebook/winoground, with a login",
    "cxc_sts": "DIR/cxc/sts_val.csv (or _test) and DIR/*/dataset_coco.json, or cxc_sts_val.tsv; not on the Hub",
    "zero_shot": "DIR/zeroshot/NAME/CLASS/*.jpg; Hub: CIFAR-10, CIFAR-100, ImageNet",
}
TEXT_TASKS = ("sts", "cxc_sts", "sugarcrepe_pp", "order_text")  # need no pictures
