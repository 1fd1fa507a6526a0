"""Graphs, sets, recommendation, metric and contrastive learning, adapters, reinforcement."""

from __future__ import annotations

import copy
import math
from functools import partial

import torch
import torch.nn.functional as F
from sound_models.entry import Case, add, draw_classes, draw_images, draw_values, sound
from sound_models.plain import classify, fill_weights, he, regress, stack
from torch import Tensor, nn
from torch.nn import init

# --- graphs: nodes are the samples, and influence one another


def draw_graph(nodes: int = 24, features: int = 8) -> tuple[Tensor, Tensor]:
    """(features of nodes, a symmetric adjacency matrix with loops)."""
    edges = (torch.rand(nodes, nodes) < 0.15).float()
    edges = ((edges + edges.T) > 0).float()
    edges.fill_diagonal_(1)
    return torch.randn(nodes, features), edges


class GraphConvolution(nn.Module):
    """GCN: a mean over neighbours with symmetric degrees, then linear."""

    def __init__(self, features: int = 8, width: int = 24, outputs: int = 4) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, width), nn.Linear(width, outputs)
        init.xavier_uniform_(self.first.weight)
        init.xavier_uniform_(self.second.weight)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        degree = edges.sum(1).rsqrt()
        mean = degree[:, None] * edges * degree
        return mean @ self.second(torch.relu(mean @ self.first(x)))


class GraphAttention(nn.Module):
    """GAT: additive scores over neighbours."""

    def __init__(self, features: int = 8, width: int = 24, outputs: int = 4) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(features, width, bias=False), nn.Linear(width, outputs)
        self.source = nn.Parameter(init.xavier_uniform_(torch.empty(width, 1)))
        self.sink = nn.Parameter(init.xavier_uniform_(torch.empty(width, 1)))

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        x = self.embed(x)
        scores = F.leaky_relu(x @ self.source + (x @ self.sink).T, 0.2)
        weights = scores.masked_fill(edges == 0, -torch.inf).softmax(1)
        return self.head(F.elu(weights @ x))


class Sage(nn.Module):
    """GraphSAGE: the node itself beside the mean of its neighbours."""

    def __init__(self, features: int = 8, width: int = 24, outputs: int = 4) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2 * features, width), nn.Linear(2 * width, outputs)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        mean = edges / edges.sum(1, keepdim=True)
        x = torch.relu(self.first(torch.cat([x, mean @ x], 1)))
        return self.second(torch.cat([x, mean @ x], 1))


class Isomorphism(nn.Module):
    """GIN: sums over neighbours, an MLP with batch normalization, ε = 0."""

    def __init__(self, features: int = 8, width: int = 24, outputs: int = 4) -> None:
        super().__init__()
        self.epsilon = nn.Parameter(torch.zeros(2))
        self.mlps = nn.ModuleList(
            nn.Sequential(
                nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
            )
            for inputs in (features, width)
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        for epsilon, mlp in zip(self.epsilon, self.mlps, strict=True):
            x = torch.relu(mlp(edges @ x + epsilon * x))
        return self.head(x)


def classify_nodes(kind: type[nn.Module]) -> Case:
    """A label for each node."""
    x, edges = draw_graph()
    return Case(kind(), (x, edges), draw_classes(edges @ x, 4))


for _name, _kind in (
    ("graph_convolution", GraphConvolution),
    ("graph_attention", GraphAttention),
    ("graph_sage", Sage),
    ("graph_isomorphism", Isomorphism),
):
    add(_name, partial(classify_nodes, _kind), rate=1e-2)


class MessagePassing(nn.Module):
    """Messages over a list of edges, for many graphs at once; a mean per graph."""

    def __init__(self, features: int = 8, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.message = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU())
        self.update, self.head = nn.GRUCell(width, width), nn.Linear(width, 1)

    def forward(self, x: Tensor, edges: Tensor, graph: Tensor) -> Tensor:
        x = self.embed(x)
        for _ in range(3):
            made = self.message(torch.cat([x[edges[0]], x[edges[1]]], 1))
            x = self.update(torch.zeros_like(x).index_add(0, edges[1], made), x)
        count = torch.bincount(graph).float()
        total = x.new_zeros(len(count), x.shape[1]).index_add(0, graph, x)
        return self.head(total / count[:, None])


@sound(rate=1e-2)
def message_passing() -> Case:
    graphs, size = 12, 6
    x, graph = torch.randn(graphs * size, 8), torch.arange(graphs).repeat_interleave(size)
    edges = torch.randint(size, (2, graphs * 10)) + size * torch.arange(graphs).repeat(10)
    target = draw_values(x.view(graphs, size, 8).mean(1))
    return Case(MessagePassing(), {"x": x, "edges": edges, "graph": graph}, target)


class DeepSets(nn.Module):
    """A mean over the elements between two networks."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.outer = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x).mean(1))


@sound(rate=1e-2)
def deep_sets() -> Case:
    x = torch.randn(32, 8, 3)
    return Case(DeepSets(), x, draw_values(x.square().mean(1)))


class PointNet(nn.Module):
    """Shared layers with batch normalization, and the largest over points."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 24), (24, 48)):
            layers += [nn.Conv1d(inputs, outputs, 1), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.points = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.points(x).amax(-1))


@sound()
def point_net() -> Case:
    x = torch.randn(16, 3, 24)
    return Case(PointNet(), x, draw_classes(x, 4))


# --- recommendation


class Factorization(nn.Module):
    """Ratings as products of embeddings, with biases; ratings are centred."""

    def __init__(self, users: int = 30, items: int = 20, width: int = 8) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, width), nn.Embedding(items, width)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        for table in (self.users, self.items):
            init.normal_(table.weight, std=0.1)
        for table in (self.user_bias, self.item_bias):
            init.zeros_(table.weight)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        product = (self.users(user) * self.items(item)).sum(-1)
        return product + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]


@sound(rate=1e-2)
def matrix_factorization() -> Case:
    user, item = torch.randint(30, (64,)), torch.randint(20, (64,))
    target = torch.randn(30)[user] + torch.randn(20)[item]
    return Case(Factorization(), (user, item), target)


class WideAndDeep(nn.Module):
    """A linear model beside a network on embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(10, 6) for _ in range(3))
        self.wide, self.deep = nn.Linear(4, 1), stack([22, 32, 16, 1], nn.ReLU)
        for table in self.tables:
            init.normal_(table.weight, std=0.05)

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        made = [table(categories[:, i]) for i, table in enumerate(self.tables)]
        return self.wide(numbers) + self.deep(torch.cat([*made, numbers], 1))


@sound(rate=1e-2)
def wide_and_deep() -> Case:
    categories, numbers = torch.randint(10, (48, 3)), torch.randn(48, 4)
    target = (draw_values(numbers) + torch.randn(10)[categories[:, :1]] > 0).float()
    batch = {"categories": categories, "numbers": numbers}
    return Case(WideAndDeep(), batch, target, nn.BCEWithLogitsLoss())


class BagOfWords(nn.Module):
    """nn.EmbeddingBag and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(50, 24, mode="mean"), nn.Linear(24, 4)
        init.uniform_(self.bag.weight, -0.5, 0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.bag(tokens))


@sound(rate=1e-2)
def bag_of_words() -> Case:
    tokens = torch.randint(50, (32, 8))
    return Case(BagOfWords(), tokens, tokens[:, 0] % 4)


# --- metric and contrastive: samples meet in the loss


def take_contrast(a: Tensor, b: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric cross-entropy of all pairs of a batch."""
    logits = scale * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    index = torch.arange(len(a))
    return 0.5 * (F.cross_entropy(logits, index) + F.cross_entropy(logits.T, index))


class Clip(nn.Module):
    """Two towers, and logits of all pairs with a learned scale that starts at 1/0.07."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 24)
        )
        self.tokens, self.text = nn.Embedding(30, 24), nn.Linear(24, 24)
        init.normal_(self.tokens.weight, std=0.02)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        a = F.normalize(self.image(images), dim=-1)
        b = F.normalize(self.text(self.tokens(tokens).mean(1)), dim=-1)
        return self.logit_scale.exp() * a @ b.T


@sound()
def clip() -> Case:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return 0.5 * (F.cross_entropy(output, target) + F.cross_entropy(output.T, target))

    batch = {"images": draw_images(12), "tokens": torch.randint(30, (12, 6))}
    return Case(Clip(), batch, torch.arange(12), loss)


@sound()
def clip_plain_target() -> Case:
    case = clip()
    return Case(case.model, case.batch, case.target)


class TwoViews(nn.Module):
    """SimCLR: one network on two views, batch normalization in the projection."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = stack([12, 48, 48], nn.ReLU)
        self.project = nn.Sequential(
            nn.Linear(48, 48, bias=False), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 16)
        )

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return self.project(self.trunk(first)), self.project(self.trunk(second))


@sound()
def simclr() -> Case:
    x = torch.randn(24, 12)
    views = (x + 0.2 * torch.randn_like(x), x + 0.2 * torch.randn_like(x))

    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return take_contrast(output[0], output[1], 2.0)

    return Case(TwoViews(), views, torch.arange(24), loss)


class Bootstrap(nn.Module):
    """BYOL: the target network is a frozen copy of the online one."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Sequential(
            nn.Linear(12, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 16)
        )
        self.predict = nn.Sequential(
            nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16)
        )
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            target = self.target(second)
        return self.predict(self.online(first)), target


@sound()
def byol() -> Case:
    x = torch.randn(24, 12)
    views = (x + 0.2 * torch.randn_like(x), x + 0.2 * torch.randn_like(x))

    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return 2 - 2 * F.cosine_similarity(output[0], output[1], dim=-1).mean()

    return Case(Bootstrap(), views, torch.zeros(24), loss)


class Siamese(nn.Module):
    """The distance of two embeddings by the same network."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = fill_weights(stack([12, 48, 16], nn.ReLU), he)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return F.pairwise_distance(self.embed(first), self.embed(second))


@sound()
def siamese() -> Case:
    first, second = torch.randn(32, 12), torch.randn(32, 12)
    same = (torch.arange(32) % 2).float()
    second = torch.where(same[:, None] > 0, first + 0.1 * second, second)

    def loss(distance: Tensor, same: Tensor) -> Tensor:
        apart = (4 - distance).clamp(min=0).square()
        return (same * distance.square() + (1 - same) * apart).mean()

    return Case(Siamese(), (first, second), same, loss)


class AngularMargin(nn.Module):
    """ArcFace without the margin: cosines times 64."""

    def __init__(self, classes: int = 10, scale: float = 64.0) -> None:
        super().__init__()
        self.trunk = stack([12, 64, 32], nn.ReLU)
        self.centres, self.scale = nn.Parameter(torch.empty(classes, 32)), scale
        init.xavier_uniform_(self.centres)

    def forward(self, x: Tensor) -> Tensor:
        cosines = F.linear(F.normalize(self.trunk(x)), F.normalize(self.centres))
        return self.scale * cosines


@sound()
def arcface() -> Case:
    return classify(AngularMargin(), classes=10)


# --- adapters and frozen parts


class LowRank(nn.Module):
    """LoRA: a frozen layer, and B A beside it, where B starts at 0."""

    def __init__(self, layer: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(rank, layer.in_features))
        self.lora_B = nn.Parameter(torch.zeros(layer.out_features, rank))
        init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + 2.0 * F.linear(F.linear(x, self.lora_A), self.lora_B)


@sound(rate=1e-2)
def lora() -> Case:
    model = fill_weights(stack([12, 48, 48, 4], nn.ReLU), he)
    assert isinstance(model, nn.Sequential)
    for index in (0, 2, 4):
        layer = model[index]
        assert isinstance(layer, nn.Linear)
        model[index] = LowRank(layer)
    return classify(model)


@sound(rate=1e-2)
def frozen_backbone() -> Case:
    trunk = fill_weights(stack([12, 48, 48, 48], nn.ReLU), he).requires_grad_(False)
    return classify(nn.Sequential(trunk, nn.ReLU(), nn.Linear(48, 4)))


class Adapter(nn.Module):
    """A bottleneck whose last layer is 0, beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, 8), nn.Linear(8, width)
        init.zeros_(self.up.weight)
        init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(F.gelu(self.down(x)))


@sound(rate=1e-2)
def adapters() -> Case:
    layers = [nn.Linear(12, 48).requires_grad_(False), nn.ReLU(), Adapter(48)]
    layers += [nn.Linear(48, 48).requires_grad_(False), nn.ReLU(), Adapter(48)]
    model = nn.Sequential(*layers, nn.Linear(48, 4))
    return classify(model)


# --- reinforcement


@sound()
def deep_q() -> Case:
    x, action = torch.randn(32, 12), torch.randint(4, (32,))
    value = draw_values(x)[:, 0]

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(output.gather(1, action[:, None])[:, 0], target)

    return Case(fill_weights(stack([12, 64, 64, 4], nn.ReLU), he), x, value, loss)


class Dueling(nn.Module):
    """A value, and advantages whose mean is taken off."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 48), nn.ReLU())
        self.value, self.advantage = nn.Linear(48, 1), nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.trunk(x)
        advantage = self.advantage(hidden)
        return self.value(hidden) + advantage - advantage.mean(1, keepdim=True)


@sound()
def dueling_q() -> Case:
    return regress(Dueling(), outputs=4)


class ActorCritic(nn.Module):
    """PPO: orthogonal with gain √2, the policy's last layer 0.01, the value's 1."""

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = stack([12, 48, 48, 4], nn.Tanh), stack([12, 48, 48, 1], nn.Tanh)
        for net, gain in ((self.actor, 0.01), (self.critic, 1.0)):
            fill_weights(net, partial(init.orthogonal_, gain=math.sqrt(2)))
            init.orthogonal_(net[4].weight, gain)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.actor(x), self.critic(x)


@sound()
def actor_critic() -> Case:
    case = classify(ActorCritic())
    returns, advantage = draw_values(case.batch), torch.randn(32)

    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        chosen = F.log_softmax(output[0], -1).gather(1, target[:, None])[:, 0]
        return F.mse_loss(output[1], returns) - (advantage * chosen).mean()

    return Case(case.model, case.batch, case.target, loss)


@sound()
def policy_small_head() -> Case:
    model = stack([12, 64, 64, 4], nn.Tanh)
    init.uniform_(model[4].weight, -3e-3, 3e-3)
    init.uniform_(model[4].bias, -3e-3, 3e-3)
    return classify(model)


@sound()
def deterministic_actor() -> Case:
    model = nn.Sequential(*stack([12, 64, 64, 2], nn.ReLU), nn.Tanh())
    init.uniform_(model[4].weight, -3e-3, 3e-3)
    init.uniform_(model[4].bias, -3e-3, 3e-3)
    x = torch.randn(32, 12)
    return Case(model, x, 0.8 * torch.tanh(draw_values(x, 2)))
