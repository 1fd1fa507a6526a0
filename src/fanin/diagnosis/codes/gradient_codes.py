"""F006 to F009 and F021 to F024: what comes back of the gradient, and what it can reach."""

from __future__ import annotations

from fanin.diagnosis.codes.finding_kind import FindingKind

KINDS = (
    FindingKind(
        code="F006",
        title="vanishing gradient",
        severity="error",
        meaning="""The gradient becomes smaller from layer to layer on its way back, so the first
            layers receive far less than the last ones. With one learning rate for all, the last
            layers learn and the first ones stay as they were drawn: the model trains as if it were
            shallow. Adam hides the size of a gradient, but not its loss in rounding noise.""",
        measured="""The root mean square of the gradient at every layer's output, and that of every
            weight over the size of the weight. The decline from the last layer to the first is
            judged, not the size itself, which depends on the loss.""",
        causes=(
            "Sigmoid or saturated activations, whose slope is at most 1/4 or nearly zero.",
            "Weights that are too small, with the same effect on the signal (F004).",
            "Great depth without shortcuts or normalization.",
        ),
        remedy="""Use the gain of the activation (`auto`), an activation whose slope at zero is 1,
            or shortcuts. Of a sigmoid network, use tanh.""",
        reference="""Glorot and Bengio, Understanding the difficulty of training deep feedforward
            neural networks, 2010, https://proceedings.mlr.press/v9/glorot10a.html""",
        example="""
            import torch
            from torch import nn

            layers = [nn.Linear(64, 64) for _ in range(10)]
            for layer in layers:
                nn.init.xavier_normal_(layer.weight)
            hidden = [part for layer in layers for part in (layer, nn.Sigmoid())]
            model = nn.Sequential(*hidden, nn.Linear(64, 3))
            batch, target = torch.randn(64, 64), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F007",
        title="exploding gradient",
        severity="error",
        meaning="""The gradient becomes larger from layer to layer on its way back. The first
            layers then take steps that destroy what they compute, or gradient clipping cuts the
            steps of all others down to nothing. The signal on the way forward may look perfect:
            batch normalization keeps it at unit size while the gradient grows by 1.2 per layer.""",
        measured="""The length of the gradient at every layer's output, along a path without
            normalization. On other paths the sensitivity: that length times the size of what
            samples differ by, which no change of scale touches. The growth from the last layer to
            the first is judged, not the size itself, which depends on the loss.""",
        causes=(
            "Weights that are too large, in most cases with an exploding signal (F005).",
            "A deep plain network with batch normalization and without shortcuts.",
            "tanh with large weights: the chaotic phase (F009).",
            "A recurrent weight whose largest singular value is above 1, over many steps.",
        ),
        remedy="""Initialize by the gain of the activation. In a deep network with batch
            normalization add shortcuts. In a recurrent one start the recurrent weight
            orthogonal.""",
        reference="""Yang et al., A Mean Field Theory of Batch Normalization, 2019,
            https://arxiv.org/abs/1902.08129""",
        example="""
            import torch
            from torch import nn

            hidden = []
            for _ in range(40):
                hidden += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
            model = nn.Sequential(*hidden, nn.Linear(64, 3))
            batch, target = torch.randn(64, 64), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F008",
        title="too ordered for this depth",
        severity="warning",
        meaning="""In a wide plain network the similarity of two inputs follows a recursion from
            layer to layer. In the ordered phase it runs to 1: all inputs become alike, and
            gradients vanish, within a number of layers that is called the depth scale. A network
            that is several times deeper than its depth scale cannot be trained by gradients that
            pass through it all.""",
        measured="""The mean squared slope χ₁ = σ_w²·E[φ′(√q·z)²] at the measured variance q of
            each layer, and the depth scale −1/ln χ₁. Only stretches without shortcuts and
            normalization are judged, and only where the width allows the theory. Two hidden layers
            or more whose activation is nearly constant at unit variance, as sigmoid is, are
            reported whatever lies between.""",
        causes=(
            "Sigmoid in hidden layers: it is for gates and probabilities.",
            "A standard deviation below the critical one of a bounded activation.",
            "Biases that are large beside the weights.",
        ),
        remedy="""Initialize at the critical point of the activation, which `fanin show tanh` and
            its like print, or make the network less deep.""",
        reference="""Schoenholz et al., Deep Information Propagation, 2017,
            https://arxiv.org/abs/1611.01232""",
        example="""
            import torch
            from torch import nn

            layers = [nn.Linear(256, 256) for _ in range(24)]
            for layer in layers:
                nn.init.normal_(layer.weight, std=1 / 256**0.5)
                nn.init.normal_(layer.bias, std=0.5)
            hidden = [part for layer in layers for part in (layer, nn.Tanh())]
            model = nn.Sequential(*hidden, nn.Linear(256, 3))
            batch, target = torch.randn(64, 256), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F009",
        title="chaotic for this depth",
        severity="warning",
        meaning="""In the chaotic phase of a wide plain network two inputs that are nearly equal
            become unlike each other within a few layers, and gradients grow from layer to layer on
            their way back. The network then fits noise: a small change of the input changes the
            output completely, and so does a small step.""",
        measured="""The mean squared slope χ₁ = σ_w²·E[φ′(√q·z)²] at the measured variance q of
            each layer, compared with 1 over the depth of the stretch. ReLU and its like have no
            chaotic phase.""",
        causes=(
            "A standard deviation above the critical one: more than 1/√fan_in for tanh.",
            "A gain for another activation.",
        ),
        remedy="""Initialize at the critical point of the activation, which `fanin show tanh` and
            its like print.""",
        reference="""Poole et al., Exponential expressivity in deep neural networks through
            transient chaos, 2016, https://arxiv.org/abs/1606.05340""",
        example="""
            import torch
            from torch import nn

            hidden = []
            for _ in range(24):
                hidden += [nn.Linear(256, 256), nn.Tanh()]
            model = nn.Sequential(*hidden, nn.Linear(256, 3))
            for layer in model[::2]:
                nn.init.normal_(layer.weight, std=2.5 / 256**0.5)
            batch, target = torch.randn(64, 256), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F021",
        title="trainable parameter without gradient",
        severity="error",
        meaning="""The parameter asks for a gradient, and none came back: the forward method does
            not use it, or something on the way to the loss cuts the graph. It stays as it was
            drawn for the whole training, although the optimizer lists it.""",
        measured="""After the backward pass, a parameter with requires_grad whose gradient is
            missing. A frozen layer that the pass did not reach is F050. A gradient that is there
            and zero is judged by F002, F023 and F024.""",
        causes=(
            "A layer that is built and not called.",
            "detach(), .data, .item() or torch.no_grad() in the forward method.",
            "argmax, round or another operation without a slope.",
            "A tensor that was made anew from numbers: torch.tensor(output).",
            "Weights of a part that is frozen on purpose, but still require a gradient.",
        ),
        remedy="""Call the layer, or remove what cuts the graph. If the part is frozen on purpose,
            say so with requires_grad_(False), so that the optimizer leaves it out.""",
        reference="""PyTorch, Autograd mechanics,
            https://docs.pytorch.org/docs/stable/notes/autograd.html""",
        example="""
            import torch
            from torch import nn


            class Cut(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.body = nn.Linear(8, 32)
                    self.head = nn.Linear(32, 3)

                def forward(self, x):
                    return self.head(torch.relu(self.body(x)).detach())


            model = Cut()
            batch, target = torch.randn(16, 8), torch.randint(0, 3, (16,))
            """,
    ),
    FindingKind(
        code="F022",
        title="frozen parameter among trainable siblings",
        severity="warning",
        meaning="""All parameters of the same role are trained except this one. A part that is
            frozen on purpose is usually frozen as a whole: all of an encoder, all weights beside
            an adapter. One frozen weight among trainable ones is more often left over from an
            experiment, or from a name that did not match. So is one that still holds the random
            numbers of its start.""",
        measured="""requires_grad of the parameters that have the same role in layers of the same
            kind; a pattern, such as the first blocks of a model, is not reported. And frozen
            weights that look freshly drawn, if they are the smaller part of a model and trained
            layers lie before or behind them.""",
        causes=(
            "A loop over names that freezes by a substring.",
            "A layer that was copied from a frozen model.",
        ),
        remedy="Set requires_grad_(True), or freeze its siblings too. The patch does the first.",
        reference="""PyTorch, Locally disabling gradient computation,
            https://docs.pytorch.org/docs/stable/notes/autograd.html""",
        example="""
            import torch
            from torch import nn

            hidden = [part for _ in range(6) for part in (nn.Linear(32, 32), nn.ReLU())]
            model = nn.Sequential(*hidden, nn.Linear(32, 3))
            model[4].weight.requires_grad_(False)
            batch, target = torch.randn(16, 32), torch.randint(0, 3, (16,))
            """,
    ),
    FindingKind(
        code="F023",
        title="a parameter group can never learn",
        severity="error",
        meaning="""The gradient of these parameters is exactly zero, and still is after the rest of
            the model was trained for some steps. Two factors of a product that both start at zero
            are the usual case: the gradient of each is proportional to the other one.""",
        measured="""Gradients that are exactly zero are looked at again on a copy, after 2 and
            after 20 optimizer steps. What has begun to move by then starts at zero by design
            (F024).""",
        causes=(
            "Both factors of a product start at zero: LoRA's A and B, a gate and its value.",
            "Two layers in a row start at zero, with ReLU or tanh between them.",
            "Everything before or behind the parameters is dead (F002).",
        ),
        remedy="""Let one of the factors start at zero and draw the other one at random.""",
        reference="""Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, section
            4.1, https://arxiv.org/abs/2106.09685""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(8, 32, bias=False), nn.ReLU(), nn.Linear(32, 3, bias=False)
            )
            nn.init.zeros_(model[0].weight)
            nn.init.zeros_(model[2].weight)
            batch, target = torch.randn(64, 8), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F024",
        title="exact zero by design",
        severity="note",
        meaning="""The parameter starts at exactly zero, and it learns. Zero starts are a known
            design: a last layer, the last layer of a residual branch, LayerScale's and ReZero's
            factors, LoRA's B, the modulation of a diffusion transformer. The part starts as the
            identity or as silence and comes in step by step. Nothing has to be done.""",
        measured="""Parameters that are exactly zero, or whose gradient is, are looked at again on
            a copy after 2 and after 20 optimizer steps. These have moved.""",
        causes=("The authors of the model, or of the layer, have set it so.",),
        remedy="""None. If it was not meant so, draw the parameter at random.""",
        reference="""Zhang et al., Fixup Initialization, 2019, https://arxiv.org/abs/1901.09321;
            Bachlechner et al., ReZero is All You Need, 2020, https://arxiv.org/abs/2003.04887""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
            nn.init.zeros_(model[2].weight)
            batch, target = torch.randn(64, 8), torch.randint(0, 3, (64,))
            """,
    ),
)
