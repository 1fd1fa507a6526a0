"""What methods that scale the ends of residual branches have in common."""

from __future__ import annotations

from fanin.initializers.model_level import ModelView, Requirement


def require_stream(view: ModelView) -> tuple[Requirement, ...]:
    """That the model has a residual stream, whose number of branches decides the scale; nothing if
    it has one.
    """
    assert view.structure is not None
    if view.structure.streams:
        return ()
    lacking = Requirement(
        what="residual stream",
        change=(
            "No branch was found that is added to the signal it reads from: x + f(x). Give batch=, "
            "a batch as in training, so that a forward pass is observed, or use an initializer "
            "that does not scale by depth, such as normal(std=0.02)."
        ),
        met=False,
    )
    return (lacking,)
