"""What a step learns from: the losses of each phase."""
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import claims
import tokens
from batches import kept_patches
from make_data import FALSE, TRUE
from model import EMBEDDING, PAD, WIDTH, Mini

FAR = -1e4  # a score that never wins
# One entry a kind of pair: own caption, false caption made on purpose; a text and a picture that the embeddings confuse
# with the right one; the picture beside it, often its twin; short queries with what they name, with what they are
# confused with (two), and with anything that they do not name.
ITM_WEIGHTS = dict(own=2.0, made=1.0, text=1.0, picture=1.0, beside=.8, named=2.0, other=1.0, another=1.0, any=.5)
QUERIES = ("named", "other", "another", "any")  # those of them that come from short queries, the last ones


class Net(nn.Module):
    """The model, and what only training needs: a vector for each concept, heads for what else is in a scene and for what
    is seen in a patch."""

    def __init__(self, data):
        super().__init__()
        self.mini = Mini(data.vocabulary)
        self.names = nn.Parameter(F.normalize(torch.randn(data.concepts, EMBEDDING), dim=-1))
        self.names_scale = nn.Parameter(torch.tensor(2.3))
        self.scene = nn.Linear(WIDTH, sum(data.parts))
        self.patch = nn.Linear(WIDTH, data.concepts + 1)

    def load(self, data, folder):
        """Starts from a model folder, or from the f32 parts that train.py --out writes."""
        files = sorted(Path(folder).glob("average-*.safetensors")) or [Path(folder) / "model.safetensors"]
        self.mini.load_state_dict({k: v.float() for f in files for k, v in load_file(f).items()})
        with torch.no_grad():  # no folder has vectors of the concepts: what the text tower says for their names
            ids = tokens.ids_of(data.tokenizer, ["a " + own[0] for own in data.words.own])
            self.names.copy_(self.mini.embed_text(self.mini.text(torch.from_numpy(ids).long())[1]))


def at(x, where):
    """Rows of x; its gradient is summed without sorting, as plain indexing would."""
    return x.index_select(0, where)


class Losses:
    """The losses of one step, and their running means for the report. `options`: those of train.py."""

    def __init__(self, net, data, options, rng):
        self.net, self.mini, self.data, self.options, self.rng = net, net.mini, data, options, rng
        self.frozen = not any(p.requires_grad for p in net.mini.bridgetower.vision_model.parameters())
        self.judge = claims.Judge(data.words, data.device)
        fits = torch.from_numpy(data.words.fits()[:, 1:]).to(data.device)
        self.right_concept = (fits > 0).float()
        self.background = torch.ones(data.concepts + 1, device=data.device)
        self.background[0] = .25
        self.sums = {}

    def log(self, **what):
        for k, v in what.items():
            total, n = self.sums.get(k, (0, 0))
            self.sums[k] = total + v.detach().float(), n + 1

    def figures(self):
        out = " ".join(f"{k} {float(total) / n:.3f}" for k, (total, n) in self.sums.items())
        self.sums.clear()
        return out

    def step(self, n, phase, whole):
        pictures, pick, cells = self.data.draw(n, self.rng, phase == "single")
        patches, which = kept_patches(pictures, 0 if whole else self.options.keep)
        patches = patches.to(self.net.names.dtype)
        facts = self.data.sent(self.data.facts[pick])
        states = self.mini.vision(patches, which)
        embedded = self.mini.embed_picture(states)
        if self.frozen:
            return self.words(pick, facts, states, embedded, True)
        seen = self.seen(embedded, states, facts, cells if which is None else cells.gather(1, which))
        if phase in ("single", "visual"):
            return seen
        return (.5 if phase == "towers" else .25) * seen + self.words(pick, facts, states, embedded, phase == "all")

    def seen(self, embedded, states, facts, cells):
        """Which concepts are in the picture; background, number and colour; what is where."""
        net, facts = self.net, facts.long()
        things = facts[:, claims.THINGS]
        want = torch.zeros(len(facts), self.data.concepts + 1, device=facts.device).scatter_(1, things, 1)[:, 1:]
        want = want / want.sum(1, keepdim=True)
        scores = self.by_name(embedded)
        named = F.cross_entropy(scores, want, label_smoothing=.02)
        count = (things > 0).sum(1)
        number = torch.where(count == 1, facts[:, claims.MANY] - 1, 3 + count)
        wanted = (facts[:, claims.WHERE], number, facts[:, claims.COLOURED][:, 0])
        parts = net.scene(states[-1][:, 0]).float().split(self.data.parts, 1)
        other = sum(F.cross_entropy(p, w) for p, w in zip(parts, wanted))
        patch = F.cross_entropy(net.patch(states[-1][:, 1:]).float().flatten(0, 1), cells.flatten(), weight=self.background)
        self.log(named=named, other=other, patch=patch,
                 first=(want.gather(1, scores.argmax(1, keepdim=True)) > 0).float().mean())
        return named + .15 * other + .5 * patch

    def by_name(self, embedded):
        return (embedded @ F.normalize(self.net.names, dim=-1).t() * self.net.names_scale.exp()).float()

    def texts(self, pick, n):
        """Ids and claims: own captions, false captions, short queries."""
        data, rng = self.data, self.rng
        own, made = rng.integers(0, TRUE, n), rng.integers(TRUE, TRUE + FALSE, n)
        facts = data.facts[pick].numpy()
        things, colours = facts[:, claims.THINGS], facts[:, claims.COLOURED]
        every, kinds = np.arange(data.concepts), self.options.kinds
        many = max(1, int(n * self.options.queries))
        some = many // 8  # for what need not be there
        q = np.concatenate([
            data.queries.draw(many - some, things[things > 0] - 1, colours[things > 0], rng, kinds),
            data.queries.draw(some, every, rng.integers(0, len(claims.COLOUR_NUMBER) + 1, len(every)), rng, kinds)])
        pack = lambda kept, short: data.sent(np.concatenate([kept[pick, own].numpy(), kept[pick, made].numpy(), short[q]]))
        ids, claimed = pack(data.ids, data.queries.ids).long(), pack(data.claims, data.queries.claims)
        if data.device.type == "cpu":
            ids = ids[:, :int((ids != PAD).sum(1).max())]
        return ids, claimed

    def truth(self, claimed, facts):
        """(true, false), bool [texts, pictures]"""
        n, i = len(facts), torch.arange(len(facts), device=facts.device)
        true, false = (x.clone() for x in self.judge(claimed, facts))
        true[i, i], false[i, i] = True, False
        false[n + i, i] = ~true[n + i, i]
        return true, false

    def words(self, pick, facts, v, ve, cross):
        mini, n = self.mini, len(facts)
        ids, claimed = self.texts(pick, n)
        true, false = self.truth(claimed, facts)
        t, last, mask = mini.text(ids)
        te = mini.embed_text(last)
        scale = mini.logit_scale.float().exp()
        s = te.float() @ ve.float().t() * scale
        i = torch.arange(n, device=s.device)
        against = s.masked_fill(~false, FAR)
        by_text, by_picture = (F.softplus(against.logsumexp(k, keepdim=True) - s) for k in (1, 0))
        mean = lambda x, k: (x * true).sum(k) / true.sum(k).clamp(min=1)
        found, asked = mean(by_text, 1), true.any(1).float()
        asked[n:2 * n] *= .3  # a false caption that is true of another picture, its twin mostly
        itc = ((found * asked).sum() / asked.sum() + .5 * by_picture[i, i].mean() + .5 * mean(by_picture, 0).mean()) / 2
        hard = F.softplus(s[n + i, i] - s[i, i]).mean()
        want = self.right_concept[claimed[2 * n:, 0].long()]
        short = F.cross_entropy(self.by_name(te[2 * n:]), want / want.sum(1, keepdim=True).clamp(min=1))
        self.log(itc=itc, hard=hard, short=short, right=(against[i].logsumexp(1) < s[i, i]).float().mean(),
                 query=(found[2 * n:] * asked[2 * n:]).sum() / asked[2 * n:].sum().clamp(min=1))
        loss = itc + .3 * hard + .1 * short
        if not cross:
            return loss
        loss = loss + self.matching(self.pairs(s.detach(), true, false, n), t, mask, v, s.detach(), (te, ve, scale))
        if self.rng.random() < .25:
            loss = loss + .3 * self.masked_words(ids[:n], v)
        return loss

    @torch.no_grad()
    def pairs(self, s, true, false, n):
        """kind -> (texts, pictures) of ITM; the first six start from the same pictures, the last four from the queries."""
        device, heat = s.device, 1.0 if self.rng.random() < .7 else 6.0
        gumbel = lambda x: -torch.log(-torch.log(torch.rand_like(x).clamp(1e-7, 1 - 1e-7)))
        drawn = lambda x, allowed, k: (x + gumbel(x)).masked_fill(~allowed, FAR).argmax(k)
        i = torch.randperm(n, device=device)[:max(2, int(n * self.options.matched))]
        q = torch.arange(2 * n, len(s), device=device)
        sq, fq, tq = s[q] / heat, false[q], true[q]
        return dict(
            own=(i, i), made=(n + i, i), text=(drawn(s[:, i] / heat, false[:, i], 0), i),
            picture=(i, drawn(s[i] / heat, false[i], 1)), beside=(i, i ^ 1),
            named=(q, drawn(torch.zeros_like(sq), tq, 1)), other=(q, drawn(sq, fq, 1)), another=(q, drawn(sq / 2, fq, 1)),
            any=(q, drawn(torch.zeros_like(sq), fq, 1)), true=true, false=false)

    def matching(self, pairs, t, mask, v, s, embedded):
        """ITM as a classifier; as a ranker of one text's pictures and one picture's texts, alone and with the cosine on
        top; and the embedding of the pair."""
        true, false = pairs.pop("true"), pairs.pop("false")
        texts, pictures = (torch.cat([p[k] for p in pairs.values()]) for k in (0, 1))
        sizes = [len(p[0]) for p in pairs.values()]
        captions = sum(sizes[:-len(QUERIES)])
        pooled = torch.cat([
            self.mini.cross([at(x[:, :k], a) for x in t], [at(x, b) for x in v], at(mask[..., :k], a))[0]
            for k, a, b in ((None, texts[:captions], pictures[:captions]),
                            (self.data.queries.longest, texts[captions:], pictures[captions:]))])
        logits = self.mini.itm_score(pooled).float()
        label, known = true[texts, pictures], (true | false)[texts, pictures]
        weight = known * torch.cat([torch.full((k,), ITM_WEIGHTS[name], device=s.device) for name, k in zip(pairs, sizes)])
        itm = (F.cross_entropy(logits, label.long(), reduction="none") * weight).sum() / weight.sum()
        d = logits[:, 1] - logits[:, 0]
        kinds = lambda x: dict(zip(pairs, x.split(sizes)))
        wrong, right = kinds(known & ~label), kinds(label)
        rank = 0
        for score in (d, d + s[texts, pictures]):
            x = kinds(score)
            for first, *others in (("own", "picture", "beside"), ("own", "made", "text"), QUERIES):
                rest = torch.stack([x[k].masked_fill(~wrong[k], FAR) for k in others])
                loss = F.softplus(torch.logsumexp(rest, 0) - x[first]) * right[first]
                rank = rank + loss.mean() / 2
        te, ve, scale = embedded
        own = pairs["own"][0]
        pe, n = self.mini.embed_pair(pooled[:len(own)]).float(), len(ve)
        pair = sum(F.cross_entropy(pe @ e.detach().float().t() * scale.detach(), own) for e in (te[:n], ve)) / 2
        says = kinds(d)
        share = lambda k, yes: ((says[k] > 0) * yes[k]).float().sum() / yes[k].sum().clamp(min=1)
        self.log(itm=itm, rank=rank, pair=pair, yes_own=share("own", right), yes_named=share("named", right),
                 **{"no_" + k: 1 - share(k, wrong) for k in ("made", "text", "picture", "beside", "other", "any")})
        return itm + .2 * rank + .05 * pair

    def masked_words(self, own, v):
        """MLM on a quarter of the captions, two words hidden in each."""
        few = torch.randperm(len(own), device=own.device)[:len(own) // 4]
        ids = own[few]
        words = (ids != PAD).sum(1, keepdim=True) - 2
        hidden = 1 + (torch.rand(len(ids), 2, device=ids.device) * words).long()
        t, _, mask = self.mini.text(ids.scatter(1, hidden, self.data.mask_id))
        _, states = self.mini.cross(t, [at(x, few) for x in v], mask)
        states = states.gather(1, hidden[..., None].expand(-1, -1, states.shape[-1]))
        loss = F.cross_entropy(self.mini.mlm_score(states).float().flatten(0, 1), ids.gather(1, hidden).flatten())
        self.log(mlm=loss)
        return loss
