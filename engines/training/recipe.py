"""All that shapes a training run of the street model, and the presets: `nano` and `small` make the shipped weights,
`nano-gpu` and `small-gpu` the same models on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engines.models.street_parts import StreetConfig
from engines.training.clips import ClipPlan
from streamer.errors import SightlineError
from streamer.world import ACTIONS, KEYPOINTS, SEMANTIC

NANO = StreetConfig(
    object_queries=28, track_slots=28, mask_places=True, semantic_labels=SEMANTIC, keypoint_names=KEYPOINTS,
    action_labels=ACTIONS, clip_stride_s=0.24,
)  # fmt: skip
SMALL = replace(NANO, height=256, width=448)


@dataclass(frozen=True, slots=True)
class StreetRecipe:
    """All that shapes a run. The budget is `minutes` of wall clock, or `steps` where that is not 0."""

    name: str = "street-nano"
    model: StreetConfig = field(default_factory=lambda: NANO)
    lanes: int = 8
    frames: int = 3
    stay: int = 12
    minutes: float = 70.0
    steps: int = 0
    learning_rate: float = 8e-4
    weight_decay: float = 0.02
    warm_up_steps: int = 150
    clip_norm: float = 5.0
    average: float = 0.998
    jitter: float = 0.3
    drop: float = 0.2
    false: float = 0.2
    bfloat16: bool = True
    processes: int = 2
    checkpoint_minutes: float = 4.0
    log_every: int = 20
    without: str = ""  # an idea of the model that is out of action in this run: an ablation
    rehearsal: float = 0.0  # with data of one's own: the share of lanes that go on showing the world
    # Sets of `lanes` worlds that the actions' head is taught on; 0: it is not. It learns few people by heart: with
    # 2.7 times the worlds .09 more of its answers were right in others.
    action_rounds: int = 144
    action_length: int = 40  # frames of each
    action_steps: int = 2500
    action_batch: int = 256
    action_rate: float = 2e-3

    def action_plan(self, seed: int) -> ClipPlan:
        """How the worlds of the actions' recordings are shown: whole, one frame at a time."""
        size = self.model
        return ClipPlan(seed, size.height, size.width, self.lanes, frames=1, stay=1)

    def plan(self, seed: int, rank: int = 0) -> ClipPlan:
        """How the clips of member `rank` are cut."""
        size, lanes = self.model, self.lanes // self.processes
        return ClipPlan(seed, size.height, size.width, lanes, rank * lanes, self.frames, self.stay)

    def whole_plan(self, seed: int) -> ClipPlan:
        """How the clips of all members together are cut: what a cache is made of."""
        return replace(self, processes=1).plan(seed)


PRESETS = {
    "nano": StreetRecipe(),
    "small": StreetRecipe("street-small", SMALL, lanes=4),
    # For a GPU, in minutes: four times the lanes, and by the square root of that the rate (Krizhevsky 2014; for Adam
    # Malladi et al. 2022), an average that is as long in pictures, the same number of worlds for the actions.
    "nano-gpu": StreetRecipe(
        lanes=32, processes=1, minutes=20.0, learning_rate=1.6e-3, average=0.992, checkpoint_minutes=2.0,
        action_rounds=36,
    ),
    "small-gpu": StreetRecipe(
        "street-small", SMALL, lanes=16, processes=1, minutes=40.0, learning_rate=1.6e-3, average=0.992,
        checkpoint_minutes=2.0, action_rounds=36,
    ),
    # Of few worlds and at the full rate the actions' head would forget the many that it knows.
    "finetune": StreetRecipe(
        minutes=20.0, learning_rate=2e-4, warm_up_steps=50, average=0.99, processes=1, checkpoint_minutes=2.0,
        rehearsal=0.25, action_rounds=6, action_steps=600, action_rate=2e-4,
    ),
    "smoke": StreetRecipe(
        model=StreetConfig(
            height=64, width=96, widths=(8, 16, 24, 32), hidden_dim=32, heads=4, layers=2, feed_dim=64, fine_dim=16,
            mask_channels=8, object_queries=8, track_slots=8, mask_places=True, semantic_labels=SEMANTIC,
            keypoint_names=KEYPOINTS, key_channels=8, action_labels=ACTIONS, feature_dim=16,
        ),
        lanes=2, frames=2, stay=2, processes=1, steps=6, warm_up_steps=2, bfloat16=False,
        checkpoint_minutes=0.0, log_every=1, action_rounds=1, action_length=10, action_steps=4, action_batch=8,
    ),
}  # fmt: skip


def recipe_for(preset: str, minutes: float | None, steps: int | None) -> StreetRecipe:
    """The preset with another budget, if one is given. Raises SightlineError for an unknown preset or no budget."""
    if preset not in PRESETS:
        raise SightlineError(
            f"no preset {preset!r}", where="--preset", mend=f"use one of {', '.join(PRESETS)}"
        )
    recipe = PRESETS[preset]
    if minutes is not None:
        recipe = replace(recipe, minutes=minutes, steps=0)
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    if recipe.steps < 0 or (recipe.steps == 0 and not recipe.minutes > 0):
        raise SightlineError("the budget must be above 0", where="--minutes", mend="give some minutes")
    return recipe
