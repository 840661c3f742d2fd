"""Other ways to classify a text, each fitted to rows and kept in a folder, which `benchmarks.beside` times."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Answer = Callable[[str], str | None]  # None from a model that nothing was fitted to
HEAD, ENCODER = "head.joblib", "encoder"


def fit_tf_idf(texts: Sequence[str], labels: Sequence[str], folder: Path) -> None:
    """Words and pairs of them, pieces of words of two to five letters, and logistic regression."""
    import joblib
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2)
    model = make_pipeline(make_union(words, pieces), LogisticRegression(C=30.0, max_iter=200))
    joblib.dump(model.fit(texts, labels), folder / HEAD)


def load_tf_idf(folder: Path) -> Answer:
    import joblib

    model = joblib.load(folder / HEAD)
    return lambda text: str(model.predict([text])[0])


def fit_sentences(texts: Sequence[str], labels: Sequence[str], folder: Path) -> None:
    """The frozen base encoder by sentence-transformers, and logistic regression; how SetFit serves, too."""
    _head(_encoder(folder).encode(list(texts), batch_size=64), labels, folder)


def load_sentences(folder: Path) -> Answer:
    import joblib
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    encoder, head = SentenceTransformer(str(folder / ENCODER), device="cpu"), joblib.load(folder / HEAD)
    return lambda text: str(head.predict(encoder.encode([text], show_progress_bar=False))[0])


def fit_onnx(texts: Sequence[str], labels: Sequence[str], folder: Path) -> None:
    """The same encoder in fp32 on onnxruntime, and the same logistic regression."""
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    fit_sentences(texts, labels, folder)
    ORTModelForFeatureExtraction.from_pretrained(folder / ENCODER, export=True).save_pretrained(folder / "onnx")
    (folder / ENCODER / "tokenizer.json").replace(folder / "onnx" / "tokenizer.json")
    shutil.rmtree(folder / ENCODER)


def load_onnx(folder: Path) -> Answer:
    import joblib
    import onnxruntime as ort
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(folder / "onnx" / "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer, head = Tokenizer.from_file(str(folder / "onnx" / "tokenizer.json")), joblib.load(folder / HEAD)
    tokenizer.no_padding()
    names = {one.name for one in session.get_inputs()}

    def answer(text: str) -> str:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = session.run(None, {name: given[name] for name in names})[0].mean(1)
        return str(head.predict(mean / np.linalg.norm(mean))[0])

    return answer


def fit_pipeline(texts: Sequence[str], labels: Sequence[str], folder: Path) -> None:
    """transformers' own classifier on the base encoder. Not trained: its time does not depend on its weights."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from training.student.model import EMBEDDED_BASE, resolve_base

    base = resolve_base(EMBEDDED_BASE).location
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(set(labels)))
    model.save_pretrained(folder / ENCODER)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / ENCODER)


def load_pipeline(folder: Path) -> Answer:
    import torch
    from transformers import pipeline

    torch.set_num_threads(1)
    classify = pipeline("text-classification", model=str(folder / ENCODER), device="cpu")

    def answer(text: str) -> None:
        classify(text)

    return answer


def _encoder(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    from training.student.model import EMBEDDED_BASE, resolve_base

    encoder = SentenceTransformer(resolve_base(EMBEDDED_BASE).location, device="cpu")
    encoder.save(str(folder / ENCODER))
    return encoder


def _head(features: np.ndarray, labels: Sequence[str], folder: Path) -> None:
    import joblib
    from sklearn.linear_model import LogisticRegression

    joblib.dump(LogisticRegression(C=30.0, max_iter=300).fit(features, labels), folder / HEAD)


CONTENDERS = {
    "tf-idf + LR": (fit_tf_idf, load_tf_idf),
    "sentence-transformers + LR": (fit_sentences, load_sentences),
    "onnxruntime fp32 + LR": (fit_onnx, load_onnx),
    "transformers pipeline": (fit_pipeline, load_pipeline),
}
