"""How a body holds itself: what a person is doing, as joints, and what that is called as seen in the picture.

Joints are plain sines of the gait's phase in the body's own frame (forward, up, left; metres). Sitting down and falling
are one amount, `down` from 0 to 1; standing up and getting up are the same poses with the amount running back.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np

from streamer.world.camera import F64
from streamer.world.truth import ACTIONS, NO_ACTION

SIT_S, FALL_S = 0.9, 0.7  # how long one takes to sit down or stand up, to fall or get up
BOW_S = 1.1  # bending down to the ground and up again
SIGHT_RAD = math.radians(40)  # within this of the line of sight one approaches or recedes


class Motion(IntEnum):
    """What the body does. Which action that is, for those who walk or run, depends on the camera."""

    WALK = 0
    RUN = 1
    STAND = 2
    WAVE = 3
    SIT_DOWN = 4
    SIT = 5
    STAND_UP = 6
    FALL = 7
    LIE = 8
    GET_UP = 9
    RIDE = 10


STILL = {m: ACTIONS.index(m.name.lower()) for m in Motion if m.name.lower() in ACTIONS}
SEATED = frozenset((Motion.SIT_DOWN, Motion.SIT, Motion.STAND_UP))
FALLEN = frozenset((Motion.FALL, Motion.LIE, Motion.GET_UP))
ON_FEET = frozenset((Motion.WALK, Motion.RUN, Motion.STAND, Motion.WAVE))
_SIDE = {
    Motion.WALK: (ACTIONS.index("walk_left"), ACTIONS.index("walk_right")),
    Motion.RUN: (ACTIONS.index("run_left"), ACTIONS.index("run_right")),
}
_APPROACH, _RECEDE = ACTIONS.index("approach"), ACTIONS.index("recede")

# Indices of joints in a pose: the KEYPOINTS in their order, then these.
(
    HEAD,
    L_SHOULDER,
    R_SHOULDER,
    L_ELBOW,
    R_ELBOW,
    L_WRIST,
    R_WRIST,
    L_HIP,
    R_HIP,
    L_KNEE,
    R_KNEE,
    L_ANKLE,
    R_ANKLE,
) = range(13)
L_TOE, R_TOE, NECK, CROWN, FACE, BACK = range(13, 19)


def action_of(motion: Motion, heading: float, sight_x: float, sight_z: float) -> int:
    """The action's index for a body that looks along `heading` and is seen along (sight_x, sight_z) from the camera."""
    if motion in STILL:
        return STILL[motion]
    if motion == Motion.RIDE:
        return NO_ACTION
    away = math.remainder(heading - math.atan2(sight_z, sight_x), math.tau)
    if abs(away) <= SIGHT_RAD:
        return _RECEDE
    if abs(away) >= math.pi - SIGHT_RAD:
        return _APPROACH
    return _SIDE[motion][1 if away < 0 else 0]


def down_at(motion: Motion, gone_s: float) -> float:
    """How far down a body is, 0 on its feet .. 1 seated or lying, `gone_s` seconds into the motion."""
    if motion == Motion.STAND_UP:
        return down_at(Motion.SIT_DOWN, SIT_S - gone_s)
    if motion == Motion.GET_UP:
        return down_at(Motion.FALL, FALL_S - gone_s)
    if motion == Motion.SIT_DOWN:
        share = min(max(gone_s / SIT_S, 0.0), 1.0)
        return share * share * (3 - 2 * share)
    if motion == Motion.FALL:
        share = min(max(gone_s / FALL_S, 0.0), 1.0)
        return share * share
    return 1.0 if motion in (Motion.SIT, Motion.LIE) else 0.0


def bow_at(gone_s: float) -> float:
    """How far down one bends, 0 upright .. 1 a hand at the ground, `gone_s` seconds into putting something down."""
    return math.sin(math.pi * min(max(gone_s / BOW_S, 0.0), 1.0))


def pose(
    motion: Motion,
    phase: float,
    *,
    vigour: float = 1.0,
    down: float = 0.0,
    chair: bool = False,
    prone: bool = True,
    bow: float = 0.0,
) -> F64:
    """Joints (19,3) as forward, up, left in metres for a body 1.75 m tall.

    `vigour` 0..1 is the share of the full stride, `down` as of down_at, `chair` whether one sits on a chair or on the
    ground, `prone` whether one lies on the front or on the back, `bow` 0..1 how far one who stands bends down.
    """
    sin, cos, tau = math.sin, math.cos, math.tau
    lean, elbow, arm_swing, leg_swing, flex = 0.03, 0.25, 0.0, 0.0, 0.0
    thigh_at, shin_at, upper_at, aside = 0.0, -0.06, 0.0, 0.0
    riding, seated, fallen = motion == Motion.RIDE, motion in SEATED, motion in FALLEN
    if riding:
        lean, elbow = 0.62, 0.35
    elif motion == Motion.RUN:
        lean, elbow, arm_swing, leg_swing, flex = 0.16, 1.45, 0.75, 0.72, 1.25
    elif seated:
        # The knees bend over the feet; half way the body leans forward so as not to tip over.
        tip = sin(math.pi * down)
        thigh, shin = (1.45, -0.02) if chair else (2.36, 0.55)
        thigh_at, shin_at = thigh * down, -0.06 + (shin + 0.06) * down - 0.42 * tip
        lean = 0.03 + (0.02 if chair else 0.22) * down + 0.5 * tip
        upper_at, elbow = (0.35 if chair else 0.75) * down + 0.35 * tip, 0.25 + 0.65 * down
    elif fallen:
        aside, elbow, upper_at = 0.22 * down, 0.25 + 0.3 * down, -0.2 * down
    else:
        stride = vigour if motion == Motion.WALK else 0.8 * vigour if motion == Motion.STAND else 0.0
        lean, elbow = 0.02 + 0.03 * stride + 0.015 * sin(phase * 0.35) * (1 - stride), 0.25 + 0.1 * stride
        lean += 1.05 * bow
        arm_swing, leg_swing, flex = 0.04 + 0.44 * stride, 0.44 * stride, 0.75 * stride
    joints = [(0.0, 0.0, 0.0)] * 19
    hip_up, hip_fwd = (0.98, -0.22) if riding else (0.92, 0.0)
    shoulder_fwd, shoulder_up = hip_fwd + 0.54 * sin(lean), hip_up + 0.54 * cos(lean)
    lowest = 9.0
    for side, left in ((0, 1), (1, -1)):
        p = phase + (0.0 if left == 1 else tau / 2)
        hip = (hip_fwd, hip_up, 0.10 * left)
        if riding:
            ankle = (0.06 + 0.17 * cos(p), 0.32 + 0.17 * sin(p), 0.11 * left)
            mid_f, mid_u = (hip[0] + ankle[0]) / 2, (hip[1] + ankle[1]) / 2
            gap_f, gap_u = ankle[0] - hip[0], ankle[1] - hip[1]
            span = math.hypot(gap_f, gap_u)
            bend = math.sqrt(max(0.0, 0.47**2 - (span / 2) ** 2))
            knee = (mid_f - gap_u / span * bend, mid_u + gap_f / span * bend, 0.12 * left)
        else:
            thigh = thigh_at + leg_swing * sin(p)
            shin = thigh - flex * max(0.0, cos(p)) - 0.06 if flex else shin_at
            if fallen and left == 1:  # one knee stays bent
                thigh, shin = (
                    (0.25 * down, -0.06 - 0.7 * down) if prone else (0.95 * down, -0.06 - 0.75 * down)
                )
            wide = (0.10 + 0.05 * down) * left
            knee = (hip[0] + 0.44 * sin(thigh), hip[1] - 0.44 * cos(thigh), wide)
            ankle = (knee[0] + 0.43 * sin(shin), knee[1] - 0.43 * cos(shin), wide)
        toe = (ankle[0] + 0.16, ankle[1] - 0.04, ankle[2] + 0.03 * left)
        lowest = min(lowest, ankle[1])
        shoulder = (shoulder_fwd, shoulder_up, 0.19 * left)
        if riding:
            wrist = (0.36, 1.03, 0.22 * left)
            elbow_at = (
                0.5 * (shoulder[0] + wrist[0]) - 0.04,
                0.5 * (shoulder[1] + wrist[1]) - 0.08,
                0.25 * left,
            )
        elif motion == Motion.WAVE and left == -1:
            swing = 0.55 * sin(phase)
            elbow_at = (shoulder[0] + 0.04, shoulder[1] + 0.10, -0.45)
            wrist = (elbow_at[0] + 0.05, elbow_at[1] + 0.27 * cos(swing), elbow_at[2] + 0.27 * sin(swing))
        else:
            upper = upper_at - arm_swing * sin(p)
            lower = upper + elbow
            out_at, out_end = (0.23 + aside) * left, (0.22 + 1.8 * aside) * left
            elbow_at = (shoulder[0] + 0.29 * sin(upper), shoulder[1] - 0.29 * cos(upper), out_at)
            wrist = (elbow_at[0] + 0.26 * sin(lower), elbow_at[1] - 0.26 * cos(lower), out_end)
        for at, joint in ((L_SHOULDER, shoulder), (L_ELBOW, elbow_at), (L_WRIST, wrist), (L_HIP, hip)):
            joints[at + side] = joint
        for at, joint in ((L_KNEE, knee), (L_ANKLE, ankle), (L_TOE, toe)):
            joints[at + side] = joint
    head_f, head_u = shoulder_fwd + 0.03 + 0.1 * sin(lean), shoulder_up + 0.21
    joints[NECK] = (shoulder_fwd, shoulder_up + 0.06, 0.0)
    joints[HEAD] = (head_f, head_u, 0.0)
    joints[CROWN] = (head_f - 0.02, head_u + 0.045, 0.0)
    joints[FACE] = (head_f + 0.055, head_u - 0.02, 0.0)
    joints[BACK] = (shoulder_fwd - 0.19, shoulder_up - 0.2, 0.0)
    out = np.array(joints)
    if not riding:
        out[:, 1] -= lowest - 0.07  # the lower foot stands on the ground
    if seated and down > 0:
        out[:, 0] -= joints[L_ANKLE][0] + 0.43 * sin(0.06)  # the feet stay where they are
    elif fallen and down > 0:
        angle, way = down * math.pi / 2, 1.0 if prone else -1.0
        forward, up = out[:, 0].copy(), out[:, 1].copy()
        out[:, 0] = forward * cos(angle) + way * (up - 0.8) * sin(angle)
        out[:, 1] = up * cos(angle) - way * forward * sin(angle) + 0.16 * sin(angle)
        np.maximum(out[:, 1], 0.05, out=out[:, 1])
    return out
