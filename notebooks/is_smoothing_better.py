# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Is smoothing better here?
#
# A neural optimizer that is made smooth may be better on your data, or not. This notebook meta-trains a Meta-LSTM
# with and without the smoothness regularizer, several seeds each, tests all of them on the same episodes, and says
# what can be said. The dataset is the embedded one; any prepared dataset goes in its place. As it stands it takes
# about half an hour on two cores; a run that is interrupted continues where it stopped.

# %%
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.reporting.claims import judge
from benchmarks.reporting.problems import to_problems
from benchmarks.reporting.read import load
from benchmarks.reporting.render_text import to_text, verdicts_text
from benchmarks.reporting.tables import to_frame
from benchmarks.run import main as run

# %% [markdown]
# What is compared, and how much is spent on it. Fewer than three seeds say little of another seed.

# %%
DATASET = "glyphs"
SHOT = 1
SEEDS = [0, 1, 2]
EPISODES = 1000
TEST_EPISODES = 600
RESULTS = Path("results/is_smoothing_better")

# %% [markdown]
# ## Runs
#
# The same command as on the command line, `python -m benchmarks.run`, once plain and once with `--smooth`.

# %%
words = ["--method", "meta_lstm", "--dataset", DATASET, "--shot", SHOT, "--results", RESULTS, "--seeds", *SEEDS]
words += ["--training.episodes", EPISODES, "--test.episodes", TEST_EPISODES, "--quiet"]
for regularizer in ("none", "smooth"):
    run([*map(str, words), "--regularizer", regularizer])

# %% [markdown]
# ## The answer
#
# The interval of a mean is over seeds and episodes at once. The difference is paired: each episode and seed with
# itself.

# %%
rows = load([RESULTS])
print(to_text(to_frame(rows)))
print()
print(verdicts_text(judge(rows)))

# %% [markdown]
# *Supported* or *contradicted*: there is a difference. *No effect larger than*: practically none. *Not decided*:
# these runs cannot tell; the last words say how many more seeds or episodes would.
#
# ## Episode by episode
#
# Episodes differ in difficulty by far more than methods do, which is why differences are paired.

# %%
values = to_problems(rows).pivot_table(index="number", columns="regularizer", values="value", aggfunc="mean")
difference = values["smooth"] - values["none"]
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
axes[0].scatter(values["none"], values["smooth"], s=6)
axes[0].axline((values["none"].mean(), values["none"].mean()), slope=1, color="gray", linewidth=1)
axes[0].set(xlabel="plain, accuracy of an episode (%)", ylabel="smoothed (%)")
axes[1].hist(difference, bins=30)
axes[1].axvline(0, color="gray", linewidth=1)
axes[1].set(xlabel="smoothed − plain (points)", ylabel="episodes")
figure.savefig(RESULTS / "episodes.png")
print(f"mean difference {difference.mean():+.2f} points, standard deviation over episodes {difference.std():.1f}")
