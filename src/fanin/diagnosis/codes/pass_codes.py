"""F044 to F052: how a pass goes through the model: samples, masks, precision, attention."""

from __future__ import annotations

from fanin.diagnosis.codes.finding_kind import FindingKind

KINDS = (
    FindingKind(
        code="F044",
        title="samples of a batch influence one another",
        severity="warning",
        meaning="""What the model says of one sample changes when another sample of the batch does.
            Then the model learns to use its neighbours in the batch, which it will not have, or
            not the same, when it is used. The loss may look fine.""",
        measured="""In eval mode one sample is changed, and the outputs of all others are compared.
            Batch normalization in train mode does this by design and is not reported.""",
        causes=(
            "A softmax, a mean or a normalization over axis 0.",
            "Attention over the batch: batch_first=False with inputs of (batch, steps, width).",
            "A reshape or view that mixes samples, where a transpose was meant.",
        ),
        remedy="""Find the step that the finding names and let it work on another axis.""",
        reference="""Karpathy, A Recipe for Training Neural Networks, 2019, "use backprop to chart
            dependencies", https://karpathy.github.io/2019/04/25/recipe/""",
        example="""
            import torch
            from torch import nn


            class Pooled(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.score, self.head = nn.Linear(16, 1), nn.Linear(16, 3)

                def forward(self, x):
                    weights = torch.softmax(self.score(x), dim=0)
                    return self.head((weights * x).sum(1))


            model = Pooled()
            batch, target = torch.randn(8, 12, 16), torch.randint(0, 3, (8,))
            """,
    ),
    FindingKind(
        code="F045",
        title="a causal mask leaks",
        severity="error",
        meaning="""The model is meant to predict each token from those before it, and its output at
            one place depends on later places. It can then copy the answer from the input: the
            training loss falls to nearly nothing, and generation, where there is no later token,
            fails.""",
        measured="""In eval mode the last places of a sequence are changed, and the outputs before
            them are compared. It is reported for models whose attention is nearly causal.""",
        causes=(
            "A mask whose diagonal is off by one: tril(1) instead of tril().",
            """A mask that is transposed, or means the opposite: True hides in MultiheadAttention
            and shows in scaled_dot_product_attention.""",
            "A normalization, a pooling or a convolution over the whole sequence.",
        ),
        remedy="""Use is_causal=True, or torch.ones(n, n).tril().bool() for
            scaled_dot_product_attention. Pad convolutions on the left only.""",
        reference="""PyTorch, scaled_dot_product_attention,
            https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
            """,
        example="""
            import torch
            from torch import nn
            from torch.nn.functional import scaled_dot_product_attention


            class Language(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.tokens, self.head = nn.Embedding(100, 32), nn.Linear(32, 100)
                    self.q, self.k, self.v = (nn.Linear(32, 32) for _ in range(3))

                def forward(self, ids):
                    x = self.tokens(ids)
                    mask = torch.ones(ids.shape[1], ids.shape[1]).tril(1).bool()
                    q, k, v = self.q(x), self.k(x), self.v(x)
                    return self.head(x + scaled_dot_product_attention(q, k, v, mask))


            model = Language()
            ids = torch.randint(0, 100, (8, 13))
            batch, target = ids[:, :-1], ids[:, 1:]
            """,
    ),
    FindingKind(
        code="F046",
        title="a mask hides everything",
        severity="error",
        meaning="""For some queries every key is hidden. A softmax over nothing is 0/0: NaN in some
            kernels, zeros or the mean of all values in others. One NaN in the output makes the
            loss and all gradients NaN, and zeros pass for an answer.""",
        measured="""The share of queries for which no key is visible, in every attention of the
            pass.""",
        causes=(
            "A padding mask with the opposite meaning.",
            "A sample that consists of padding only.",
            "A causal mask combined with left padding.",
        ),
        remedy="""Turn the mask around, or let every query see at least itself.""",
        reference="""MultiheadAttention's gradients become NaN,
            https://github.com/pytorch/pytorch/issues/41508""",
        example="""
            import torch
            from torch import nn
            from torch.nn.functional import scaled_dot_product_attention


            class Attention(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.q, self.k, self.v = (nn.Linear(32, 32) for _ in range(3))
                    self.head = nn.Linear(32, 3)

                def forward(self, x):
                    # No place is padding. But True in a mask means: visible.
                    padding = torch.zeros(x.shape[:2], dtype=torch.bool)
                    mask = padding[:, None, :].expand(-1, x.shape[1], -1)
                    q, k, v = self.q(x), self.k(x), self.v(x)
                    x = x + scaled_dot_product_attention(q, k, v, mask)
                    return self.head(x.mean(1))


            model = Attention()
            batch, target = torch.randn(8, 10, 32), torch.randint(0, 3, (8,))
            """,
    ),
    FindingKind(
        code="F047",
        title="dropout of 1, or near it",
        severity="error",
        meaning="""In training everything is dropped: what follows sees zeros, and no gradient
            passes. In eval mode the layer does nothing, so that the model looks alive when it is
            tried out. What lies before the layer never learns. From 0.8 on, which is a
            warning, something passes, but multiplied by 5 or more, and the gradient is mostly
            noise.""",
        measured="""The probabilities of all dropout layers and functions.""",
        causes=(
            "The share to keep, as in old TensorFlow, given in place of the share to drop.",
            "A percentage.",
        ),
        remedy="Give the share to drop: 0.1 drops a tenth.",
        reference="""PyTorch, Dropout,
            https://docs.pytorch.org/docs/stable/generated/torch.nn.Dropout.html""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(16, 64), nn.ReLU(), nn.Dropout(1.0), nn.Linear(64, 3)
            )
            batch, target = torch.randn(64, 16), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F048",
        title="low-precision underflow or overflow",
        severity="warning",
        meaning="""Numbers of half precision leave its range. float16 ends at 65,504 and loses its
            digits below 0.00006: larger activations become infinite, small weights and gradients
            become zero. bfloat16 has float32's range, but three digits only, so that a small
            number added to a large one is lost.""",
        measured="""The share of entries that are zero or denormal in their precision and would not
            be in float32, and how near the largest one comes to the end of the range.""",
        causes=(
            "Weights drawn with a standard deviation below 0.0001 in float16.",
            "A residual stream that grows (F012), or scores of attention before scaling.",
            "Gradients in float16 without loss scaling.",
        ),
        remedy="""Keep the parameters in float32 and use autocast, with a GradScaler for float16,
            or use bfloat16.""",
        reference="""Micikevicius et al., Mixed Precision Training, 2018,
            https://arxiv.org/abs/1710.03740""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
            nn.init.normal_(model[0].weight, std=1e-7)
            model = model.half()
            batch, target = torch.randn(64, 64).half(), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F049",
        title="attention saturated, or uniform",
        severity="warning",
        meaning="""Attention that gives all its weight to one key is a hard choice made at random:
            hardly any gradient reaches queries and keys, and different heads cannot specialize.
            Attention that is exactly uniform is an average; small scores start that way by design
            and learn, which is a note only.""",
        measured="""The entropy of the attention weights, divided by that of uniform weights over
            the visible keys, and the standard deviation of the scores.""",
        causes=(
            "Queries and keys that are too large: N(0, 1) weights, or a missing 1/√head_dim.",
            "A bias, such as a relative position, that is large beside the scores.",
            "Uniform: queries or keys that are zero.",
        ),
        remedy="""Draw the projections with a standard deviation of 1/√width, and divide the
            scores by √head_dim, or normalize queries and keys.""",
        reference="""Zhai et al., Stabilizing Transformer Training by Preventing Attention Entropy
            Collapse, 2023, https://arxiv.org/abs/2303.06296""",
        example="""
            import torch
            from torch import nn
            from torch.nn.functional import scaled_dot_product_attention


            class Attention(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.q, self.k, self.v = (nn.Linear(64, 64) for _ in range(3))
                    self.head = nn.Linear(64, 3)
                    for layer in (self.q, self.k):
                        nn.init.normal_(layer.weight, std=1.0)

                def forward(self, x):
                    x = x + scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
                    return self.head(x.mean(1))


            model = Attention()
            batch, target = torch.randn(8, 10, 64), torch.randint(0, 3, (8,))
            """,
    ),
    FindingKind(
        code="F050",
        title="part of the model that the pass did not reach",
        severity="note",
        meaning="""These layers are frozen and took no part in the pass, so the audit says nothing
            about their signals. Often that is meant: a copy of the model that only another loss
            uses, a head for another task, a branch for longer inputs. If it is not, the forward
            method forgets them.""",
        measured="""Layers whose parameters no step of the pass has used and that ask for no
            gradient. If they ask for one, they are F021.""",
        causes=(
            "A frozen layer that is built and not called.",
            "A branch that depends on the input, on the mode, or on an option.",
        ),
        remedy="""Nothing if it is meant so; else call the layer, or audit with a batch that
            reaches it.""",
        reference="""PyTorch, find_unused_parameters of DistributedDataParallel,
            https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
            """,
        example="""
            import torch
            from torch import nn


            class Forgotten(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.first, self.second = nn.Linear(16, 64), nn.Linear(64, 64)
                    self.head = nn.Linear(64, 3)
                    self.second.requires_grad_(False)

                def forward(self, x):
                    return self.head(torch.relu(self.first(x)))


            model = Forgotten()
            batch, target = torch.randn(64, 16), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F051",
        title="nothing but linear steps between layers",
        severity="warning",
        meaning="""Layers that follow one another with nothing between are one linear layer: the
            product of their matrices. The model has more parameters than that layer, and can
            represent nothing more, however deep it is. An activation was probably forgotten.""",
        measured="""The graph of the forward pass is searched for steps that are not linear:
            activations, normalizations, products, maxima. It is reported if there is none before
            the last of two layers or more; embeddings are linear steps as well.""",
        causes=(
            "An activation that was left out, or created and not called.",
            "A linear autoencoder or a factorized layer, on purpose.",
        ),
        remedy="""Put an activation after each layer but the last. Nothing, if the model is meant to
            be linear.""",
        reference="""Saxe, McClelland and Ganguli 2014, Exact solutions to the nonlinear dynamics of
            learning in deep linear neural networks, https://arxiv.org/abs/1312.6120""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 3))
            batch, target = torch.randn(64, 16), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F052",
        title="parameters outside the model",
        severity="error",
        meaning="""The forward pass computes with parameters that `model.parameters()` omits.
            An optimizer that is given that list never changes them, `model.to(device)` leaves them
            where they are, and `state_dict()` does not store them. The model trains around them:
            the loss falls, less far than it could, and nothing fails until the model is loaded.""",
        measured="""Every function that the pass calls is watched: a parameter that it is given and
            that the model does not list is reported, unless it is frozen or used without
            gradients.""",
        causes=(
            "Layers in a Python list, tuple or dict, which nn.Module does not look into.",
            "A layer that the forward pass makes anew at each call.",
        ),
        remedy="""Hold layers in `nn.ModuleList` or `nn.ModuleDict`, parameters in
            `nn.ParameterList`, and make both in `__init__`.""",
        reference="""PyTorch documentation, torch.nn.ModuleList,
            https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html""",
        example="""
            import torch
            from torch import nn


            class Stack(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(16, 16) for _ in range(3)]
                    self.head = nn.Linear(16, 3)

                def forward(self, x):
                    for layer in self.layers:
                        x = torch.relu(layer(x))
                    return self.head(x)


            model = Stack()
            batch, target = torch.randn(8, 16), torch.randint(0, 3, (8,))
            """,
    ),
)
