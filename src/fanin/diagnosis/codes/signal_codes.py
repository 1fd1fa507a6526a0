"""F001 to F005, F010 and F011: what becomes of the signal on its way forward."""

from __future__ import annotations

from fanin.diagnosis.codes.finding_kind import FindingKind

KINDS = (
    FindingKind(
        code="F001",
        title="numbers that are not finite",
        severity="error",
        meaning="""A parameter, an input, an activation, the loss or a gradient holds NaN or an
            infinity. One such number spreads: a NaN in one weight makes the whole output NaN, the
            gradient after it, and by the first optimizer step every parameter. Nothing can be
            learned from there on.""",
        measured="""Every tensor of the forward and the backward pass is checked, in the order of
            computation. The place that is named is the first one, since all later ones follow
            from it.""",
        causes=(
            "A parameter holds memory that was never filled.",
            "A logarithm, a division or a square root of zero, or exp of a large number.",
            "Half precision whose largest number is 65,504.",
            "A missing value in the data.",
            "A softmax over scores that a mask has all set to minus infinity.",
        ),
        remedy="""Fill the parameter anew, or mend the operation: add a small constant below the
            division or the root, clamp the argument of exp, remove missing values from the
            data.""",
        reference="""IEEE 754 arithmetic; the case of fully masked attention:
            https://github.com/pytorch/pytorch/issues/41508""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
            with torch.no_grad():
                model[2].bias[0] = float("nan")
            batch, target = torch.randn(16, 8), torch.randint(0, 3, (16,))
            """,
    ),
    FindingKind(
        code="F002",
        title="dead units",
        severity="error",
        meaning="""A unit is dead if it puts out zero for every sample and the slope of its
            activation is zero there too, as a ReLU's is below zero. No gradient reaches its
            weights, so it stays dead unless something before it changes. A few dead units cost a
            little width; a layer of them cuts the model in two, and nothing before it learns.""",
        measured="""For each activation, the share of units whose slope is zero at all samples and
            all places of the batch. Small batches show more dead units than there are, so a small
            share is a note only.""",
        causes=(
            "A negative bias that outweighs the input.",
            "Weights with a negative mean behind an activation whose output is positive.",
            "Inputs that are not centred, so that one direction outweighs all others.",
            "A layer that is too narrow: in a deep one a whole layer dies by chance.",
        ),
        remedy="""Start biases at zero and draw weights with mean zero and the gain of the
            activation (he_normal for ReLU). Standardize the inputs. If units still die, use a
            leaky ReLU, GELU or SiLU, whose slope is not zero.""",
        reference="""Lu et al., Dying ReLU and Initialization: Theory and Numerical Examples, 2019,
            https://arxiv.org/abs/1903.06733""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
            nn.init.constant_(model[0].bias, -10.0)
            batch, target = torch.randn(64, 8), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F003",
        title="saturated units",
        severity="warning",
        meaning="""A bounded activation such as tanh or a sigmoid is saturated where its curve is
            flat: a large change of its input hardly changes its output. Hardly any gradient comes
            back through it, and what it says is only the sign of its input. A stack of saturated
            layers learns very slowly or not at all.""",
        measured="""For each bounded activation, the share of numbers at which its slope is below
            2 % of its largest. Activations that are meant to decide, such as gates and the output
            of a classifier, are judged by other findings.""",
        causes=(
            "Weights that are too large for the number of inputs: N(0, 1) in a layer of 256.",
            "Inputs that were not scaled, such as pixels from 0 to 255.",
            "A large bias.",
        ),
        remedy="""Draw the weights with a standard deviation of about 1/√fan_in times the gain of
            the activation (xavier_normal, lecun_normal), and standardize the inputs.""",
        reference="""Glorot and Bengio, Understanding the difficulty of training deep feedforward
            neural networks, 2010, https://proceedings.mlr.press/v9/glorot10a.html""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(64, 64),
                nn.Tanh(),
                nn.Linear(64, 64),
                nn.Tanh(),
                nn.Linear(64, 3),
            )
            for layer in (model[0], model[2]):
                nn.init.normal_(layer.weight, std=2.0)
            batch, target = torch.randn(32, 64), torch.randint(0, 3, (32,))
            """,
    ),
    FindingKind(
        code="F004",
        title="vanishing signal",
        severity="error",
        meaning="""The signal becomes smaller from layer to layer, until what the last layers see
            is tiny beside their biases, or beside the smallest number of the precision. The output
            is then nearly the same for every input, and gradients shrink in the same way on their
            way back. The deeper the model, the worse: a factor of 0.7 per layer leaves 3 % after
            ten layers and 0.1 % after twenty.""",
        measured="""The root mean square of every layer's output, along the path of the signal. A
            decline is judged over the whole depth: one small layer before a normalization is
            none. A small constant between the last layer and the output counts too.""",
        causes=(
            "A fixed small standard deviation, such as 0.01, in a model without normalization.",
            "A gain that does not fit the activation: Xavier's before ReLU loses half per layer.",
            "torch's default for Linear and Conv2d, whose variance is a third of 1/fan_in.",
            "A fan that was computed on the wrong axis (F025).",
        ),
        remedy="""Initialize with the gain of the activation (he_normal for ReLU, `auto` for what
            follows each layer), or add normalization or shortcuts.""",
        reference="""He et al., Delving Deep into Rectifiers, 2015,
            https://arxiv.org/abs/1502.01852""",
        example="""
            import torch
            from torch import nn

            hidden = [part for _ in range(8) for part in (nn.Linear(64, 64), nn.ReLU())]
            model = nn.Sequential(*hidden, nn.Linear(64, 3))
            for layer in model[::2]:
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
            batch, target = torch.randn(32, 64), torch.randint(0, 3, (32,))
            """,
    ),
    FindingKind(
        code="F005",
        title="exploding signal",
        severity="error",
        meaning="""The signal becomes larger from layer to layer. The output, the loss and the
            gradients are then far too large, the first optimizer step throws the weights far away,
            and in half precision the numbers overflow. A factor of 2 per layer is a factor of a
            thousand after ten layers.""",
        measured="""The root mean square of every layer's output, along the path of the signal.
            Growth is judged over the whole depth; what a normalization takes back is none. The
            growth of a residual stream is F012.""",
        causes=(
            "A standard deviation that does not depend on the width, such as torch.randn's 1.",
            "A fan on the wrong axis, or from the sum of a kernel's sizes (F025).",
            "A gain for another activation, such as ReLU's √2 for linear layers in a row.",
        ),
        remedy="""Scale the weights by 1/√fan_in and the gain of the activation (he_normal,
            lecun_normal, `auto`), or add normalization.""",
        reference="""Hanin and Rolnick, How to Start Training: The Effect of Initialization and
            Architecture, 2018, https://arxiv.org/abs/1803.01719""",
        example="""
            import torch
            from torch import nn

            layers = [nn.Linear(64, 64) for _ in range(12)]
            for layer in layers:
                nn.init.normal_(layer.weight, std=0.5)
            hidden = [part for layer in layers for part in (layer, nn.ReLU())]
            model = nn.Sequential(*hidden, nn.Linear(64, 3))
            batch, target = torch.randn(32, 64), torch.randint(0, 3, (32,))
            """,
    ),
    FindingKind(
        code="F010",
        title="inputs no longer told apart",
        severity="error",
        meaning="""Different samples have nearly the same activations at this depth: what makes
            them different has been lost on the way, and only what they have in common, often the
            biases, has come through. Later layers cannot bring it back. Training first has to undo
            this, if it can, and a deep plain model often stays at a constant prediction.""",
        measured="""The distance between different samples of the batch, relative to the size of
            the signal, at every layer. A distance that is small in the input already is the data's
            and is not reported. If all samples have the same output, hidden weights of zeros are
            named.""",
        causes=(
            "A deep stack of sigmoids: their positive mean outweighs the differences.",
            "Biases that are large beside a signal that vanishes (F004).",
            "A plain network deeper than its depth scale (F008).",
            "A constant that is added to the signal, such as a large position embedding.",
        ),
        remedy="""Use an activation with mean zero (tanh, SiLU), initialize at the critical point
            of the activation (`fanin show tanh`), or add normalization or shortcuts.""",
        reference="""Schoenholz et al., Deep Information Propagation, 2017,
            https://arxiv.org/abs/1611.01232""",
        example="""
            import torch
            from torch import nn

            hidden = []
            for _ in range(3):
                hidden += [nn.Linear(32, 32), nn.Sigmoid()]
            model = nn.Sequential(*hidden, nn.Linear(32, 3))
            batch, target = torch.randn(64, 32), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F011",
        title="the output does not depend on the input",
        severity="error",
        meaning="""The output is the same whatever goes in. The model can learn one constant, such
            as the mean of the target, and nothing else. The loss falls a little at first and then
            stands still, which is easily taken for a learning rate that is too small.""",
        measured="""The samples of the batch are compared at the input, and behind every
            normalization, softmax, sum and product on the way to the output. A last layer that
            starts at zero on purpose learns, and is F024.""",
        causes=(
            "Inputs that are all alike: shares between 0 and 1 that were cast to whole numbers.",
            "A normalization over a single number: LayerNorm(1) puts out its bias.",
            "A layer of dead units that everything goes through (F002).",
            "A softmax over one unit (F041).",
            "A forward method that uses the wrong variable.",
        ),
        remedy="""Look at the first place where all samples are alike, and remove what makes them
            so.""",
        reference="""A LayerNorm over one number puts out zeros:
            https://github.com/pytorch/pytorch/issues/108956""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Embedding(50, 16), nn.Flatten(), nn.Linear(128, 3))
            batch = torch.rand(64, 8).long()  # meant: (50 * torch.rand(64, 8)).long()
            target = torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F055",
        title="softmax in a hidden layer",
        severity="warning",
        meaning="""A softmax stands between two layers. Its n outputs are positive, add up to 1, and
            are all near 1/n at the start: the next layer gets a signal some n times smaller, which
            is nearly the same for all samples, and gradients come back as much shorter. Training
            starts near a constant prediction and stays there for long. A softmax is for the classes
            of an output, and for the weights of attention, where it multiplies values.""",
        measured="""Every softmax whose input comes from a layer and which nothing but layers take.
            If a normalization or a sum follows, which bring the size back, nothing is said. The
            differences between samples before the softmax and behind the next layer are evidence.
            Two such layers or more are an error.""",
        causes=(
            "The output's activation was given to all layers.",
            "A classifier, softmax included, is used as the body of another model.",
        ),
        remedy="Use ReLU, GELU or tanh in hidden layers, and leave the softmax to the output.",
        reference="""Bridle, Probabilistic Interpretation of Feedforward Classification Network
            Outputs, 1990 (where the softmax is an output),
            https://doi.org/10.1007/978-3-642-76153-9_28""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(20, 32), nn.Softmax(-1), nn.Linear(32, 32), nn.Softmax(-1),
                nn.Linear(32, 3),
            )
            batch, target = torch.randn(64, 20), torch.randint(0, 3, (64,))
            """,
    ),
)
