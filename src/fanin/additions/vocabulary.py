"""resize_embedding: more (or fewer) tokens for a trained model, in its embedding and its head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.additions.row_draws import draw_like_rows
from fanin.additions.token_tables import TokenTables, find_tables
from fanin.errors import FitError, UsageError, quote

HEWITT = 1e-5
"""The factor on the covariance in the code of Hewitt (2021); that of transformers is 1e-9
(`_init_added_embeddings_weights_with_mean` in its modeling_utils.py).
"""


@dataclass(frozen=True, kw_only=True)
class TableChange:
    """What became of one parameter that has a row per token."""

    names: tuple[str, ...]
    """All names of the parameter; several if it is tied."""
    before: tuple[int, ...]
    after: tuple[int, ...]
    dtype: str
    distinct: int
    """How many of the new rows differ after rounding to the parameter's precision."""


@dataclass(frozen=True, kw_only=True)
class VocabularyChange:
    """What `resize_embedding` changed."""

    old_size: int
    new_size: int
    seed: int
    covariance: float
    tables: tuple[TableChange, ...]
    settings: tuple[str, ...]
    """Other attributes that hold the number of tokens and were set to the new one."""

    @property
    def added(self) -> range:
        """The numbers of the new tokens."""
        return range(self.old_size, max(self.old_size, self.new_size))

    def __str__(self) -> str:
        """A line per parameter."""
        lines = [f"{self.old_size} → {self.new_size} tokens, seed {self.seed}"]
        for table in self.tables:
            lines.append(f"  {' = '.join(table.names)}: {table.before} → {table.after}")
            if len(table.after) > 1 and table.distinct < len(self.added):
                lines.append(
                    f"    {table.distinct} distinct among {len(self.added)} new rows in "
                    f"{table.dtype}: a larger covariance sets them apart"
                )
        return "\n".join(lines + [f"  {name}: {self.new_size}" for name in self.settings])


def resize_embedding(
    model: nn.Module,
    new_size: int,
    *,
    seed: int,
    embedding: str | None = None,
    head: str | bool | None = None,
    covariance: float = HEWITT,
    shrink: bool = False,
) -> VocabularyChange:
    """Give a trained model's embedding more rows, drawn like its old ones; in place.

    A new row is drawn from N(μ, covariance·Σ), where μ and Σ are the mean and covariance of the old
    rows (the padding row is left out). So a new token is an average one: its logit adds little to
    the sum of the softmax, and the probabilities of the old tokens hardly change. A head is resized
    with the embedding, and a bias with the head. A new token is the same mixture of the old ones in
    all of them. Whatever shares the parameter stays tied. Old rows keep their bits.

    The parameters stay the same objects with new memory, so that ties, hooks and flags survive.
    Make the optimizer anew. Row i does not depend on how many rows are added.

    Args:
        model: an `nn.Embedding`, or a model that holds one. A model of transformers says which by
            `get_input_embeddings` and `get_output_embeddings`.
        new_size: the number of tokens afterwards.
        seed: from 0 to 2**63 - 1.
        embedding: the path of the embedding in the model, such as "transformer.wte"; needed if the
            model has several and no `get_input_embeddings`.
        head: the path of a linear head that is not tied; False if there is none although a layer
            has as many outputs as there are tokens.
        covariance: the factor on Σ. 1e-5 is that of Hewitt (2021,
            https://nlp.stanford.edu/~johnhew/vocab-expansion.html), 1e-9 that of transformers, 0
            the mean, 1 draws rows as different as the old ones.
        shrink: allow a smaller size; the last rows are dropped.

    Raises:
        UsageError: a bad size, seed, factor or path, or a smaller size without `shrink`.
        FitError: no embedding or several, a head of unknown kind, or parameters that cannot be
            resized (quantized, sharded, on meta, wrapped by peft). The model is unchanged then.

    >>> change = resize_embedding(nn.Embedding(100, 8, padding_idx=0), 103, seed=0)
    >>> list(change.added)
    [100, 101, 102]

    transformers' `resize_token_embeddings` uses 1e-9, at which rows in bf16 are often equal, counts
    the padding row, falls back to μ where Σ is singular, and draws embedding and head one by one
    from the global random state.
    """
    size, seed = _check_size(new_size), seeds.check_seed(seed)
    if isinstance(covariance, bool) or not 0 <= covariance <= 1:
        raise UsageError(f"covariance must be a number from 0 to 1, not {quote(covariance)}.")
    tables = find_tables(model, embedding, head)
    _check_direction(tables, size, shrink=shrink)
    made = [
        (one.parameter, _make_rows(one.parameter, one.axis, tables, size, covariance, seed))
        for one in tables.parameters
    ]
    changes = tuple(_describe(tables, parameter, new) for parameter, new in made)
    with torch.no_grad():
        for parameter, new in made:
            parameter.data = new
            parameter.grad = None
    return VocabularyChange(
        old_size=tables.size,
        new_size=size,
        seed=seed,
        covariance=covariance,
        tables=changes if size != tables.size else (),
        settings=tuple(tables.set_size(size)) if size != tables.size else (),
    )


def _check_size(size: object) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UsageError(f"new_size must be a whole number of at least 1, not {quote(size)}.")
    return size


def _check_direction(tables: TokenTables, size: int, *, shrink: bool) -> None:
    if size >= tables.size:
        return
    if not shrink:
        raise UsageError(
            f"{size} tokens are fewer than the {tables.size} that there are. shrink=True drops the "
            "last rows."
        )
    for path, module in tables.modules.items():
        padding = getattr(module, "padding_idx", None)
        if padding is not None and padding >= size:
            raise FitError(
                f"Row {padding} of {path or 'the embedding'} stands for padding, and would be "
                f"dropped. Keep at least {padding + 1} tokens."
            )


def _make_rows(
    old: nn.Parameter, axis: int, tables: TokenTables, size: int, covariance: float, seed: int
) -> Tensor:
    """The resized numbers of one parameter, in its dtype, on its device."""
    rows = old.detach().movedim(axis, 0)
    kept = rows[: min(size, len(rows))]
    if size <= len(rows):
        return kept.movedim(0, axis).clone()
    known = torch.ones(len(rows), dtype=torch.bool)
    known[list(tables.padding)] = False
    seen = rows.cpu().unsqueeze(-1).flatten(1)[known]
    if not len(seen):
        raise FitError("An embedding without rows but padding has no mean to draw from.")
    added = draw_like_rows(seen, size - len(rows), covariance, seed, "token")
    added = added.reshape(-1, *rows.shape[1:]).to(old.device, old.dtype)
    return torch.cat([kept, added]).movedim(0, axis).contiguous()


def _describe(tables: TokenTables, parameter: nn.Parameter, new: Tensor) -> TableChange:
    names = tuple(tables.list_names(parameter))
    axis = next(one.axis for one in tables.parameters if one.parameter is parameter)
    added = new.movedim(axis, 0)[tables.size :]
    return TableChange(
        names=names,
        before=tuple(parameter.shape),
        after=tuple(new.shape),
        dtype=str(parameter.dtype).removeprefix("torch."),
        distinct=len(added.float().cpu().reshape(len(added), -1).unique(dim=0))
        if len(added)
        else 0,
    )
