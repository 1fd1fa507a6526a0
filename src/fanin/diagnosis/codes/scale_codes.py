"""F012 and F031 to F036: parts whose size does not fit what they are for."""

from __future__ import annotations

from fanin.diagnosis.codes.finding_kind import FindingKind

KINDS = (
    FindingKind(
        code="F012",
        title="the residual stream grows",
        severity="warning",
        meaning="""The signal that runs through the shortcuts becomes larger with every branch that
            is added to it. Early branches are drowned by later ones, what a layer adds depends on
            where it stands, and without normalization the output explodes: a branch as large as
            the stream doubles its variance, so 16 of them make it 65,000 times as large.""",
        measured="""The root mean square of the stream behind every sum, and of what the branch
            adds to it. Growth like √n over n branches, as a model with normalized branches has, is
            usual; more is reported.""",
        causes=(
            "Branches without normalization whose last layer is not scaled down.",
            "A shortcut that is multiplied by more than 1, or that is added twice.",
        ),
        remedy="""Start the last layer of each branch at zero or scale it by 1/√n (Fixup, ReZero),
            or normalize at the start of each branch.""",
        reference="""Zhang et al., Fixup Initialization: Residual Learning Without Normalization,
            2019, https://arxiv.org/abs/1901.09321""",
        example="""
            import torch
            from torch import nn


            class Block(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.up, self.down = nn.Linear(64, 64), nn.Linear(64, 64)
                    for layer in (self.up, self.down):
                        nn.init.kaiming_normal_(layer.weight)

                def forward(self, x):
                    return x + self.down(torch.relu(self.up(x)))


            model = nn.Sequential(*[Block() for _ in range(16)], nn.Linear(64, 3))
            batch, target = torch.randn(64, 64), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F031",
        title="last layer too large",
        severity="warning",
        meaning="""The output of an untrained model should say that it knows nothing: class scores
            near each other, a prediction near the mean. A last layer that is too large makes
            confident guesses at random. The loss starts far above ln(classes), and the first
            epochs only unlearn them.""",
        measured="""The standard deviation of the output, and how much of the initial loss is above
            that of an uninformed prediction.""",
        causes=(
            "N(0, 1) weights in the last layer.",
            "He's gain in the last layer of a wide model.",
            "A head that is tied to an embedding drawn with N(0, 1) (F033).",
        ),
        remedy="""Draw the last layer smaller: a standard deviation of 1/√fan_in or less, or
            zero.""",
        reference="""Karpathy, A Recipe for Training Neural Networks, 2019, "verify loss @ init",
            https://karpathy.github.io/2019/04/25/recipe/""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 10))
            nn.init.kaiming_normal_(model[0].weight)
            nn.init.normal_(model[2].weight, std=1.0)
            batch, target = torch.randn(64, 32), torch.randint(0, 10, (64,))
            """,
    ),
    FindingKind(
        code="F032",
        title="embedding scale",
        severity="note",
        meaning="""The rows of an embedding are much larger or smaller than what they are added to
            or what the rest of the model expects. nn.Embedding draws N(0, 1), while transformers
            use 0.02. A large table drowns position embeddings and slows learning, since steps are
            small beside it. Behind a normalization it matters less.""",
        measured="""The root mean square of a row, beside that of what it is added to, and of the
            branches that are added later. Learned positions that drown what they are added to
            count too.""",
        causes=(
            "torch's default for nn.Embedding.",
            "A model that multiplies embeddings by √width, and a rule for one that does not.",
        ),
        remedy="""Draw the table with a standard deviation of 0.02, or 1/√width.""",
        reference="""The default of nn.Embedding is too large, pytorch/examples,
            https://github.com/pytorch/examples/issues/595""",
        example="""
            import torch
            from torch import nn


            class Reader(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.tokens, self.places = nn.Embedding(500, 64), nn.Embedding(16, 64)
                    nn.init.normal_(self.places.weight, std=0.02)
                    self.body, self.head = nn.Linear(64, 64), nn.Linear(64, 500)

                def forward(self, ids):
                    x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
                    return self.head(torch.relu(self.body(x)))


            model = Reader()
            batch, target = torch.randint(0, 500, (8, 16)), torch.randint(0, 500, (8, 16))
            """,
    ),
    FindingKind(
        code="F033",
        title="tied-weight conflict",
        severity="error",
        meaning="""The embedding and the output layer are one parameter, and what is right for the
            one is wrong for the other. An embedding drawn with N(0, 1) makes class scores with a
            standard deviation of √width: a width of 512 starts with a loss far above 100 instead
            of ln(vocabulary).""",
        measured="""For parameters that several layers share, the size that each use asks for, and
            the initial loss.""",
        causes=(
            "nn.Embedding's default, tied to a head.",
            "Two initializations of the same tensor, of which the second one holds.",
        ),
        remedy="""Draw the shared table with 0.02 or 1/√width, and multiply the embedding's output
            by √width where the model needs unit size.""",
        reference="""A tied table starts T5 with a loss of 110 instead of 11, transformers,
            https://github.com/huggingface/transformers/pull/26441""",
        example="""
            import torch
            from torch import nn


            class Language(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.tokens, self.body = nn.Embedding(500, 256), nn.Linear(256, 256)
                    self.norm = nn.LayerNorm(256)
                    self.head = nn.Linear(256, 500, bias=False)
                    self.head.weight = self.tokens.weight

                def forward(self, ids):
                    x = self.tokens(ids)
                    return self.head(self.norm(x + self.body(x)))


            model = Language()
            batch, target = torch.randint(0, 500, (8, 16)), torch.randint(0, 500, (8, 16))
            """,
    ),
    FindingKind(
        code="F034",
        title="shut gates",
        severity="warning",
        meaning="""A gate multiplies a signal by a number between 0 and 1. If it starts near 0,
            hardly anything passes, forward or back, and the part behind it does not learn until
            the gate opens. A forget gate of an LSTM that starts at 1/2 forgets half of the state
            per step; a bias of 1 makes long memories easier to learn, which is a note only.""",
        measured="""The mean opening of every gate over the batch: below a few percent it is
            reported. Gates that start shut on purpose, such as those of ReZero, are F024.""",
        causes=(
            "A large negative bias, from a recipe for highway networks that was taken too far.",
            "A gate whose input is not scaled.",
            "LSTM without a forget bias: torch draws all biases around zero.",
        ),
        remedy="""Start the gate's bias near zero, or at +1 for a forget gate:
            fanin.initialize(model, …, biases="forget_gate").""",
        reference="""Jozefowicz et al., An Empirical Exploration of Recurrent Network
            Architectures, 2015, https://proceedings.mlr.press/v37/jozefowicz15.html""",
        example="""
            import torch
            from torch import nn


            class Gated(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.gate, self.up = nn.Linear(16, 64), nn.Linear(16, 64)
                    self.down = nn.Linear(64, 3)
                    nn.init.constant_(self.gate.bias, -8.0)

                def forward(self, x):
                    return self.down(torch.sigmoid(self.gate(x)) * self.up(x))


            model = Gated()
            batch, target = torch.randn(64, 16), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F035",
        title="odd normalization parameters",
        severity="warning",
        meaning="""A normalization's scale starts at 1 and its shift at 0, or at 0 and 0 at the end
            of a residual branch. This one starts elsewhere. Scales drawn from N(0, 0.02) shrink
            the signal 50 times in every layer and turn half of the channels around: a loop that
            draws all parameters whose name ends in 'weight' does that.""",
        measured="""The values of the scales and shifts of all normalizations. Zero scales that
            learn are F024; what a trained model holds, and LayerScale's small constants, are not
            reported.""",
        causes=(
            "An initialization by name or by dimension that takes the norms for layers.",
            "A scheme for models without normalization.",
        ),
        remedy="Set the scale to 1 and the shift to 0. The patch does so.",
        reference="""LayerNorm's weights drawn from N(0, 0.02), transformers,
            https://github.com/huggingface/transformers/issues/143""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(32, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 3)
            )
            for parameter in model.parameters():
                nn.init.normal_(parameter, std=0.02)
            batch, target = torch.randn(64, 32), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F036",
        title="library default",
        severity="note",
        meaning="""The weights were drawn by the library's default. torch draws Linear and Conv
            weights with a variance of 1/(3·fan_in), a third of LeCun's rule and a sixth of He's;
            nobody chose it for this model. With normalization it is harmless. In a deep plain
            network the signal fades, which is then a finding of its own.""",
        measured="""Whether the weights' bounds are those of the default of their layer.""",
        causes=("No initialization was written.",),
        remedy="""Nothing, if the other findings are fine. Else choose a rule: `auto` takes each
            layer's gain from the activation that follows.""",
        reference="""Update weight initialisations to current best practices,
            https://github.com/pytorch/pytorch/issues/18182""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(32, 64),
                nn.ReLU(),
                nn.Linear(64, 64),
                nn.ReLU(),
                nn.Linear(64, 3),
            )
            batch, target = torch.randn(64, 32), torch.randint(0, 3, (64,))
            """,
    ),
)
