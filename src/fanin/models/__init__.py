"""Benchmark models, one family per file."""

from fanin.models import cnn as cnn
from fanin.models import lenet as lenet
from fanin.models import mixer as mixer
from fanin.models import mlp as mlp
from fanin.models import plain_cnn as plain_cnn
from fanin.models import resnet as resnet
from fanin.models import vgg as vgg
from fanin.models import vit as vit
from fanin.models.base import REGISTRY as REGISTRY
from fanin.models.base import Model as Model
from fanin.models.base import ModelEntry as ModelEntry
from fanin.models.base import get as get
from fanin.models.base import names as names
from fanin.models.dropout import Dropout as Dropout
from fanin.models.dropout import DropoutKeys as DropoutKeys
