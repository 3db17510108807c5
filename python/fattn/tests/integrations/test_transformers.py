# SPDX-License-Identifier: Apache-2.0
"""attn_implementation="fattn" in small models with random weights, against "eager"."""
import pytest

pytest.importorskip('transformers', reason='transformers is not installed')
import torch  # noqa: E402
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM  # noqa: E402

import fattn.integrations.transformers  # noqa: E402,F401

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=64)
MODELS = {
    'llama': lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2)),
    'mistral, a window of 5': lambda: MistralForCausalLM(MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=5)),
}


def outputs(model, implementation, **inputs):
    model.set_attn_implementation(implementation)
    return model(**inputs)


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('padded', (False, True))
def test_causal_models(name, padded):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    ids = torch.randint(64, (2, 12))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, :4] = 0
    inputs = dict(input_ids=ids, attention_mask=mask, labels=ids)
    got, want = outputs(model, 'fattn', **inputs), outputs(model, 'eager', **inputs)
    seen = mask.bool()
    torch.testing.assert_close(got.logits[seen], want.logits[seen], rtol=1e-4, atol=1e-5)


def test_gradients():
    torch.manual_seed(0)
    model = MODELS['llama']()
    ids = torch.randint(64, (2, 12))
    gradients = []
    for implementation in ('fattn', 'eager'):
        model.zero_grad()
        outputs(model, implementation, input_ids=ids, labels=ids).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('name', MODELS)
def test_generated_tokens(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    ids = torch.randint(64, (2, 7))
    tokens = []
    for implementation in ('fattn', 'eager'):
        model.set_attn_implementation(implementation)
        tokens.append(model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, pad_token_id=0))
    assert torch.equal(*tokens)


def test_an_encoder():
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SIZES)).eval()
    ids = torch.randint(64, (2, 9))
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0
    got, want = (outputs(model, i, input_ids=ids, attention_mask=mask).last_hidden_state for i in ('fattn', 'eager'))
    torch.testing.assert_close(got[mask.bool()], want[mask.bool()], rtol=1e-4, atol=1e-5)


def test_sinks_and_softcap():
    from fattn.integrations.sdpa import scaled_dot_product_attention
    from fattn.integrations.transformers import attention
    q, k, v = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    module, sink = torch.nn.Module(), torch.randn(4)
    out, weights = attention(module, q, k, v, None, s_aux=sink)
    want = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, sink=sink)
    assert weights is None and torch.equal(out, want.transpose(1, 2))
    with pytest.raises(fattn.Error, match='softcap'):
        attention(module, q, k, v, None, softcap=20.0)
