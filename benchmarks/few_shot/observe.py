"""Who watches a few-shot run."""

from __future__ import annotations

from benchmarks.running.observe import Observer

LOG_EVERY = 10
"""Episodes between TensorBoard points."""
SMOOTHING = 0.05
"""Weight of the newest step in the running accuracy of the progress bar."""


class FewShotObserver(Observer):
    """Watches meta-training and evaluation of a few-shot learner."""

    _accuracy: float | None = None
    _validated = ""

    def step(self, episode: int, scalars: dict[str, float]) -> None:
        """A meta-training step ended with this episode."""
        accuracy = scalars["accuracy"]
        self._accuracy = (
            accuracy if self._accuracy is None else self._accuracy + SMOOTHING * (accuracy - self._accuracy)
        )
        self.show(episode, f"training accuracy {self._accuracy:.1%}{self._validated}")
        if episode % LOG_EVERY == 0:
            values = {f"train/{name}": value for name, value in scalars.items()}
            self.scalars(values | {"train/penalty_to_loss": scalars["penalty"] / scalars["loss"]}, episode)

    def validated(self, episode: int, accuracy: float, best: bool) -> None:
        """A validation ended."""
        self._validated = f", validation {accuracy:.1%}{' (best)' if best else ''}"
        self.scalars({"validation/accuracy": accuracy}, episode, flush=True)
