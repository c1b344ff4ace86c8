#!/usr/bin/env python3
"""Makes the golden files beside it with Hugging Face tokenizers (pip install tokenizers), as an independent judge:

corpus.txt          a small text, one document a line
tokenizer.json      what their trainer learns from it: 600 tokens, minimum frequency 2, merges as pairs
legacy.json         the same in the older spelling: merges as "a b", no model.type, two special tokens after a gap
cases.txt           texts, one a line, with \\n, \\t, \\\\ escaped
expected.txt        their ids under tokenizer.json
"""
import json
import pathlib
import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

here = pathlib.Path(__file__).parent
random.seed(1)

NOUNS = ("cat dog house river mountain teacher doctor woman man child apple bicycle telescope violin sunset lighthouse "
         "café naïveté дом река кошка 山 河 猫 家 ελιά θάλασσα").split()
VERBS = "holds paints watches carries draws doesn't remembers they're isn't photographs видит любит 看见 喜欢".split()
ADJECTIVES = "small red bright old wooden golden tiny enormous friendly unbelievable красный 红色 μικρή".split()


def sentence():
    words = [random.choice("A The One My Your It's".split()), random.choice(ADJECTIVES), random.choice(NOUNS),
             random.choice(VERBS), "the", random.choice(ADJECTIVES), random.choice(NOUNS)]
    if random.random() < 0.3:
        words.append(f"in {random.randint(1900, 2026)}")
    if random.random() < 0.2:
        words.append("— (" + random.choice(NOUNS) + "," + "  " + random.choice(NOUNS) + ")")
    return " ".join(words) + random.choice([".", "!", "...", "?!", " 😀", " 👩‍🚀👩🏽‍🚀"])


corpus = [" ".join(sentence() for _ in range(random.randint(1, 4))) for _ in range(400)]
(here / "corpus.txt").write_text("\n".join(corpus) + "\n")

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
    vocab_size=600, min_frequency=2, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
tokenizer.save(str(here / "tokenizer.json"), pretty=False)

cases = [sentence() for _ in range(60)] + [
    "", " ", "  ", "\n", "a", "A cat", "  two  spaces  ", "tabs\tand\nlines\n\n  end ",
    "it's they'll I'd we've 'twas 'S",
    "unseenwordthatmustbemergedfrombytesalone" * 4, "=" * 200, "ab" * 150, "日本語のテキスト",
    "\u00a0nbsp\u2003em", "e\u0301 ñ ﬁ ²³ Ⅷ ٣",
    "👩🏽‍🚀 🇫🇷 ❤️", "</s> <s> <|endoftext|>", "0123456789 3.14159 1,000,000", "def f(x):\n    return x ** 2  # ok\n",
]
escape = lambda text: text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
(here / "cases.txt").write_text("".join(escape(case) + "\n" for case in cases))
(here / "expected.txt").write_text("".join(" ".join(map(str, tokenizer.encode(case).ids)) + "\n" for case in cases))

legacy = json.loads((here / "tokenizer.json").read_text())
del legacy["model"]["type"]
legacy["model"].update(merges=[" ".join(pair) for pair in legacy["model"]["merges"]], continuing_subword_prefix="",
                       end_of_word_suffix="")
legacy["added_tokens"] = [dict(id=700 + i, content=text, single_word=False, lstrip=False, rstrip=False,
                                    normalized=False,
                               special=True) for i, text in enumerate(["</s>", "<mask>"])]
legacy["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
(here / "legacy.json").write_text(json.dumps(legacy, ensure_ascii=True))
