"""F037 to F043: data, output and loss that do not fit one another."""

from __future__ import annotations

from fanin.diagnosis.codes.finding_kind import FindingKind

KINDS = (
    FindingKind(
        code="F037",
        title="initial loss far off",
        severity="warning",
        meaning="""Before training a model knows nothing, so its loss should be that of a
            prediction that knows nothing: ln(classes) for cross-entropy, the target's variance for
            a squared error. A loss far above it means that the model begins with confident
            mistakes; far below it, that the answer leaks into the input.""",
        measured="""The loss of the batch, beside that of a uniform prediction and that of the best
            constant prediction.""",
        causes=(
            "A last layer, or a factor before the loss, that is too large (F031).",
            "A signal that explodes on the way (F005, F012).",
            "A target that is not scaled (F043).",
            "Below: a target that is part of the input, or a mask that leaks (F045).",
        ),
        remedy="""Look at the findings about the signal first. If there are none, make the last
            layer smaller.""",
        reference="""Karpathy, A Recipe for Training Neural Networks, 2019, "verify loss @ init",
            https://karpathy.github.io/2019/04/25/recipe/""",
        example="""
            import torch
            from torch import nn


            class Scaled(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.body, self.head = nn.Linear(32, 64), nn.Linear(64, 10)

                def forward(self, x):
                    return 100 * self.head(torch.relu(self.body(x)))


            model = Scaled()
            batch, target = torch.randn(64, 32), torch.randint(0, 10, (64,))
            """,
    ),
    FindingKind(
        code="F038",
        title="bias that the label prior asks for",
        severity="note",
        meaning="""The labels are unevenly spread, and the model starts with the same score for
            all. The first steps only learn how frequent each label is. A bias that says so from
            the start saves them: with one positive in a hundred, the loss begins at 0.06 instead
            of 0.69. Detectors with many more negatives are unstable without it.""",
        measured="""The frequencies of the labels of the batch, and how much of the initial loss
            the best constant prediction would save.""",
        causes=("Rare classes, as in detection, fraud, or language with a large vocabulary.",),
        remedy="""Set the last bias to the logarithm of each class's frequency, or to
            ln(p/(1 − p)) for a sigmoid. The patch does so for the frequencies of the batch; use
            those of the whole training set.""",
        reference="""Lin et al., Focal Loss for Dense Object Detection, 2017, section 4.1,
            https://arxiv.org/abs/1708.02002""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
            batch = torch.randn(512, 16)
            target = (torch.arange(512) % 50 == 0).long()
            """,
    ),
    FindingKind(
        code="F039",
        title="output activation and loss do not fit",
        severity="error",
        meaning="""The loss expects one thing and the model puts out another. Cross-entropy
            includes a softmax; probabilities in place of scores lie between 0 and 1, so after the
            second softmax no class of ten can get more than 23 %, and the loss cannot fall below
            1.46. A squared error behind a saturated sigmoid has no gradient. Both train, badly,
            without any error.""",
        measured="""The last step before the output, its range and its sums over classes, and which
            loss the target asks for.""",
        causes=(
            "nn.Softmax before nn.CrossEntropyLoss.",
            "nn.Sigmoid before BCEWithLogitsLoss, or a sigmoid over exclusive classes.",
            "ReLU as the last step of a classifier.",
        ),
        remedy="""Remove the last activation and let the loss apply it, which is also more exact;
            apply it yourself when you predict.""",
        reference="""PyTorch, CrossEntropyLoss: "the input is expected to contain the unnormalized
            logits", https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
            """,
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(dim=1)
            )
            batch, target = torch.randn(64, 16), torch.randint(0, 10, (64,))
            """,
    ),
    FindingKind(
        code="F040",
        title="targets that the output cannot reach",
        severity="error",
        meaning="""The range of the output does not contain the targets: a sigmoid is to predict
            50, a ReLU something negative, ten scores are given a label 10. The model can only come
            as near as its range allows, and there its activation is saturated and the gradient
            zero.""",
        measured="""The range of the last activation and the range of the target; the number of
            scores and the largest label.""",
        causes=(
            "An output activation that was kept from a classifier.",
            "Targets that were standardized, and are negative now, behind a ReLU.",
            "Labels that count from 1, or a class that was added.",
        ),
        remedy="""Remove the last activation, or scale the target into its range. Give the last
            layer one output per class, and count labels from 0.""",
        reference="""Goodfellow, Bengio and Courville, Deep Learning, section 6.2.2, 2016,
            https://www.deeplearningbook.org""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid()
            )
            batch = torch.randn(64, 16)
            target = 10 * torch.randn(64, 1)
            """,
    ),
    FindingKind(
        code="F041",
        title="constant output activation",
        severity="error",
        meaning="""The last activation has one value whatever comes in. A softmax over a single
            unit is always 1: its gradient is zero, no parameter learns, and the accuracy stands
            still at the share of one class, which is easily taken for a bad learning rate.""",
        measured="""The output over the batch is exactly constant, and the last step is a softmax
            over an axis of length 1 or its like.""",
        causes=(
            "nn.Softmax behind one output unit, for two classes.",
            "A softmax over the wrong axis, of length 1.",
        ),
        remedy="""For two classes use one unit and BCEWithLogitsLoss, or two units and
            CrossEntropyLoss, both without an activation at the end.""",
        reference="""A convolutional network that cannot learn what its input says,
            https://stats.stackexchange.com/questions/481881""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1), nn.Softmax(dim=1)
            )
            batch, target = torch.randn(64, 16), torch.randint(0, 2, (64, 1)).float()
            """,
    ),
    FindingKind(
        code="F042",
        title="input far from unit scale",
        severity="warning",
        meaning="""Every initializer assumes inputs with a mean near 0 and a variance near 1.
            Pixels from 0 to 255 make the first layer's output a hundred times too large: bounded
            activations saturate, ReLU units die after one step, and the learning rate that suits
            the first layer is too small for all others.""",
        measured="""The mean, the root mean square and the spread over features of every
            floating-point input. What a first normalization takes back is not reported, nor
            are small inputs most of which are 0.""",
        causes=(
            "Images as bytes, without division by 255 and standardization.",
            "Columns of a table in their own units: years, prices, shares.",
            "A feature that is constant, or nearly.",
        ),
        remedy="""Standardize the inputs by the mean and the standard deviation of the training
            set, feature by feature for tables.""",
        reference="""LeCun et al., Efficient BackProp, 1998, section 4.3,
            http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10)
            )
            batch = torch.randint(0, 256, (64, 3, 8, 8)).float()
            target = torch.randint(0, 10, (64,))
            """,
    ),
    FindingKind(
        code="F043",
        title="target far from the output's scale",
        severity="warning",
        meaning="""The numbers to predict are far larger, or far from zero, than what the model
            puts out. A squared error of prices around 200,000 starts at 4·10¹⁰, its gradients are
            of the order of 10⁵, and the model spends its first epochs moving one bias.""",
        measured="""Mean and standard deviation of the target, beside those of the output.""",
        causes=(
            "A regression target in its own units.",
            "A target that spans orders of magnitude, for which a logarithm would be fitter.",
        ),
        remedy="""Standardize the target by the training set's mean and standard deviation and
            undo it in predictions, or set the last bias to the target's mean.""",
        reference="""LeCun et al., Efficient BackProp, 1998, section 4.5,
            http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))
            batch = torch.randn(64, 8)
            target = 200_000 + 80_000 * torch.randn(64, 1)
            """,
    ),
)
