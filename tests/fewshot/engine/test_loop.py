"""What the loop does for every training: on one whose steps are arithmetic."""

import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch import nn

from fewshot.engine.loop import Outcome, Progress, Trainer, TrainingFailed
from fewshot.engine.signals import PutOff
from fewshot.errors import InputError


class Descent(Trainer):
    """x² by gradient steps with momentum; validated by |x| after every third step."""

    higher_is_better = False

    def __init__(self, path=None, total=12, spoil=(), seconds=1e9, size=3, **options):
        self.spoil = spoil
        model = nn.Linear(size, 1, bias=False)
        nn.init.ones_(model.weight)
        sgd = torch.optim.SGD(model.parameters(), 0.1, 0.9)
        super().__init__(model, sgd, Progress(), total, {"configuration": "a"}, path, seconds, **options)

    def _step(self, index):
        loss = self.model.weight.square().sum()
        self.optimizer.zero_grad()
        loss.backward()
        if index in self.spoil:
            return Outcome(None, "the loss")
        self.optimizer.step()
        return Outcome({"loss": float(loss.detach())})

    def _keep(self, scalars):
        self.progress.curve.append({"step": self.progress.done, **scalars})

    def _is_due(self):
        return self.progress.done % 3 == 0

    def _score(self):
        return float(self.model.weight.detach().abs().sum())

    def _point(self, score):
        return {"step": self.progress.done, "score": score}


class Watch:
    """Does something once a step is done."""

    def __init__(self, at=0, action=lambda: None):
        self.at, self.action = at, action

    def step(self, done, scalars):
        if done == self.at:
            self.action()

    def validated(self, done, score, best): ...


def send(number):
    return lambda: os.kill(os.getpid(), number)


def state(trainer):
    p = trainer.progress
    return trainer.model.weight.tolist(), trainer.best["weight"].tolist(), p.curve, p.validation, p.best_at


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_a_checkpoint_and_the_continued_run_has_the_same_bits(tmp_path, number, error):
    def leave(*_):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        whole, path = Descent(), tmp_path / "c.pt"
        whole.run(Watch())
        with pytest.raises(error):
            Descent(path).run(Watch(5, send(number)))
        continued = Descent(path)
        assert (continued.progress.done, continued.progress.interruptions) == (5, 1)
        continued.run(Watch())
        assert state(continued) == state(whole)
        assert signal.getsignal(signal.SIGTERM) is leave
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_second_signal_acts_at_once(tmp_path):
    def twice():
        send(signal.SIGINT)()
        assert not (tmp_path / "c.pt").exists()
        send(signal.SIGINT)()
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        Descent(tmp_path / "c.pt").run(Watch(5, twice))


def test_a_signal_in_the_last_step_is_not_lost(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Descent(tmp_path / "c.pt").run(Watch(12, send(signal.SIGINT)))
    assert Descent(tmp_path / "c.pt").progress.done == 12


def test_signals_that_are_ignored_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert Descent().run(Watch(5, send(signal.SIGINT))).done == 12
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_train_without_signals():
    trainer = Descent()
    thread = threading.Thread(target=trainer.run, args=(Watch(),))
    thread.start()
    thread.join()
    assert trainer.progress.done == 12


def test_sigterm_without_a_handler_ends_the_process_once_all_is_saved(tmp_path):
    code = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
from test_loop import Descent, Watch, send
Descent(pathlib.Path(sys.argv[2])).run(Watch(5, send(signal.SIGTERM)))
"""
    here = os.path.dirname(__file__)
    process = subprocess.run([sys.executable, "-c", code, here, str(tmp_path / "c.pt")], check=False)
    assert process.returncode == -signal.SIGTERM
    assert Descent(tmp_path / "c.pt").progress.done == 5


def test_nothing_is_put_off_where_nothing_comes():
    with PutOff() as put_off:
        assert not put_off.received
        put_off.act()


def test_a_byte_changed_anywhere_is_refused(tmp_path):
    path = tmp_path / "c.pt"
    Descent(path).run(Watch())
    content = path.read_bytes()
    assert Descent(path).progress.done == 12
    for place in range(0, len(content), max(1, len(content) // 200)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"checkpoint .*c\.pt is damaged.*--fresh"):
            Descent(path)
    for length in (0, 1, 50, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"checkpoint .*c\.pt is damaged.*--fresh"):
            Descent(path)


def test_a_checkpoint_of_another_optimizer_or_model_is_refused(tmp_path):
    path = tmp_path / "c.pt"
    Descent(path).run(Watch())
    with pytest.raises(InputError, match=r"checkpoint .*c\.pt is incomplete .*--fresh"):
        Descent(path, size=4)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path):
    path = tmp_path / "c.pt"
    Descent(path, total=6).run(Watch())
    content = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, limits[1]))
        with pytest.raises(InputError, match=r"cannot write .*c\.pt: .*; free space"):
            Descent(path).run(Watch())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_steps_that_are_not_finite_are_counted_and_leave_no_point():
    progress = Descent(spoil=(2, 3, 7)).run(Watch())
    assert (progress.done, progress.skipped, progress.skipped_in_a_row) == (12, 3, 0)
    assert [point["step"] for point in progress.curve] == [1, 2, 5, 6, 7, 9, 10, 11, 12]


def test_too_many_in_a_row_end_the_run_with_the_cause():
    trainer = Descent(total=100, spoil=range(4, 100))
    with pytest.raises(TrainingFailed, match="the loss was not finite in 20 steps in a row, the last at step 23"):
        trainer.run(Watch())
    assert (trainer.progress.done, trainer.progress.skipped) == (23, 20)


def test_a_run_that_fails_knows_how_long_it_took():
    class Slow(Descent):
        patience, remedy = 1, "; try again"

        def _step(self, index):
            time.sleep(0.05)
            return super()._step(index)

    trainer = Slow(spoil=(0,))
    with pytest.raises(TrainingFailed, match=r"^the loss was not finite at step 0; try again$"):
        trainer.run(Watch())
    assert 0.05 <= trainer.progress.seconds < 60


@pytest.mark.parametrize(
    ("scores", "higher", "best_at"),
    [((3.0, 1.0, 2.0), False, 2), ((3.0, 1.0, 2.0), True, 1), ((None, 2.0, 2.0), True, 2)],
)
def test_the_best_model_is_the_first_of_the_best_scores(scores, higher, best_at):
    seen = []

    class Scored(Descent):
        higher_is_better = higher

        def _is_due(self):
            return True

        def _score(self):
            return scores[self.progress.done - 1]

    class See(Watch):
        def validated(self, done, score, best):
            seen.append((score, best))

    trainer = Scored(total=3)
    progress = trainer.run(See())
    assert (progress.best_at, progress.best_score) == (best_at, scores[best_at - 1])
    assert [math.isnan(score) for score, _ in seen] == [score is None for score in scores]
    assert [best for _, best in seen].count(True) >= 1
    assert len(progress.validation) == 3


def test_a_process_that_does_not_write_leaves_no_checkpoint(tmp_path):
    Descent(tmp_path / "c.pt", writes=False).run(Watch())
    assert not list(tmp_path.iterdir())


def test_checkpoints_are_saved_as_often_as_told(tmp_path):
    times = []

    class Saved(Descent):
        def _is_due(self):
            return False

        def _save(self):
            times.append(self.progress.done)

    Saved(tmp_path / "c.pt", seconds=0.0).run(Watch())
    Saved(tmp_path / "c.pt", seconds=1e9).run(Watch())
    assert times == list(range(1, 13))
