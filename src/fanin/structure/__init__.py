"""What follows each weighted layer of a model, so that a rule can choose the layer's gain from it."""

from fanin.structure.elementwise import Elementwise
from fanin.structure.followers import Follower, followers
from fanin.structure.graph import Graph, Node
from fanin.structure.observation import observe
from fanin.structure.search import find
from fanin.structure.tracing import trace

__all__ = ["Elementwise", "Follower", "Graph", "Node", "find", "followers", "observe", "trace"]
