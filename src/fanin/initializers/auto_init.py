"""auto_init: weights from the mean and the variance of what enters each layer, found by theory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from fanin.errors import FitError, SpecError, quote
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import (
    Assignment,
    FitSession,
    ModelInitializer,
    ModelParameter,
)
from fanin.initializers.orthogonal import Orthogonal
from fanin.initializers.signal_rules import (
    MeanVariance,
    computes_plainly,
    count_units,
    measure,
    multiply,
)
from fanin.initializers.signal_walk import SignalWalk, list_before, read_shapes
from fanin.initializers.variance_scaling import VarianceScaling
from fanin.structure import Graph, Node, trace_symbolically
from fanin.structure.forward_tracing import ForwardTracer

_NAMED = 5
"""Steps that an error names at most."""


@final
@dataclass(frozen=True)
class AutoInit(ModelInitializer):
    """Weights of variance 1 / (fan-in · (μ² + ν)), so that layers put out mean 0, variance 1.

    μ and ν are mean and variance of what enters the layer. They are followed through the model's
    graph from its input on, with numbers taken as normal and independent:

    | step | mean | variance |
    |---|---|---|
    | weighted layer | 0 | 1 |
    | activation f | E f(x) | Var f(x), x ~ N(μ, ν): closed form or quadrature |
    | normalization | E β | E γ² + Var β |
    | dropout p | μ | (μ² + ν)/(1 − p) − μ² |
    | average of k | μ | ν/k |
    | maximum of k | μ + √ν · E max | ν · Var max, of k standard-normal numbers |
    | maximum of k after f | E max f(x) | Var max f(x), x ~ N(μ, ν) |
    | sum | Σ μ | Σ ν |
    | product | Π μ | Π (μ² + ν) − Π μ² |
    | concatenation | average by size | average of μ² + ν, minus the square of the mean |

    With a batch the input's own moments are taken, and what has no formula (attention's average, a
    recurrent layer, a function of your own) is measured on it, after the layers before it were
    scaled. Without one, the model is traced, and such steps are an error that names them.

    Written from the paper's description; it gives no formula for attention. Fans are effective
    ones: a transposed convolution of stride s has fan-in kernel/s. Biases stay zero, embeddings
    keep their own rule, recurrent matrices are orthogonal.

    Args:
        distribution: normal, uniform or truncated, as in `variance_scaling`.
        mean, variance: of the input, where there is no batch.
    """

    name: ClassVar[str] = "auto_init"
    fits: ClassVar[bool] = True
    needs_batch: ClassVar[bool] = False
    distribution: Literal["normal", "truncated", "uniform"] = "normal"
    mean: float = 0.0
    variance: float = 1.0

    def check(self) -> None:
        """A finite mean, and a variance of at least 0 that leaves the input some size."""
        if not math.isfinite(self.mean) or not 0 <= self.variance < math.inf:
            raise SpecError(
                "auto_init(mean=…, variance=…) must be finite, the variance at least 0, not "
                f"{quote(self.mean)} and {quote(self.variance)}."
            )
        if not self.mean and not self.variance:
            raise SpecError("auto_init(mean=0, variance=0): an input of zeros has no size.")

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """Variance 1/fan-in, which is right for an input of second moment 1."""
        unit = VarianceScaling(scale=1.0, distribution=self.distribution)
        choices = {
            "weight": lambda site: Assignment(
                unit, "variance 1/fan_in, before it is scaled", site.effective
            ),
            "recurrent weight": lambda site: Assignment(
                Orthogonal(), "recurrent: orthogonal keeps the state's norm over time"
            ),
        }
        return {site.name: choices[site.role](site) for site in sites if site.role in choices}

    def fit(self, session: FitSession) -> Mapping[str, str]:
        """Walk along the graph, and scale each layer by what enters it."""
        return _Scaling(self, session).run()


class _Scaling:
    """One walk along one model."""

    def __init__(self, method: AutoInit, session: FitSession) -> None:
        self._method, self._session = method, session
        self._by_layer: dict[str, list[ModelParameter]] = {}
        self._by_name: dict[str, ModelParameter] = {}
        for site in session.sites:
            if site.role == "weight":
                self._by_layer.setdefault(site.layer, []).append(site)
                self._by_name[site.bare_name] = site
        self._seen: dict[int, float] = {}
        """The second moment that a weight was scaled for, by the parameter's id."""
        self._values: Mapping[int, Tensor] = {}
        self._fresh = False
        """Whether no weight has changed since the values were computed."""
        self._has_batch = session.has_batch
        self._graph = self._trace()
        self.done: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        """What was done with each weight."""
        layers = frozenset(node.index for node in self._graph.nodes if self._list_sites(node))
        walk = SignalWalk(
            self._graph,
            self._session.model,
            read_shapes(self._values),
            self._describe_input,
            self._scale_layer,
            self._measure,
            list_before(self._graph, layers),
        )
        walk.walk()
        self._require_known(walk)
        for site in self._session.sites:
            self.done.setdefault(
                site.name,
                "orthogonal as drawn"
                if site.role == "recurrent weight"
                else "not reached: variance 1/fan_in, as drawn",
            )
        return self.done

    def _trace(self) -> Graph:
        if not self._has_batch:
            return trace_symbolically(self._session.model)
        args, kwargs = self._session.inputs
        tracer = ForwardTracer(self._session.model, thorough=True)
        with torch.no_grad():
            graph = tracer.build(args, kwargs)
        self._values, self._fresh = dict(tracer.values), True
        return graph

    def _describe_input(self, node: Node) -> MeanVariance:
        value = self._values.get(node.index)
        found = measure(value) if value is not None and value.is_floating_point() else None
        if found is None:
            return MeanVariance(self._method.mean, self._method.variance)
        if not found.second:
            raise FitError(
                f"auto_init: the input {node.target} is 0 everywhere, so that no weight gives it a "
                "variance. Give a batch as in training."
            )
        return found

    def _measure(self, node: Node) -> MeanVariance | None:
        """On the batch, with the weights as they are now."""
        if not self._has_batch:
            return None
        if not self._fresh:
            before = [one.target for one in self._graph.nodes]
            if [one.target for one in self._trace().nodes] != before:
                raise FitError(
                    "auto_init: the forward pass takes other steps when it is repeated, so that "
                    f"{node.label} cannot be measured. Make the model's control flow the same for "
                    "the same batch."
                )
        value = self._values.get(node.index)
        return None if value is None or not value.is_floating_point() else measure(value)

    def _list_sites(self, node: Node) -> list[ModelParameter]:
        """The weights of a layer's node that this method has drawn."""
        if node.kind != "layer":
            return []
        if node.used_by is not None:
            return [self._by_name[name] for name in node.parameters if name in self._by_name]
        return self._by_layer.get(node.target, [])

    def _scale_layer(
        self, node: Node, sources: list[MeanVariance | None]
    ) -> MeanVariance | str | None:
        sites = self._list_sites(node)
        if not sites:
            return None
        module = node.module
        if isinstance(module, nn.MultiheadAttention):
            return self._scale_projections(node, sites, sources)
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            first = [site for site in sites if site.local.startswith("weight_ih")]
            for site in first:
                if site.local.removesuffix("_reverse") in ("weight_ih", "weight_ih_l0"):
                    self._scale(site, sources[0])
            return f"{node.label}: its gates have no formula"
        entering = sources[0] if sources else None
        if isinstance(module, nn.Bilinear) and len(sources) == 2 and None not in sources:
            entering = multiply(*sources)  # type: ignore[arg-type]
        if node.inputs and isinstance(
            self._graph.nodes[node.inputs[0]].module, nn.MultiheadAttention
        ):
            return self._scale_by_output(node, sites[0])
        for site in sites:
            self._scale(site, entering)
        if node.used_by is None and module is not None and not computes_plainly(module):
            return f"{node.label}: computes more than one linear map"
        return self._describe_output(sites[0], entering)

    def _describe_output(self, site: ModelParameter, entering: MeanVariance | None) -> MeanVariance:
        """Variance 1 at the first use of a weight; at further ones as its input is larger."""
        assert entering is not None
        wanted = self._seen[id(self._session.read(site))]
        return MeanVariance(0.0, entering.second / wanted, count_units(site.layout))

    def _scale_projections(
        self, node: Node, sites: Sequence[ModelParameter], sources: list[MeanVariance | None]
    ) -> MeanVariance | str:
        """q, k and v, each by what enters it; what attention averages them to is not known."""
        q, k, v = {1: (0, 0, 0), 2: (0, 1, 1)}.get(len(sources), (0, 1, 2))
        entering = {"q": sources[q], "k": sources[k], "v": sources[v]}
        for site in sites:
            if site.layout.parts:
                weight = self._session.read(site)
                texts = [
                    f"{part.name}: {self._multiply(site, part.of(weight), entering[part.name])}"
                    for part in site.layout.parts
                ]
                self.done[site.name] = "; ".join(texts)
            else:
                self._scale(site, entering.get(site.local[:1], sources[0]))
        if self._has_batch:  # the output projection is measured by what it puts out
            return MeanVariance(0.0, 1.0)
        return f"{node.label}: what attention averages depends on the data"

    def _scale_by_output(self, node: Node, site: ModelParameter) -> MeanVariance | str:
        """The output projection of an attention module, whose input nothing shows."""
        found = self._measure(node)
        if found is None or not found.second:
            return "MultiheadAttention: what attention averages depends on the data"
        self._scale(site, found)
        return MeanVariance(0.0, 1.0, count_units(site.layout))

    def _scale(self, site: ModelParameter, entering: MeanVariance | None) -> None:
        """Divide a weight by the root of the second moment that enters, once."""
        weight = self._session.read(site)
        if id(weight) in self._seen:
            self.done.setdefault(site.name, "scaled at the first use of the same weight")
            return
        self.done[site.name] = self._multiply(site, weight, entering)
        assert entering is not None
        self._seen[id(weight)] = entering.second

    def _multiply(self, site: ModelParameter, weight: Tensor, entering: MeanVariance | None) -> str:
        if entering is None or not 0 < entering.second < math.inf:
            what = "nothing" if entering is None else f"a second moment of {entering.second:.4g}"
            raise FitError(
                f"auto_init: {site.name} is dead: {what} enters it, so that no factor gives its "
                "output variance 1. Look at what lies before it (a scale of 0, a constant input), "
                f"or leave it out: exclude={site.name!r}."
            )
        factor = 1 / math.sqrt(entering.second)
        with torch.no_grad():
            weight.mul_(factor)
        self._fresh = False
        return (
            f"scaled by {factor:.4g}: its input has mean {entering.mean:.4g}, variance "
            f"{entering.variance:.4g}"
        )

    def _require_known(self, walk: SignalWalk) -> None:
        if not walk.unknown:
            return
        reasons = list(dict.fromkeys(walk.unknown.values()))
        shown = "; ".join(reasons[:_NAMED])
        more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
        advice = (
            "They cannot be measured on the batch either. Use lsuv, which measures every layer"
            if self._has_batch
            else "Give batch=, on which they are measured"
        )
        raise FitError(
            f"auto_init has no formula for some steps that weighted layers follow: {shown}{more}. "
            f"{advice}."
        )


REGISTRY.add(
    InitializerEntry(
        component=AutoInit,
        level="model",
        needs=("followers",),
        summary=(
            "The variance of each weight from mean and variance of what enters its layer, which "
            "are followed through the model by theory."
        ),
        formula="w ~ N(0, 1/(fan_in·(μ² + ν))), μ and ν of the layer's input by closed forms",
        paper=Paper(
            authors="Bingham, Miikkulainen",
            title="AutoInit: analytic signal-preserving weight initialization for neural networks",
            year=2023,
            link="https://arxiv.org/abs/2109.08958",
        ),
        suited=(
            "Networks of mixed parts, above all without normalization: several activations, "
            "pooling, dropout, concatenations and sums in one model. Searches over architectures."
        ),
        avoid=(
            "Very deep residual networks without normalization: the sum is scaled where a layer "
            "reads it, but branches are not made smaller. Convolutions on small padded maps, "
            "whose zeros the formulas do not count."
        ),
        cost="A trace of the model, or one forward pass and one more for each unknown step.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' program for TensorFlow draws "
            "samples for pooling and recurrent layers; here pooling has a formula, and recurrent "
            "layers are measured on a batch."
        ),
        examples=("auto_init", "auto_init(distribution=uniform, mean=0.5, variance=0.1)"),
    )
)
