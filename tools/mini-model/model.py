"""The model: transformers' BridgeTower classes hold the weights; a lean forward of the same graph trains them.

tests/golden/mini, made with transformers' own forward, is what says that the graph is the same.
"""
import functools
import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    BridgeTowerConfig,
    BridgeTowerForContrastiveLearning,
    BridgeTowerForImageAndTextRetrieval,
    BridgeTowerForMaskedLM,
)

WIDTH, LAYERS, CROSS_LAYERS, HEADS, INNER, EMBEDDING = 192, 4, 3, 3, 384, 192
SIDE, PATCH = 128, 16
GRID = SIDE // PATCH
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
PAD = 1
QUICK_GELU = 1.702
LOGIT_SCALE = 2.6592  # ln(1 / 0.07), as the public checkpoints start


def config(vocabulary):
    text = dict(
        vocab_size=vocabulary, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=INNER, hidden_act="gelu", max_position_embeddings=130, type_vocab_size=1, layer_norm_eps=1e-5,
        pad_token_id=PAD, bos_token_id=0, eos_token_id=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    vision = dict(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, patch_size=PATCH, image_size=SIDE, num_channels=3,
        layer_norm_eps=1e-5, stop_gradient=False, share_layernorm=True, remove_last_layer=False)
    c = BridgeTowerConfig(
        hidden_size=WIDTH, num_hidden_layers=CROSS_LAYERS, num_attention_heads=HEADS, hidden_act="gelu",
        layer_norm_eps=1e-5, share_cross_modal_transformer_layers=True, share_link_tower_layers=False,
        link_tower_type="add", tie_word_embeddings=False, init_layernorm_from_vision_encoder=False,
        text_config=text, vision_config=vision)
    c.contrastive_hidden_size, c.logit_scale_init_value = EMBEDDING, LOGIT_SCALE
    return c


def factors(matrix, rank):
    """a, b with a.T @ b the best approximation of the matrix at this rank."""
    u, s, vh = torch.linalg.svd(matrix)
    root = s[:rank].sqrt()
    return (u[:, :rank] * root).T, vh[:rank] * root[:, None]


class Mini(nn.Module):
    """One trunk and all heads, under the names that the three transformers classes give them."""

    def __init__(self, vocabulary):
        super().__init__()
        c = config(vocabulary)
        itc, itm = BridgeTowerForContrastiveLearning(c), BridgeTowerForImageAndTextRetrieval(c)
        self.bridgetower = itc.bridgetower
        self.itc_text_head, self.itc_image_head = itc.itc_text_head, itc.itc_image_head
        self.itc_cross_modal_head, self.logit_scale = itc.itc_cross_modal_head, itc.logit_scale
        self.itm_score = itm.itm_score
        self.mlm_score = BridgeTowerForMaskedLM(c).mlm_score

    # ---- start values

    def start(self, patches):
        """Start values; `patches` [n, 768] normalised, from the pictures."""
        for name, p in self.named_parameters():
            if p.ndim == 2 and "position" not in name:
                small = any(k in name for k in ("out_proj", "c_proj", "output.dense"))
                std = (.4 if small else .8) / math.sqrt(p.shape[1])
                nn.init.normal_(p, std=.5 if "word_embeddings" in name else .02 if "token_type" in name else std)
            elif p.ndim == 1 and "bias" in name:
                nn.init.zeros_(p)
        self.bridgetower.text_model.embeddings.position_embeddings.weight.data.normal_(std=.15)
        vision = self.bridgetower.vision_model.visual
        nn.init.normal_(vision.embeddings.class_embedding, std=.5)
        vision.embeddings.position_embedding.weight.data.copy_(self.waves())
        vision.embeddings.patch_embedding.weight.data.copy_(self.whitening(patches))
        for block in vision.transformer.resblocks:
            self.near_identity(block.attn)

    @staticmethod
    def waves():
        """Positions as sines and cosines of column and row."""
        out, q = torch.zeros(GRID * GRID + 1, WIDTH), WIDTH // 4
        frequency = 1 / (100 ** (torch.arange(q) / q))
        y, x = torch.meshgrid(torch.arange(GRID).float(), torch.arange(GRID).float(), indexing="ij")
        for k, at in enumerate((x, y)):
            at = at.reshape(-1, 1) * frequency
            out[1:, 2 * k * q:(2 * k + 1) * q] = at.sin()
            out[1:, (2 * k + 1) * q:(2 * k + 2) * q] = at.cos()
        return out * .5

    @staticmethod
    def whitening(patches):
        """Principal components of the patches, softly whitened and turned at random."""
        x = patches - patches.mean(0)
        _, s, vh = torch.linalg.svd(x, full_matrices=False)
        w = vh[:WIDTH] / (s[:WIDTH, None] / math.sqrt(len(x)) + 1.0)
        turn, _ = torch.linalg.qr(torch.randn(WIDTH, WIDTH))
        return (turn @ w).reshape(WIDTH, 3, PATCH, PATCH)

    @staticmethod
    def near_identity(attention):
        """Queries that look for what is like them (positions too), values that hand on a little of the opposite:
        the form that trained picture towers have, and from which small sets are learnt sooner."""
        w, h, eye = attention.in_proj_weight.data, WIDTH // HEADS, torch.eye(WIDTH)
        noise = lambda: torch.randn(WIDTH, WIDTH) / math.sqrt(WIDTH)
        for k in range(HEADS):
            q, key = factors(.7 * noise() + .7 * eye, h)
            w[k * h:(k + 1) * h], w[WIDTH + k * h:WIDTH + (k + 1) * h] = q, key
        out, value = factors(.4 * noise() - .4 * eye, WIDTH)
        w[2 * WIDTH:] = value
        attention.out_proj.weight.data.copy_(out.T)

    # ---- forward

    @staticmethod
    def attend(q, k, v, mask=None):
        """[batch, tokens, width] each; on CPUs plain products are quicker than the fused kernel for so few tokens."""
        split = lambda x: x.view(x.shape[0], x.shape[1], HEADS, -1).transpose(1, 2)
        q, k, v = split(q), split(k), split(v)
        if mask is None and q.is_cuda:
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        scores = (q * q.shape[-1] ** -.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask.to(scores.dtype)
        return (torch.softmax(scores, -1) @ v).transpose(1, 2).flatten(2)

    def vision(self, patches, kept=None):
        """patches [batch, n, 768] normalised, in the order channel, row, column; kept [batch, n]: which of the grid
        they are, None for all -> the bridge states, those of the last layer last."""
        tower = self.bridgetower.vision_model.visual
        e = tower.embeddings
        positions = e.position_embedding.weight
        x = patches @ e.patch_embedding.weight.reshape(WIDTH, -1).t()
        x = x + (F.embedding(kept, positions[1:]) if kept is not None else positions[1:])
        first = (e.class_embedding + positions[0]).expand(x.shape[0], 1, -1)
        x = tower.ln_pre(torch.cat([first, x], 1))
        states = []
        for block in tower.transformer.resblocks:
            q, k, v = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, -1)
            x = x + block.attn.out_proj(self.attend(q, k, v))
            up, down = block.mlp["c_fc"], block.mlp["c_proj"]
            inner = F.silu(F.linear(block.ln_2(x), up.weight * QUICK_GELU, up.bias * QUICK_GELU))
            x = x + F.linear(inner, down.weight / QUICK_GELU, down.bias)
            states.append(x)
        kind = self.bridgetower.token_type_embeddings.weight[1]
        return [self.bridgetower.cross_modal_image_transform(tower.ln_post(s)) + kind for s in states[-CROSS_LAYERS:]]

    def attention(self, layer, x, other, mask):
        own = getattr(layer, "self")
        a = self.attend(own.query(x), own.key(other), own.value(other), mask)
        return layer.output.LayerNorm(layer.output.dense(a) + x)

    @staticmethod
    def feed_forward(layer, x):
        return layer.output.LayerNorm(layer.output.dense(F.gelu(layer.intermediate.dense(x))) + x)

    def text(self, ids):
        """-> bridge states, last state of the tower, additive mask"""
        there = ids != PAD
        mask = torch.zeros(there.shape, device=ids.device).masked_fill(~there, -1e30)[:, None, None, :]
        e = self.bridgetower.text_model.embeddings
        positions = torch.cumsum(there, 1) * there + PAD
        x = e.word_embeddings(ids) + e.token_type_embeddings.weight[0] + e.position_embeddings(positions)
        x = e.LayerNorm(x)
        states = []
        for layer in self.bridgetower.text_model.encoder.layer:
            x = self.feed_forward(layer, self.attention(layer.attention, x, x, mask))
            states.append(x)
        kind = self.bridgetower.token_type_embeddings.weight[0]
        return [self.bridgetower.cross_modal_text_transform(s) + kind for s in states[-CROSS_LAYERS:]], x, mask

    def cross(self, texts, pictures, mask):
        """-> pooled states of both sides [batch, 2 width], text states"""
        b = self.bridgetower
        for k in range(CROSS_LAYERS):
            if k == 0:
                t, v = b.cross_modal_text_layernorm(texts[0]), b.cross_modal_image_layernorm(pictures[0])
            else:
                t = b.cross_modal_text_link_tower[k - 1].LayerNorm(texts[k] + t_out)
                v = b.cross_modal_image_link_tower[k - 1].LayerNorm(pictures[k] + v_out)
            text, image = b.cross_modal_text_layers[k], b.cross_modal_image_layers[k]
            t_out = self.attention(text.attention, t, t, mask)
            t_out = self.feed_forward(text, self.attention(text.crossattention, t_out, v, None))
            v_own = v if k < CROSS_LAYERS - 1 else v[:, :1]  # of the last layer only the first row is read
            v_out = self.attention(image.attention, v_own, v, None)
            v_out = self.feed_forward(image, self.attention(image.crossattention, v_out, t, mask))
        pooled = [torch.tanh(b.cross_modal_text_pooler.dense(t_out[:, 0])),
                  torch.tanh(b.cross_modal_image_pooler.dense(v_out[:, 0]))]
        return torch.cat(pooled, -1), t_out

    def embed_text(self, last):
        return F.normalize(self.itc_text_head(last[:, 0]), dim=-1)

    def embed_picture(self, states):
        return F.normalize(self.itc_image_head(states[-1][:, 0]), dim=-1)

    def embed_pair(self, pooled):
        return F.normalize(self.itc_cross_modal_head(pooled), dim=-1)


def to_patches(pictures):
    """uint8 [n, SIDE, SIDE, 3] -> uint8 [n, GRID * GRID, 768], each patch in the order channel, row, column"""
    n = len(pictures)
    return pictures.reshape(n, GRID, PATCH, GRID, PATCH, 3).permute(0, 1, 3, 5, 2, 4).reshape(n, GRID * GRID, -1)


@functools.cache
def statistics(device):
    return [(torch.tensor(x) * 255).repeat_interleave(PATCH * PATCH).to(device) for x in (MEAN, STD)]


def normalised(patches):
    mean, std = statistics(patches.device)
    return (patches.float() - mean) / std
