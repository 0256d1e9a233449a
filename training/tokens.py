"""The pocket checkpoint's tokenizer: a token a word of the small vocabulary, in the files that AutoTokenizer reads.

What is not in the vocabulary is one unknown token a word (or, in Chinese, a stretch between known words). Conventions
are T5's: padding is 0, and an end token is appended.
"""

import re
from functools import cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from wan_ddp.references.pocket_world.vocabulary import words
from wan_ddp.wan.byte_tokenizer import END, PAD, UNKNOWN, save_tokenizer

PAD_ID, END_ID, UNKNOWN_ID = 0, 1, 2
VOCABULARY = 320  # rows of the embedding; a multiple of 64 above the number of words


@cache
def tokenizer() -> Tokenizer:
    chinese = words("zh")
    tokens = [PAD, END, UNKNOWN, *words("en"), *chinese]
    if len(tokens) > VOCABULARY:
        raise AssertionError(f"{len(tokens)} words for {VOCABULARY} rows of the embedding")
    made = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=UNKNOWN))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    known = "|".join(re.escape(word) for word in sorted(chinese, key=len, reverse=True))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(known), "isolated"),
            pre_tokenizers.Split(Regex(r"[\s,.;:!?'\"，。、；：！？（）()-]+"), "removed"),
        ]
    )
    made.add_special_tokens([PAD, END, UNKNOWN])
    made.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, END_ID)])
    return made


def write_tokenizer(folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into `folder`, which is made."""
    save_tokenizer(tokenizer(), folder)
