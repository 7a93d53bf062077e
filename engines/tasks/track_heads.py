"""What a query tracker says beside boxes, masks and tracks: a map of classes, key points of persons, actions.

Each head is there or not, as the weights and their builder chose; the task asks here and gets nothing from an absent
one. Pure numpy, and on the hot path.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.tasks.clips_of_tracks import NO_CLIPS, Clips, ClipTiming, stream_ns
from engines.tasks.keypoints import keypoints_in_boxes
from engines.tasks.scene import rules_of
from engines.tasks.track_actions import NOBODY, Acting, ActionJudge, ActionRules, forgotten
from streamer.errors import EngineError
from streamer.ports import EngineSpec
from streamer.types import F32, I64, U8, Action, Frame, FrameRef, Hw, frozen_array


@dataclass(frozen=True, slots=True)
class Heads:
    """What a model says beside boxes, masks and tracks; empty names and None for what it does not.

    `semantic_names` classes of its map; `keypoint_names` and the grid they are looked for on; `clip_dim` numbers of a
    frame's feature in a clip of `judge.frames` frames, `timing` of the clips, `judge` of their actions.
    """

    semantic_names: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    key_grid_hw: Hw = (16, 12)
    clip_dim: int = 0
    timing: ClipTiming | None = None
    judge: ActionJudge | None = None

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> Heads:
        """The heads of an engine, by its config; rules of actions (`meta["act"]`) from its card.

        Raises EngineError where the engine lacks what its config promises.
        """
        config = spec.meta.get("config", {})
        rows, columns = config.get("key_grid_hw", (16, 12))
        plain = cls(
            tuple(config.get("semantic_labels", ())), tuple(config.get("keypoint_names", ())), (rows, columns)
        )
        if not (labels := tuple(config.get("action_labels", ()))):
            return plain
        shapes = {t.name: t.shape for t in spec.inputs}
        rules = rules_of(spec, "act", ActionRules)
        try:
            _, _, earlier, dim = shapes["ring"]
            timing = ClipTiming(float(config["clip_stride_s"]), float(config["clip_hz"]), rules.gap_s)
        except KeyError as error:
            raise EngineError(f"{error} is missing: this engine judges no actions", where=spec.name) from None
        judge = ActionJudge(labels, earlier + 1, rules)
        return dataclasses.replace(plain, clip_dim=dim, timing=timing, judge=judge)

    def initial(self, slots: int) -> tuple[Clips, Acting]:
        """What is remembered at the start of an epoch."""
        if self.judge is None:
            return NO_CLIPS, NOBODY
        clips = Clips.empty(1 + slots, self.judge.frames - 1, self.clip_dim)
        return clips, Acting.empty(slots, len(self.judge.labels))

    def inputs(self, frames: Sequence[Frame], clips: Sequence[Clips]) -> dict[str, NDArray[Any]]:
        """What the graph must be told beside the tracks: B streams' clips."""
        if (timing := self.timing) is None:
            return {}
        now_ns = [stream_ns(frame.ref) for frame in frames]
        living = [timing.living(one, now) for one, now in zip(clips, now_ns, strict=True)]
        return timing.packed(living, now_ns)

    def semantic(self, answer: Mapping[str, NDArray[Any]]) -> U8 | None:
        """The map of classes u8 (h, w): a copy, so that the batch's array is not kept alive for one picture."""
        return frozen_array(answer["semantic"].copy()) if self.semantic_names else None

    def keypoints(
        self, answer: Mapping[str, NDArray[Any]], source_hw: Hw, rows: I64, persons: NDArray[np.bool_]
    ) -> F32 | None:
        """Of all n rows f32 (n, K_p, 3) x, y in source px and score; zeros where `persons` (n,) is False."""
        if not self.keypoint_names:
            return None
        mine = rows[persons]
        found = np.zeros((len(rows), len(self.keypoint_names), 3), np.float32)
        of_persons = keypoints_in_boxes(
            answer["key_features"],
            answer["key_embed"][mine],
            answer["key_logits"][mine],
            answer["key_offset"][mine],
            answer["pred_boxes"][mine],
            self.key_grid_hw,
        )
        of_persons[..., :2] *= np.array(source_hw[::-1], np.float32)
        found[persons] = of_persons
        return frozen_array(found)

    def acts(
        self,
        answer: Mapping[str, NDArray[Any]],
        ref: FrameRef,
        clips: Clips,
        acting: Acting,
        held: NDArray[np.bool_],
        slots: I64,
        rows: I64,
        ids: I64,
        persons: NDArray[np.bool_],
    ) -> tuple[tuple[Action, ...], Clips, Acting]:
        """What is being done, by the n seen tracks and in the scene, and both memories for the next frame.

        `held` (K,) slots that have a track after this frame; `slots`, `rows`, `ids`, `persons` (n,) of the seen ones.
        """
        timing, judge = self.timing, self.judge
        if timing is None or judge is None:
            return (), clips, acting
        now_ns, wall_ns, born = stream_ns(ref), ref.wall_ns, rows >= len(held)
        clips = timing.living(clips, now_ns)
        seen = np.zeros(len(held), bool)
        seen[slots[~born]] = True
        acting, scores, scene = judge.step(
            forgotten(acting, slots[born]),
            answer["action_logits"],
            answer["scene_logits"],
            clips.known,
            seen,
            now_ns,
            wall_ns,
        )
        doers = persons & ~born
        actions = judge.told(acting, scores, scene, slots[doers], ids[doers].tolist(), wall_ns)
        features = np.concatenate([answer["clip_feature"][None], answer["object_feature"][rows]])
        rings = np.concatenate([[0], 1 + slots])
        clips = timing.joined(clips, rings, features, 1 + slots[born], np.concatenate([[True], held]), now_ns)
        return actions, clips, acting
