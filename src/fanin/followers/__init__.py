"""What follows each weighted layer of a model, so that a rule can choose the layer's gain from it."""

from fanin.followers.elementwise import Elementwise
from fanin.followers.following import Follower, followers
from fanin.followers.graph import Graph, Node
from fanin.followers.observing import observe
from fanin.followers.search import find
from fanin.followers.tracing import trace

__all__ = ["Elementwise", "Follower", "Graph", "Node", "find", "followers", "observe", "trace"]
