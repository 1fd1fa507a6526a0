"""A model as a graph: what follows each weighted layer, and what each layer does in the model."""

from fanin.structure.elementwise import ElementwiseExpression
from fanin.structure.followers import Follower, find_followers, find_graph_followers
from fanin.structure.forward_tracing import trace_forward
from fanin.structure.graph import Graph, Node
from fanin.structure.layer_places import LayerPlace, place_layers
from fanin.structure.model_structure import ModelStructure
from fanin.structure.structure_description import describe_structure, measure_branches
from fanin.structure.structure_records import (
    ROLES,
    AttentionLayers,
    BranchNorms,
    ExpertMixture,
    GatedUnit,
    LayerRole,
    PackedRows,
    ResidualBranch,
    ResidualStream,
)
from fanin.structure.symbolic_tracing import trace_symbolically
from fanin.structure.watched_passes import find_weight_uses
from fanin.structure.weight_uses import WeightUse
from fanin.structure.wrappers import (
    find_wrapped,
    list_bare_names,
    list_bare_paths,
    unwrap_model,
    unwrap_name,
)

__all__ = [
    "ROLES",
    "AttentionLayers",
    "BranchNorms",
    "ElementwiseExpression",
    "ExpertMixture",
    "Follower",
    "GatedUnit",
    "Graph",
    "LayerPlace",
    "LayerRole",
    "ModelStructure",
    "Node",
    "PackedRows",
    "ResidualBranch",
    "ResidualStream",
    "WeightUse",
    "describe_structure",
    "find_followers",
    "find_graph_followers",
    "find_weight_uses",
    "find_wrapped",
    "list_bare_names",
    "list_bare_paths",
    "measure_branches",
    "place_layers",
    "trace_forward",
    "trace_symbolically",
    "unwrap_model",
    "unwrap_name",
]
