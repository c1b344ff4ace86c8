#!/usr/bin/env python3
"""Encoding speed of byte-level BPE on one core: ours, Hugging Face tokenizers and tiktoken, on the same text with the
same vocabulary, and whether all ids are equal.

    tools/bench/bpe.py [--build build] [--work FOLDER] [--megabytes 100] [--vocab 56320] [--rounds 3]
                       [--lines] [--train]

Needs a finished build of this repository, a C compiler, and PyPI for the two others, which go into FOLDER/venv (FOLDER
is a temporary folder if not given). The text is what a Debian machine has: man pages in all their languages, package
documentation, Perl's and Python's libraries. The vocabulary is learnt from one half of its documents and timed on the
other, so the timed text holds pieces that training never saw. Times are processor time, the best of all rounds for each
contender; the rounds alternate between contenders. With --lines every line is a text of its own, as captions are; with
--train Hugging Face's trainer learns from the same text too, and its merges are compared. Prints Markdown."""
import argparse
import gzip
import json
import os
import pathlib
import platform
import random
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = {"man pages (roff, 20 languages)": ["/usr/share/man"],
           "package documentation": ["/usr/share/doc", "/usr/share/info", "/usr/share/common-licenses"],
           "Perl library and its manuals": ["/usr/share/perl"],
           "Python library": ["/usr/lib/python3.11", "/usr/lib/python3"]}
DOCUMENT = 1 << 16  # longer files are cut at a line's end


def read_text(path):
    try:
        data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, gzip.zlib.error):
        return None
    return text if len(text) > 200 and "\0" not in text else None


def documents(text, lines):
    data = text.encode()
    if lines:
        yield from (line for line in data.split(b"\n") if line)
        return
    while data:
        end = data.rfind(b"\n", 0, DOCUMENT) + 1 if len(data) > DOCUMENT else 0
        end = end or min(len(data), DOCUMENT)
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        yield data[:end]
        data = data[end:]


def gather(megabytes, lines):
    """Documents of every source, mixed, the same on every run on a machine; how many bytes come from each source."""
    chosen, shares = [], {}
    for source, folders in SOURCES.items():
        paths = sorted(path for folder in folders for path in pathlib.Path(folder).rglob("*")
                       if path.is_file() and not path.is_symlink() and path.suffix not in
                        (".pyc", ".so", ".png", ".pack"))
        random.Random(1).shuffle(paths)
        budget, seen, size = megabytes * 1_000_000 // len(SOURCES), set(), 0
        for path in paths:
            text = read_text(path)
            if text is None or hash(text) in seen:
                continue
            seen.add(hash(text))
            for document in documents(text, lines):
                chosen.append(document)
                size += len(document)
            if size >= budget:
                break
        shares[source] = size
    random.Random(2).shuffle(chosen)
    return chosen, shares


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE).stdout


def prepare(args, work):
    """Corpus, tokenizer and our program, each made once in the work folder."""
    chosen, shares = gather(args.megabytes, args.lines)
    half = len(chosen) // 2
    (work / "train.bin").write_bytes(b"".join(d + b"\0" for d in chosen[:half]))
    (work / "test.bin").write_bytes(b"".join(d + b"\0" for d in chosen[half:]))
    libraries = [args.build / f"libcm3_{layer}.a" for layer in ("data", "core")]
    run("cc", "-O3", "-D_GNU_SOURCE", f"-I{ROOT}", ROOT / "tools/bench/bench_bpe.c", *libraries, "-ljansson",
        "-lutf8proc",
        "-lxxhash", "-lpthread", "-lm", "-o", work / "bench_bpe")
    trained = json.loads(run(work / "bench_bpe", "train", work / "train.bin", args.vocab, work / "tokenizer.json"))
    return shares, trained


# ---- the others, inside the virtual environment ----

def byte_of_character():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def contender_main(kind, work, passes):
    """Times one of the others; writes its ids as the C program does. Returns through stdout."""
    import numpy
    texts = (work / "test.bin").read_bytes().decode().split("\0")[:-1]
    if kind == "tokenizers":
        import tokenizers
        tokenizer, version = tokenizers.Tokenizer.from_file(str(work / "tokenizer.json")), tokenizers.__version__
        ways = {"encode": lambda: [tokenizer.encode(text, add_special_tokens=False) for text in texts],
                "encode_batch_fast": lambda: tokenizer.encode_batch_fast(texts, add_special_tokens=False)}
        as_ids = lambda result: result.ids
    else:
        import tiktoken
        from tiktoken_ext.openai_public import r50k_pat_str
        byte_of = byte_of_character()
        vocab = json.loads((work / "tokenizer.json").read_text())["model"]["vocab"]
        ranks = {bytes(byte_of[c] for c in token): rank for token, rank in vocab.items()}
        tokenizer = tiktoken.Encoding("bench", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})
        version = tiktoken.__version__
        ways = {"encode_ordinary": lambda: [tokenizer.encode_ordinary(text) for text in texts],
                "encode_to_numpy": lambda: [tokenizer.encode_to_numpy(text, disallowed_special=()) for text in texts]}
        as_ids = lambda result: result
    seconds = {}
    for way, encode in ways.items():
        for _ in range(passes):
            results = None  # what the last one left is freed outside of the time
            start = time.process_time()
            results = encode()
            seconds.setdefault(way, []).append(time.process_time() - start)
    ids = numpy.concatenate([numpy.append(numpy.asarray(as_ids(r), dtype=numpy.int32), numpy.int32(-1))
                             for r in results])
    ids.tofile(work / f"{kind}.ids")
    print(json.dumps({"version": version, "seconds": seconds}))


def train_main(work, vocab):
    """Hugging Face's trainer on the same text; whether it learns the same."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    texts = (work / "train.bin").read_bytes().decode().split("\0")[:-1]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = byte_level
    start = time.process_time()
    theirs.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab, min_frequency=2, show_progress=False,
                                                          initial_alphabet=byte_level.alphabet()))
    seconds = time.process_time() - start
    ours = json.loads((work / "tokenizer.json").read_text())["model"]
    model = json.loads(theirs.to_str())["model"]
    print(json.dumps({"seconds": seconds, "equal": all(model[part] == ours[part] for part in ("vocab", "merges"))}))


# ---- the whole ----

def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--vocab", type=int, default=56320)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--contender", choices=["tokenizers", "tiktoken", "trainer"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    work = args.work or pathlib.Path(tempfile.mkdtemp(prefix="bench-bpe-"))
    if args.contender == "trainer":
        return train_main(work, args.vocab)
    if args.contender:
        return contender_main(args.contender, work, passes=1)

    work.mkdir(parents=True, exist_ok=True)
    python = work / "venv/bin/python"
    if not python.exists():
        run(sys.executable, "-m", "venv", work / "venv")
        run(python, "-m", "pip", "install", "--quiet", "tokenizers", "tiktoken", "numpy")
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    shares, trained = prepare(args, work)
    pin = ["taskset", "-c", "0"]
    seconds, versions = {}, {}
    for _ in range(args.rounds):
        for kind in ("tokenizers", "tiktoken"):
            result = json.loads(run(*pin, python, __file__, "--work", work, "--contender", kind))
            versions[kind] = result["version"]
            for way, times in result["seconds"].items():
                seconds.setdefault(f"{kind} {way}", []).extend(times)
        ours = json.loads(run(*pin, work / "bench_bpe", "encode", work / "test.bin", work / "tokenizer.json", 4,
                              work / "ours.ids"))
        seconds.setdefault("cm3leon, first pass (empty table)", []).append(ours["seconds"][0])
        seconds.setdefault("cm3leon, later passes", []).extend(ours["seconds"][1:])

    size = (work / "test.bin").stat().st_size / 1e6
    reference = (work / "ours.ids").read_bytes()
    equal = {kind: (work / f"{kind}.ids").read_bytes() == reference for kind in ("tokenizers", "tiktoken")}
    fastest = min(min(times) for name, times in seconds.items() if not name.startswith("cm3leon"))
    print(f"{processor()}, one core. Python {platform.python_version()}, "
          + ", ".join(f"{k} {v}" for k, v in versions.items()))
    print(f"\nText: {size:.1f} MB, {ours['distinct_pieces']:,} distinct pieces, {ours['ids']:,} ids. "
          f"Both halves together: "
          + ", ".join(f"{source} {share / 1e6:.1f} MB" for source, share in shares.items()) + ".")
    print(f"Vocabulary: {trained['size']:,} tokens, learnt from the other {trained['bytes'] / 1e6:.1f} MB in "
          f"{trained['train_seconds']:.1f} s.")
    if args.train:
        other = json.loads(run(*pin, python, __file__, "--work", work, "--vocab", args.vocab, "--contender", "trainer"))
        print(f"Hugging Face's trainer: {other['seconds']:.1f} s, vocabulary and merges "
              + ("equal." if other["equal"] else "NOT EQUAL."))
    print()
    print("| | best MB/s | all MB/s | against the faster of the others |\n|---|---|---|---|")
    for name, times in seconds.items():
        rates = ", ".join(f"{size / t:.1f}" for t in sorted(times))
        print(f"| {name} | {size / min(times):.1f} | {rates} | {fastest / min(times):.2f} |")
    print("\nIds equal to ours: " + ", ".join(f"{kind} {'all' if same else 'NOT ALL'}" for kind, same in equal.items()))
    return 0 if all(equal.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
