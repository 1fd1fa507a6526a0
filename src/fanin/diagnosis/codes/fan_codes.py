"""F025 to F030: weights that are scaled by the wrong fan, the wrong gain or the wrong depth."""

from __future__ import annotations

from fanin.diagnosis.codes.finding_kind import FindingKind

KINDS = (
    FindingKind(
        code="F025",
        title="fan of the wrong axis",
        severity="warning",
        meaning="""The size of the weights fits a fan that the layer does not have: the number of
            outputs instead of inputs, all channels instead of one group, the sum of a kernel's
            sizes instead of their product. Square layers hide the mistake, all others get weights
            that are too large or too small by a fixed factor, and the factor multiplies over the
            depth.""",
        measured="""The measured standard deviation is compared with what the usual rules give for
            the true fans and for wrong ones. It is reported where a wrong fan explains the number,
            the true one does not, and nothing behind the layer undoes it.""",
        causes=(
            "A weight that is stored as (in, out), as in transformers' Conv1D or in JAX.",
            "A depthwise convolution with mode='fan_out', where torch counts all groups.",
            "A transposed convolution, whose weight is (in, out, …): torch takes out for the fan.",
            "Xavier's rule with the kernel's height plus width.",
        ),
        remedy="""Initialize by the layer instead of the bare tensor: fanin.initialize knows the
            layout of each.""",
        reference="""kaiming_normal_ and the fan_out of a grouped convolution,
            https://github.com/pytorch/pytorch/issues/23854""",
        example="""
            import torch
            from torch import nn


            class Project(nn.Module):
                def __init__(self, inputs, outputs):
                    super().__init__()
                    # (in, out), but kaiming_normal_ takes it for (out, in).
                    self.weight = nn.Parameter(torch.empty(inputs, outputs))
                    nn.init.kaiming_normal_(self.weight)

                def forward(self, x):
                    return torch.relu(x @ self.weight)


            model = nn.Sequential(Project(512, 64), Project(64, 256), nn.Linear(256, 3))
            batch, target = torch.randn(64, 512), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F026",
        title="packed projection with the wrong fan",
        severity="warning",
        meaning="""Queries, keys and values are made by one matrix, and the rule that drew it took
            it for a single layer. Xavier's rule averages the inputs and outputs, so a stack of
            three maps of d × d gets a standard deviation of 1/√(2d) instead of 1/√d: queries and
            keys are √2 too small each, their products half as large as meant.""",
        measured="""The rows of each part are found by gradients, and the measured standard
            deviation is compared with what the rule gives for one part and for the whole.""",
        causes=(
            "xavier_uniform_ on nn.MultiheadAttention's in_proj_weight, which is torch's default.",
            "A fused gate and up-projection that was drawn as one layer.",
        ),
        remedy="""Draw each part by itself: fanin.initialize splits packed parameters. In torch,
            call the rule for each slice of rows.""",
        reference="""MultiheadAttention's packed projection is drawn with the fan of all three,
            https://github.com/pytorch/pytorch/issues/166378""",
        example="""
            import torch
            from torch import nn
            from torch.nn.functional import scaled_dot_product_attention


            class Attention(nn.Module):
                def __init__(self, width=64, heads=4):
                    super().__init__()
                    self.heads = heads
                    self.qkv = nn.Linear(width, 3 * width)
                    self.out = nn.Linear(width, width)
                    nn.init.xavier_uniform_(self.qkv.weight)

                def forward(self, x):
                    shape = (*x.shape[:2], self.heads, -1)
                    parts = self.qkv(x).chunk(3, -1)
                    q, k, v = (part.reshape(shape).transpose(1, 2) for part in parts)
                    mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2)
                    return self.out(mixed.reshape(x.shape))


            model = nn.Sequential(Attention(), nn.Flatten(), nn.Linear(640, 3))
            batch, target = torch.randn(8, 10, 64), torch.randint(0, 3, (8,))
            """,
    ),
    FindingKind(
        code="F027",
        title="packed gates with the wrong fan",
        severity="warning",
        meaning="""The gates of an LSTM or a GRU are stacked in one parameter, and the rule that
            drew it took it for a single layer. An orthogonal matrix over four gates gives each
            gate columns of half the length, and no gate's matrix is orthogonal: the recurrent
            signal loses half of its size per step.""",
        measured="""Each gate's rows are looked at by themselves: their singular values if the
            whole is orthogonal, else their standard deviation.""",
        causes=(
            "nn.init.orthogonal_ on weight_hh of nn.LSTM.",
            "Xavier's rule on a stack of gates: its fan_out counts all four.",
        ),
        remedy="""Draw each gate by itself: fanin.initialize(model, "orthogonal") does so for
            packed gates.""",
        reference="""Orthogonal initialization of an LSTM gate by gate,
            https://github.com/allenai/allennlp/pull/200""",
        example="""
            import torch
            from torch import nn


            class Reader(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.lstm = nn.LSTM(16, 64, batch_first=True)
                    self.head = nn.Linear(64, 3)
                    nn.init.orthogonal_(self.lstm.weight_hh_l0)
                    nn.init.xavier_uniform_(self.lstm.weight_ih_l0)

                def forward(self, x):
                    return self.head(self.lstm(x)[0][:, -1])


            model = Reader()
            batch, target = torch.randn(16, 12, 16), torch.randint(0, 3, (16,))
            """,
    ),
    FindingKind(
        code="F028",
        title="wrong gain",
        severity="warning",
        meaning="""The weights follow a known rule whose gain is for another activation. Xavier's
            rule with gain 1 keeps the signal through a linear layer, but ReLU halves its mean
            square, so ten layers lose 97 %. The mistake is reported only where it makes the signal
            drift, or is so large that no rule gives it: before a normalization a small deviation
            has no effect, but weights that are several times too large hardly turn in training.""",
        measured="""The rule is inferred from the measured standard deviation and the fans. Its
            gain is compared with that of the activation that follows, and with the measured drift
            of the signal. Whatever follows, gains above 2.5 times the usual one that no named rule
            explains are reported, and below 0.015 times, or below a sixth of the model's other
            hidden layers, unless a sum, a gate or the output follows.""",
        causes=(
            "xavier_normal_ in a network of ReLUs.",
            "He's rule, with its √2, in front of tanh or of nothing.",
            "The activation was changed and the initialization was not.",
        ),
        remedy="""Use the rule for the activation: he_normal for ReLU, lecun_normal for SELU, or
            `auto`, which takes each layer's gain from what follows it.""",
        reference="""He et al., Delving Deep into Rectifiers, 2015,
            https://arxiv.org/abs/1502.01852""",
        example="""
            import torch
            from torch import nn

            layers = [nn.Linear(128, 128) for _ in range(12)]
            for layer in layers:
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
            hidden = [part for layer in layers for part in (layer, nn.ReLU())]
            model = nn.Sequential(*hidden, nn.Linear(128, 3))
            batch, target = torch.randn(64, 128), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F029",
        title="residual branches not scaled by depth",
        severity="note",
        meaning="""Every branch adds its output to the residual stream, so with n branches of equal
            size the stream's variance grows n times. GPT-2 and many others scale the last layer of
            each branch by 1/√n. Without it a deep model starts with a larger output and is more
            sensitive to the learning rate; whether it costs anything depends on its depth and on
            where the normalizations are.""",
        measured="""The layers that write to the stream are found in the graph, and their standard
            deviation is compared with their siblings' over all branches. The measured growth of
            the stream decides between note and warning.""",
        causes=(
            "The code that should scale compares names, and none matches.",
            "The model has no such rule, as many have not.",
        ),
        remedy="""Multiply the last weight of each branch by 1/√n, n being the number of branches:
            twice the number of blocks in a transformer.""",
        reference="""GPT-2's scaling was never applied, transformers,
            https://github.com/huggingface/transformers/issues/47458""",
        example="""
            import torch
            from torch import nn


            class Block(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.norm = nn.LayerNorm(64)
                    self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 64)
                    for layer in (self.up, self.down):
                        nn.init.xavier_normal_(layer.weight)

                def forward(self, x):
                    return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


            blocks = [Block() for _ in range(24)]
            model = nn.Sequential(nn.Linear(64, 64), *blocks, nn.Linear(64, 3))
            batch, target = torch.randn(64, 64), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F030",
        title="depth scaling on the wrong matrix",
        severity="warning",
        meaning="""A weight that does not write to the residual stream is scaled down by the
            depth, as only those that write should be. If it stands for the one that writes, the
            stream grows unscaled. If both are scaled, the branch is smaller than meant: a gated
            unit with a scaled up-projection adds 1/n instead of 1/√n.""",
        measured="""Roles come from the graph, not from names. Standard deviations that are smaller
            than their siblings' by 1/√n, or fall with the depth, on a layer that reads, gates or
            routes.""",
        causes=(
            "w1, w2 and w3 were mixed up: w2 is the one that writes in LLaMA's naming.",
            "A loop that scales every layer whose name contains 'proj'.",
            "A router or a gate that matches the pattern of the outputs.",
        ),
        remedy="""Scale the layers that write to the stream and no others. The patch restores
            both.""",
        reference="""Depth scaling of w3 beside w2, torchtitan,
            https://github.com/pytorch/torchtitan/issues/3334; w3 instead of w2, llama2.c,
            https://github.com/karpathy/llama2.c/issues/579""",
        example="""
            import torch
            from torch import nn


            class Block(nn.Module):
                def __init__(self, branches):
                    super().__init__()
                    self.norm = nn.LayerNorm(64)
                    self.w1, self.w3 = nn.Linear(64, 256), nn.Linear(64, 256)
                    self.w2 = nn.Linear(256, 64)
                    for layer in (self.w1, self.w2):
                        nn.init.normal_(layer.weight, std=0.1)
                    nn.init.normal_(self.w3.weight, std=0.1 / branches**0.5)

                def forward(self, x):
                    h = self.norm(x)
                    return x + self.w2(nn.functional.silu(self.w1(h)) * self.w3(h))


            blocks = [Block(16) for _ in range(16)]
            model = nn.Sequential(nn.Linear(64, 64), *blocks, nn.Linear(64, 3))
            batch, target = torch.randn(64, 64), torch.randint(0, 3, (64,))
            """,
    ),
)
