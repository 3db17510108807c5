# SPDX-License-Identifier: Apache-2.0
"""What torch itself saves, through the command line: attention of torch in float64, verified by `fattn verify`.

usage: torch_files.py FATTN; run by torch_files.sh, which looks for torch.
"""
import collections
import subprocess
import sys

import torch

CALL = ["--op", "fused_infer_attention_score", "--input-layout", "BNSD", "--num-heads", "4", "--scale", "0.25",
        "--softmax-lse-flag"]


def answer(q, k, v):
    q, k, v = q.double(), k.double(), v.double()
    scores = q @ k.transpose(-1, -2) * 0.25
    return torch.softmax(scores, -1) @ v, torch.logsumexp(scores, -1, keepdim=True)


def fattn(program, options, code, says=""):
    run = subprocess.run([program, *options], capture_output=True, text=True)
    assert run.returncode == code, (options, run.returncode, run.stdout, run.stderr)
    assert says in run.stdout + run.stderr, (says, run.stdout, run.stderr)


def inputs(q, k, v):
    return ["--query", q, "--key", k, "--value", v]


def check(program, dtype, shift):
    torch.manual_seed(shift)
    base = torch.randn(2, 40, 4, 24 + shift).to(dtype)
    q = base[:, :8].transpose(1, 2)[..., shift:]  # views of one storage, with an offset
    k = base[:, 8:].transpose(1, 2)[..., shift:]
    v = base.flip(1)[:, 8:].transpose(1, 2)[..., shift:]
    out, lse = answer(q, k, v)
    torch.save({"q": q, "deep": {"list": [k, (v,)]}, "scale": 0.25, "note": "text", "none": None,
                "dtype": dtype, "device": q.device, "size": q.shape, "set": {1}, "bytes": b"x", "long": 2**70}, "call.pt")
    torch.save(collections.OrderedDict(out=out.to(dtype), lse=torch.nn.Parameter(lse.float())), "result.pth")
    torch.save(out, "wide.pt")
    torch.save(out.to(dtype) + 0.25, "wrong.bin")
    given = ["verify", *CALL, *inputs("call.pt:q", "call.pt:deep.list.0", "call.pt:deep.list.1.0")]
    fattn(program, [*given, "--result", "result.pth:out", "--result-lse", "result.pth:lse"], 0, "level L2")
    fattn(program, [*given, "--result", "wide.pt"], 0)
    fattn(program, [*given, "--result", "wrong.bin"], 1, "FAILED")
    fattn(program, [*given, "--result", "result.pth:other"], 65, "it holds out, lse")


def main(program):
    for shift, dtype in enumerate([torch.float32, torch.float16, torch.bfloat16]):
        check(program, dtype, shift)
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    fattn(program, ["verify", *CALL, *inputs("module.pt", "call.pt:q", "call.pt:q"), "--result", "wide.pt"], 65,
          "only tensors are read")
    negative = torch.conj(torch.complex(torch.zeros(2), torch.ones(2))).imag
    assert negative.is_neg()
    torch.save(negative, "negative.pt")
    fattn(program, ["verify", *CALL, *inputs("negative.pt", "call.pt:q", "call.pt:q"), "--result", "wide.pt"], 65,
          "resolve_neg()")
    torch.save(torch.zeros(2), "old.pt", _use_new_zipfile_serialization=False)
    fattn(program, ["verify", *CALL, *inputs("old.pt", "call.pt:q", "call.pt:q"), "--result", "wide.pt"], 65,
          "load and save it again")
    print("files of torch", torch.__version__)


main(sys.argv[1])
