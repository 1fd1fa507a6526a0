"""The case study's program, written again from its protocol for Keras on TensorFlow.

fanin is timed against it. The first command runs it as published, in one process; the second is one
of two one-thread processes:

    python benchmarks/keras_program.py mlp mnist --epochs 3 --trainings 2
    python benchmarks/keras_program.py mlp mnist --epochs 3 --threads 1

It prints one JSON object: the seconds that each training took, without start-up and reading of
data, and the scores that it reached. A training builds the model, fits it with validation after
every epoch, restores the best weights and evaluates. fanin reads the data, so both train on the
same arrays.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

INITIALIZERS = (
    "zeros",
    "random_normal",
    "glorot_uniform",
    "he_normal",
    "lecun_normal",
    "orthogonal",
)


def load(name: str) -> tuple[Any, Any, Any, Any]:
    """Load a data set as the program uses it.

    Images are (N, H, W, C), divided by 255. Tables are standardised; their target is in dollars.
    """
    from fanin import data

    dataset = data.load(name)
    prepared = data.prepare(dataset, holdout=0.0, split_seed=0, standardise_target=False)
    train, test = prepared.train, prepared.test
    if dataset.info.task == "regression":
        return train.x.numpy(), train.y.numpy(), test.x.numpy(), test.y.numpy()
    images = [part.x.permute(0, 2, 3, 1).numpy().astype("float32") / 255 for part in (train, test)]
    return images[0], train.y.numpy(), images[1], test.y.numpy()


def build(model: str, shape: tuple[int, ...], classes: int, initializer: str) -> Any:
    """Build and compile the protocol's model; one initializer object serves all of its layers."""
    import keras
    from keras import layers

    kernel = keras.initializers.get(initializer)

    def dense(units: int, activation: str | None = None) -> Any:
        return layers.Dense(units, activation=activation, kernel_initializer=kernel)

    def convolution(filters: int) -> Any:
        return layers.Conv2D(filters, (3, 3), activation="relu", kernel_initializer=kernel)

    bodies = {
        "mlp": lambda: [
            layers.Flatten(),
            dense(256, "sigmoid"),
            dense(128, "tanh"),
            dense(classes, "softmax"),
        ],
        "cnn": lambda: [
            convolution(32),
            layers.MaxPooling2D((2, 2)),
            convolution(64),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            dense(128, "relu"),
            layers.Dropout(0.5),
            dense(classes, "softmax"),
        ],
        "regression": lambda: [dense(64, "relu"), dense(32, "relu"), dense(1)],
    }
    network = keras.Sequential([layers.Input(shape), *bodies[model]()])
    loss, metric = (
        ("mse", "mae") if model == "regression" else ("sparse_categorical_crossentropy", "accuracy")
    )
    network.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.001), loss=loss, metrics=[metric]
    )
    return network


def train(
    model: str, arrays: tuple[Any, Any, Any, Any], initializer: str, epochs: int
) -> tuple[float, list[float]]:
    """Train once; return the seconds that it took, and the test loss and metric."""
    import keras

    x, y, x_test, y_test = arrays
    classes = 1 if model == "regression" else int(y.max()) + 1
    started = time.perf_counter()
    network = build(model, x.shape[1:], classes, initializer)
    stopping = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=5, restore_best_weights=True
    )
    network.fit(
        x,
        y,
        batch_size=64,
        epochs=epochs,
        validation_data=(x_test, y_test),
        callbacks=[stopping],
        verbose=0,
    )
    scores = network.evaluate(x_test, y_test, verbose=0)
    return time.perf_counter() - started, [float(score) for score in scores]


def main() -> None:
    """Parse the arguments, train, and print the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=("mlp", "cnn", "regression"))
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--trainings", type=int, default=1)
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="0 lets TensorFlow choose, as in the published program",
    )
    parser.add_argument("--initializer", default="he_normal", choices=INITIALIZERS)
    options = parser.parse_args()

    import keras
    import tensorflow as tf

    if options.threads:
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    arrays = load(options.data)
    runs = [
        train(options.model, arrays, options.initializer, options.epochs)
        for _ in range(options.trainings)
    ]
    report = {
        "seconds": [seconds for seconds, _ in runs],
        "scores": [scores for _, scores in runs],
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
