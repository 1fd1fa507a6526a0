"""F053 and F054: numbers that should start around zero."""

from __future__ import annotations

from fanin.diagnosis.codes.finding_kind import FindingKind

KINDS = (
    FindingKind(
        code="F053",
        title="weights that are not drawn around zero",
        severity="warning",
        meaning="""The weights have a mean. It adds the same multiple of the sum of all inputs to
            every unit, and that sum grows with the number of inputs, where the random part grows
            with its root only. All units then compute nearly the same, signals grow with the
            width, and training starts from one direction instead of many.""",
        measured="""The singular value of the mean, |mean|·√(inputs·outputs), against that of the
            random part, std·(√inputs + √outputs). A row that is one constant counts too. Weights
            that follow a pattern, such as averages, are not reported.""",
        causes=(
            "torch.rand or NumPy's random.random, which draw from 0 to 1.",
            "nn.init.uniform_ without bounds.",
            "A last layer of one unit that was filled with a constant.",
        ),
        remedy="""Draw around 0: torch.randn or nn.init.uniform_(weight, -a, a), with a rule for
            the fan-in. The patch draws the weights by `auto`.""",
        reference="""LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998, section 4.6,
            http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(16, 64),
                nn.ReLU(),
                nn.Linear(64, 64),
                nn.ReLU(),
                nn.Linear(64, 3),
            )
            nn.init.uniform_(model[2].weight)
            batch, target = torch.randn(64, 16), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F054",
        title="hidden biases that outweigh the input",
        severity="warning",
        meaning="""The activation of a hidden unit decides by its bias and what the weights make of
            the input. If the bias is much the larger, the unit is on, or off, for nearly every
            sample, and samples look alike to what follows. Gates, rates and last layers start from
            large biases on purpose; hidden layers do not.""",
        measured="""The rms of a layer's biases against the part of its output that differs from
            sample to sample, and biases of all hidden layers that are one constant of 0.5 or more.
            Not judged are layers before a sigmoid, a softplus or a product, and last ones.""",
        causes=(
            "A constant for all parameters, or for all biases.",
            "A bias that was meant for a gate, or for the last layer.",
            "Weights and biases drawn from one wide distribution.",
        ),
        remedy="Start biases of hidden layers at 0. The patch does so.",
        reference="""He, Zhang, Ren and Sun, Delving Deep into Rectifiers, 2015, section 2.2,
            https://arxiv.org/abs/1502.01852""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
            nn.init.constant_(model[0].bias, 10.0)
            batch, target = torch.randn(64, 16), torch.randint(0, 3, (64,))
            """,
    ),
)
