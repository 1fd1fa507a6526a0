"""F013 to F020: where the weights come from, and whether they are what they should be."""

from __future__ import annotations

from fanin.diagnosis.codes.finding_kind import FindingKind

KINDS = (
    FindingKind(
        code="F013",
        title="identical units",
        severity="error",
        meaning="""Units of one layer have the same weights coming in and going out. They compute
            the same number and receive the same gradient, so they stay the same for ever: a layer
            of 64 identical units is a layer of one unit. Random numbers are drawn at the start
            for this very reason, to break the symmetry.""",
        measured="""Rows of a weight that are equal bit for bit, and whose gradients are equal
            too. Rows that differ in what goes out, so that their gradients differ, separate in
            training and are not reported as an error.""",
        causes=(
            "A constant weight: nn.init.constant_, ones_ or zeros_ on a hidden layer.",
            "Rows that were repeated to make a layer wider.",
            "One row that was broadcast over all.",
        ),
        remedy="""Draw the weight at random. After widening a layer, add a little noise to the
            copies.""",
        reference="""Goodfellow, Bengio and Courville, Deep Learning, section 8.4, 2016,
            https://www.deeplearningbook.org""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
            for layer in (model[0], model[2]):
                nn.init.constant_(layer.weight, 0.1)
                nn.init.zeros_(layer.bias)
            batch, target = torch.randn(64, 8), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F014",
        title="identical layers",
        severity="warning",
        meaning="""Two or more layers hold the same weights, though they are different parameters.
            Unlike identical units they receive different gradients, so they separate, but the
            model starts with less variety than its size suggests: a chain of equal matrices
            multiplies the same directions again and again.""",
        measured="""Weights of different layers that are equal bit for bit. Weights that are shared
            on purpose are one parameter and are not meant, and neither are constants.""",
        causes=(
            "nn.TransformerEncoder and nn.TransformerDecoder copy the layer that they are given.",
            "A loop with copy.deepcopy of one block.",
            "The same seed before each layer, or one initializer object with a fixed seed (Keras).",
        ),
        remedy="""Initialize the model again after it was built, for example with
            fanin.initialize, or build each block separately.""",
        reference="""TransformerEncoder has the same initial parameters for all layers,
            https://github.com/pytorch/pytorch/issues/86274""",
        example="""
            import torch
            from torch import nn

            layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
            encoder = nn.TransformerEncoder(layer, 4)
            model = nn.Sequential(encoder, nn.Flatten(), nn.Linear(320, 3))
            batch, target = torch.randn(8, 10, 32), torch.randint(0, 3, (8,))
            """,
    ),
    FindingKind(
        code="F015",
        title="repeated random stream",
        severity="warning",
        meaning="""Layers of different shape begin with the same random numbers, up to their scale:
            they were drawn from generators in the same state. Their weights are not independent,
            so the variances that an initializer promises for the layers together do not hold, and
            signals can line up with directions that recur in every layer.""",
        measured="""The flattened beginnings of the weights of different layers, divided by their
            standard deviations, are compared number by number.""",
        causes=(
            "torch.manual_seed(0) before each layer, or a new generator with the same seed.",
            "Keras: one initializer instance with a seed for several layers.",
            "Ranks of a pipeline that all use the same seed.",
        ),
        remedy="""Seed once before the model is built, or let every parameter have a stream of its
            own, as fanin.initialize does.""",
        reference="""The same initializer instance gives the same weights,
            https://github.com/keras-team/keras/issues/15586""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(
                nn.Linear(16, 64),
                nn.ReLU(),
                nn.Linear(64, 32),
                nn.ReLU(),
                nn.Linear(32, 3),
            )
            for layer in (model[0], model[2]):
                generator = torch.Generator().manual_seed(0)
                nn.init.normal_(layer.weight, std=0.2, generator=generator)
            batch, target = torch.randn(64, 16), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F016",
        title="parameter never initialized",
        severity="error",
        meaning="""The parameter holds what the memory held before: torch.empty reserves memory and
            writes nothing. Such numbers are anything from zeros to 1e38 and NaN, they change from
            run to run, and often look harmless on the machine of the author. A row of a vocabulary
            that was added later is a frequent case.""",
        measured="""Numbers that no initializer draws: denormal and huge ones side by side, or
            rows of zeros in a table or a weight that was otherwise drawn at random.""",
        causes=(
            "nn.Parameter(torch.empty(…)) without a line that fills it.",
            "to_empty() after building on the device meta, and a reset that forgets a parameter.",
            "New rows of an embedding or a head that were reserved and not drawn.",
        ),
        remedy="""Fill the parameter, for example with fanin.initialize(model, only=[name]). New
            rows of a vocabulary start well from the mean of the old ones, with a little noise.""",
        reference="""Parameters from torch.empty that nothing fills,
            https://github.com/kmkurn/pytorch-crf/issues/1""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
            # What torch.empty returned: memory that held small integers.
            memory = torch.arange(8 * 64, dtype=torch.int32).view(torch.float32)
            model[0].weight = nn.Parameter(memory.clone().view(64, 8))
            batch, target = torch.randn(64, 8), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F017",
        title="parameter unlike its siblings of the same role",
        severity="warning",
        meaning="""Weights that do the same thing in different blocks have the same size, and this
            one has not. A schedule over the depth, such as 1/√(2l), is smooth. One block that
            stands out was usually left out of a loop, initialized twice, or written by hand.""",
        measured="""The standard deviation of the parameters of one role and one shape over the
            blocks. A trend over depth is fitted first and is not reported.""",
        causes=(
            "An initialization by name whose pattern misses one layer.",
            "A last block that is built in another way.",
            "A checkpoint that was loaded for some of the blocks only.",
        ),
        remedy="""Initialize it as its siblings are. The patch does so.""",
        reference="""A scaling that never applied since a name did not match, transformers,
            https://github.com/huggingface/transformers/issues/47458""",
        example="""
            import torch
            from torch import nn


            class Block(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.norm = nn.LayerNorm(32)
                    self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

                def forward(self, x):
                    return x + self.down(torch.relu(self.up(self.norm(x))))


            model = nn.Sequential(*[Block() for _ in range(6)], nn.Linear(32, 3))
            nn.init.normal_(model[3].up.weight, std=1.0)
            batch, target = torch.randn(64, 32), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F018",
        title="weights drawn in low precision",
        severity="warning",
        meaning="""The weights take few distinct values, as if they had been drawn in bfloat16 or
            float16 and converted afterwards. Sampling in half precision distorts the distribution:
            the mean shifts, tails are cut off or stick to one value. Large models have failed to
            converge for this reason alone.""",
        measured="""The number of distinct values of a weight, compared with what draws in its own
            precision give, and whether all low bits of the mantissa are zero.""",
        causes=(
            "torch.set_default_dtype(torch.bfloat16) while the model is built.",
            "Conversion to bfloat16 before the initialization instead of after it.",
            "A checkpoint in half precision that was loaded into float32, which is no defect.",
        ),
        remedy="""Draw in float32 and convert afterwards; fanin.initialize does so for every
            dtype.""",
        reference="""A truncated normal in bfloat16 has a mean of −0.0084 and values that stick to
            its bound, https://github.com/pytorch/torchtitan/issues/2269""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 3))
            with torch.no_grad():
                drawn = torch.randn(256, 64, dtype=torch.bfloat16) * 0.125
                model[0].weight.copy_(drawn)
            batch, target = torch.randn(64, 64), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F019",
        title="loaded weights re-initialized",
        severity="error",
        meaning="""The model should hold the weights of a checkpoint, and this parameter holds
            other numbers: something has drawn it anew after it was loaded. Training then starts
            from a model that is broken in one place, and the loss at the start, much higher than
            that of the pretrained model, is often the only sign.""",
        measured="""Every parameter is compared with the state dict that was given as `expected`.
            Copies in another precision count as equal.""",
        causes=(
            "An initialization that runs after loading: a second call of init_weights.",
            "A custom class in transformers whose _init_weights ignores what was loaded.",
            "A head that was replaced on purpose; leave it out of `expected`.",
        ),
        remedy="""Load after initializing, or exclude what was loaded from the initialization. The
            missing weights are in the checkpoint: load it once more.""",
        reference="""Loaded weights are silently re-initialized,
            https://github.com/huggingface/transformers/issues/46620""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
            expected = {name: value.clone() for name, value in model.state_dict().items()}
            nn.init.normal_(model[0].weight, std=0.02)
            batch, target = torch.randn(64, 8), torch.randint(0, 3, (64,))
            """,
    ),
    FindingKind(
        code="F020",
        title="weights not loaded",
        severity="warning",
        meaning="""The checkpoint has weights that the model does not have under that name, or the
            model has parameters that the checkpoint lacks. With strict=False this passes in
            silence, and the parameters keep their random start: a pretrained model of which one
            part is not.""",
        measured="""The names and shapes of the state dict that was given as `expected` are
            compared with the model's, wrappers such as DataParallel left out.""",
        causes=(
            "A prefix: 'module.' of DataParallel, '_orig_mod.' of torch.compile.",
            "A layer that was renamed.",
            "Another number of classes or of tokens, so that shapes differ.",
        ),
        remedy="""Rename the keys of the checkpoint, and load with strict=True so that nothing is
            left out unseen.""",
        reference="""PyTorch, Module.load_state_dict,
            https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html""",
        example="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
            expected = dict(nn.Sequential(nn.Linear(8, 32)).state_dict())
            expected["encoder.weight"] = torch.randn(32, 8)
            model.load_state_dict(expected, strict=False)
            batch, target = torch.randn(64, 8), torch.randint(0, 3, (64,))
            """,
    ),
)
