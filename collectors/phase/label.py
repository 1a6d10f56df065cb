"""The labeller: intervals in, labels out. Live, import, replay and tests all run this code.

It keeps no clock and does no input or output. What it has learned from settled intervals can be
taken out as a checkpoint; a labeller made from it and fed the intervals from `next_sequence` on
gives the same settled labels to the bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from typing import Any, NamedTuple

from collectors.bottleneck import (
    Group,
    Wall,
    depends_on,
    judge,
    judged_again,
    mean_wall,
    partition,
    rests_on_costs,
)
from collectors.model import (
    HOST,
    RULE_VERSION,
    Bottleneck,
    Confidence,
    EngineKey,
    Interval,
    Label,
    Phase,
    PhaseLabel,
    Tick,
    engine_entity,
    gpu_entity,
)
from collectors.phase.calibrate import UNCALIBRATED, Calibration, CostModel, Window
from collectors.phase.doubt import stated_error, updated_misfit
from collectors.phase.evidence import Observation, observe, spread, with_live_prompt
from collectors.phase.hardware import DramHistory
from collectors.phase.priors import find, identity
from collectors.phase.rules import Spent, phase_of, phase_seconds
from collectors.phase.settle import FEW_STEPS, SETTLE_SECONDS, Split, Splitting
from collectors.phase.timely import timely
from collectors.phase.topology import (
    Flows,
    gpu_spent,
    gpus_of,
    hardware_of,
    host_spent,
    on_anothers_gpu,
    owners,
    without_gateways,
)
from collectors.readings import EngineReading, GpuReading

__all__ = ["Labeller", "phase_seconds"]

_NANO = 1_000_000_000
_SMOOTHING_SECONDS = 2.0
_FORGET_SECONDS = 900.0
"""An engine or GPU not seen for so long is forgotten, with what was learned of it."""
_COLD_SECONDS = 20.0
_MUTE_SECONDS = 60.0
"""How long the silence of an engine is doubted that computed a prompt in longer silence than labels wait for."""
_UNJUDGED = Bottleneck()
_CACHED_MANY = 10
"""Cached tokens per computed one from which an interval's prompts were cache look-ups more than prefill."""


@dataclass(slots=True)
class _EngineTrack:
    """What is known of one engine: its costs, its last settled label, and its unsettled intervals."""

    calibration: Calibration = field(default_factory=Calibration)
    previous: PhaseLabel | None = None
    watched_seconds: float = 0.0
    last_settled: Observation | None = None
    settled_to: int = 0
    last_seen: int = 0
    pending: deque[Observation] = field(default_factory=deque)
    splitting: Splitting = field(default_factory=Splitting)
    splits: list[Split] = field(default_factory=list)
    flows: Flows = field(default_factory=Flows)
    mute_until: int = 0
    """Up to when (wall, ns) silence is not taken for idleness: a prompt was lately computed in longer silence."""

    @property
    def newest(self) -> Observation | None:
        """The last interval the engine was heard in: what its next page is compared with."""
        heard = next((one for one in reversed(self.pending) if one.is_heard), None)
        return heard or self.last_settled

    def push(self, seen: Observation, duration: float) -> None:
        earlier = tuple(self.pending)
        silent = list(takewhile(lambda one: one.missing, reversed(self.pending)))
        if silent and not seen.missing and seen.seconds > 1.5 * duration:
            parts = spread({one.sequence: one for one in reversed(silent)}, seen)
            for _ in silent:
                self.pending.pop()
            self.pending.extend(parts[sequence] for sequence in sorted(parts))
        else:
            self.pending.append(seen)
        self.last_seen = seen.end
        if (seen.ttft_longest or 0.0) > SETTLE_SECONDS and not any(one.moved or one.running for one in earlier):
            self.mute_until = seen.end + int(_MUTE_SECONDS * _NANO)
        self.resplit()

    def resplit(self) -> None:
        self.splits = self.splitting.split(self.pending, self.calibration.model)

    def spent(self, one: Split, seen: Observation) -> Spent:
        model = self.calibration.model
        confidence: Confidence
        error = stated_error(one, seen, model, self.calibration.misfit)
        is_new = self.watched_seconds < _COLD_SECONDS and self.calibration.prior is None
        is_cold = is_new or (one.calibrated and not model.is_sure)
        if is_cold or error > 0.25:
            confidence = "low"
        elif one.calibrated:
            confidence = "high" if model.error < 0.05 and model.windows >= 50 else "medium"
        elif "engine-seconds" in one.evidence or "idle-counter" in one.evidence:
            confidence = "high"
        else:
            confidence = "medium"
        has_requests = bool(seen.waiting) or seen.runs_throughout
        return Spent(one.prefill, one.decode, one.idle, one.unknown, error, confidence, one.evidence, has_requests)

    def settle_first(self, *, final: bool) -> Spent:
        """Takes the oldest interval out, learns from it, and gives its final seconds."""
        seen = self.pending[0]
        one = self.splitting.first(self.calibration.model) if final else self.splits[0]
        if one.evidence == ("silence",) and seen.end < self.mute_until:
            one = one._replace(idle=0.0, unknown=seen.seconds, evidence=(), error=1.0)
        spent = self.spent(one, seen)
        model = self.calibration.model
        self.calibration.misfit = updated_misfit(self.calibration.misfit, one, seen, model)
        self._learn(seen, one)
        self.watched_seconds += seen.seconds
        if self.last_settled is None or seen.is_heard:
            self.last_settled = seen
        self.settled_to = seen.end
        self.pending.popleft()
        self.splits = self.splits[1:]
        self.splitting.drop_first()
        if self.calibration.model is not model:
            self.resplit()
        return spent

    def _learn(self, seen: Observation, one: Split) -> None:
        """Gives an interval to the calibration when it can be learned from: busy from end to end."""
        if seen.flops is not None:
            self.calibration.count(seen.flops, (seen.prompt or 0.0) + (seen.generated or 0.0))
            seen = with_live_prompt(seen, self.calibration.model.flops_per_token)
        waited = (seen.ttft_mean or 0.0) * (seen.first or 0.0)
        work = Window(
            seen.steps or 0.0,
            seen.generated or 0.0,
            seen.kv_steps,
            seen.prompt or 0.0,
            seen.seconds,
            waited,
            seen.first or 0.0,
        )
        if seen.prefill_seconds is not None:
            # The engine counts prefill itself; steps may be batches of a long prompt whose seconds
            # have not landed, so only intervals that plainly decode tell what a step costs.
            if one.decode >= 0.95 * seen.seconds and work.steps >= FEW_STEPS and not seen.prompt:
                self.calibration.add(work)
        elif (seen.cached or 0.0) > _CACHED_MANY * work.prompt:
            # Looking up and attending over cached tokens costs time that no computed token explains.
            self.calibration.interrupt()
        elif seen.busy_source == "gpu" and seen.busy is not None and not seen.missing:
            # The GPU's own busy time: neither gaps between steps nor idle stretches are in it.
            self.calibration.add(work._replace(busy=seen.busy))
        elif seen.is_busy_throughout or one.busy >= 0.95 * seen.seconds:
            self.calibration.add(work)
        else:
            self.calibration.interrupt()


def _counted(gpus: Mapping[str, GpuReading]) -> frozenset[str]:
    """The GPUs whose time is the machine's: whole ones that answer, or every whole one where none does.

    The time of a GPU that is lost is nobody's; it is not idle time of the machine.
    """
    whole = {uuid: gpu for uuid, gpu in gpus.items() if not gpu.instances}
    return frozenset(uuid for uuid, gpu in whole.items() if gpu.state == "ok") or frozenset(whole)


class _Part(NamedTuple):
    """One entity of an interval about to be labelled."""

    entity: str
    spent: Spent
    previous: PhaseLabel | None
    engines: list[EngineReading]
    gpus: list[GpuReading]


class Labeller:
    """Labels intervals as they come: provisionally at once, finally when the evidence is complete.

    An interval settles as one, all its entities together and in order, at the latest ten seconds
    after its end.
    """

    def __init__(self, *, state: dict[str, Any] | None = None, priors: Mapping[str, CostModel] | None = None) -> None:
        """`priors` are costs that earlier runs have learned, by `priors.identity`; a `state` brings its own."""
        self._priors: Mapping[str, CostModel] = dict(priors or {})
        self._newest: Interval | None = None
        self._engines: dict[EngineKey, _EngineTrack] = {}
        self._drams: dict[str, DramHistory] = {}
        self._gpu_previous: dict[str, PhaseLabel] = {}
        self._host_previous: PhaseLabel | None = None
        self._pending: deque[Interval] = deque()
        self._next_sequence = 0
        self._recent: deque[dict[str, tuple[float, float]]] = deque()
        # Judgements of unsettled intervals with all they depended on: most settle as they stood.
        self._judged: dict[int, dict[str, tuple[object, object, Wall | None, Bottleneck]]] = {}
        if state is not None:
            self._restore(state)

    def push(self, interval: Interval) -> Tick:
        """Takes the next interval; gives its provisional labels and those that settled with it."""
        whole, interval = interval, without_gateways(timely(interval))
        self._pending.append(interval)
        self._newest = interval
        shared = on_anothers_gpu(interval)
        for key, reading in interval.engines.items():
            track = self._engines.setdefault(key, _EngineTrack())
            before = track.newest
            if self._priors and (before is None or not before.is_heard):
                self._remember(track, interval, reading)
            runs_throughout = bool(reading.requests_running) and before is not None and bool(before.running)
            own = reading if key not in shared or runs_throughout else replace(reading, gpus=())
            track.push(observe(interval, own, before), interval.duration)
        settled: list[Label] = []
        while self._pending and (final := self._is_ripe(interval)) is not None:
            settled.extend(self._settle(final=final))
        labels = {label.entity: label for label in settled if label.sequence == interval.sequence}
        if not labels:
            labels = self._provisional(interval)
        self._forget(interval.end)
        return Tick(whole, labels, tuple(settled), costs=self._costs())

    def flush(self) -> tuple[Label, ...]:
        """The end of the data: what is still provisional settles on what is known."""
        settled: list[Label] = []
        while self._pending:
            settled.extend(self._settle(final=True))
        return tuple(settled)

    def _remember(self, track: _EngineTrack, interval: Interval, reading: EngineReading) -> None:
        """Starts an engine that is heard for the first time from what an earlier run has learned of it.

        At no other time: which intervals such costs bear on must not depend on where a replay begins.
        """
        prior = find(self._priors, reading, gpus_of(interval, reading))
        if prior is not None:
            track.calibration.start_from(prior)

    def costs(self) -> dict[EngineKey, CostModel]:
        """The costs in use, of the engines that have some."""
        return {
            key: track.calibration.model
            for key, track in self._engines.items()
            if track.calibration.model is not UNCALIBRATED
        }

    def learned(self) -> dict[str, CostModel]:
        """The costs this run has learned and is sure of, by `priors.identity`: what a later run may begin with."""
        found: dict[str, CostModel] = {}
        newest = self._newest
        if newest is None:
            return found
        for key, reading in newest.engines.items():
            track = self._engines.get(key)
            if track is None or track.calibration.prior is not None or not track.calibration.model.is_sure:
                continue
            name, model = identity(reading, gpus_of(newest, reading)), track.calibration.model
            if name is not None and (name not in found or found[name].windows < model.windows):
                found[name] = model
        return found

    def _is_ripe(self, newest: Interval) -> bool | None:
        """Whether the oldest interval settles now: True by age, False by evidence, None not yet."""
        oldest = self._pending[0]
        if newest.end - oldest.end >= SETTLE_SECONDS * _NANO:
            return True
        for track in self._engines.values():
            if track.pending and track.pending[0].sequence == oldest.sequence and not track.splits[0].complete:
                return None
        return False

    def _settle(self, *, final: bool) -> list[Label]:
        interval = self._pending.popleft()
        for key, reading in interval.engines.items():
            self._engines[key].calibration.hardware = hardware_of(interval, reading)
            self._engines[key].flows.add(reading)
        spent = {
            key: track.settle_first(final=final)
            for key, track in self._engines.items()
            if track.pending and track.pending[0].sequence == interval.sequence
        }
        labels = self._labels(interval, spent, settled=True)
        for key in spent:
            self._engines[key].previous = labels[engine_entity(key)].phase.label
        for uuid, gpu in interval.gpus.items():
            self._drams.setdefault(uuid, DramHistory()).add(gpu)
            self._gpu_previous[uuid] = labels[gpu_entity(uuid)].phase.label
        self._host_previous = labels[HOST].phase.label
        self._judged.pop(interval.sequence, None)
        self._next_sequence = interval.sequence + 1
        return list(labels.values())

    def _provisional(self, interval: Interval) -> dict[str, Label]:
        spent = {
            key: track.spent(track.splits[-1], track.pending[-1])
            for key, track in self._engines.items()
            if track.pending and track.pending[-1].sequence == interval.sequence
        }
        return self._labels(interval, spent, settled=False)

    def _labels(self, interval: Interval, engines: dict[EngineKey, Spent], *, settled: bool) -> dict[str, Label]:
        owned = owners(interval)
        nobody: list[EngineReading] = []
        gpus = {
            uuid: gpu_spent(
                gpu,
                interval.duration,
                [engines[engine.key] for engine in owned.get(uuid, nobody) if engine.key in engines],
                self._drams.get(uuid) or DramHistory(),
            )
            for uuid, gpu in interval.gpus.items()
        }
        counted = _counted(interval.gpus)
        host = host_spent([spent for uuid, spent in gpus.items() if uuid in counted], list(engines.values()))
        if host is None:
            host = Spent(0.0, 0.0, 0.0, interval.duration, 1.0, "low", ())
        all_engines, all_gpus = list(interval.engines.values()), list(interval.gpus.values())
        parts = [_Part(HOST, host, self._host_previous, all_engines, all_gpus)]
        for uuid, spent in gpus.items():
            previous = self._gpu_previous.get(uuid)
            parts.append(_Part(gpu_entity(uuid), spent, previous, owned.get(uuid, nobody), [interval.gpus[uuid]]))
        for key, spent in engines.items():
            reading = interval.engines[key]
            own_gpus = [interval.gpus[uuid] for uuid in reading.gpus if uuid in interval.gpus]
            parts.append(_Part(engine_entity(key), spent, self._engines[key].previous, [reading], own_gpus))
        shares = {} if settled else self._smoothed(parts, interval.duration)
        labels: dict[str, Label] = {HOST: Label(interval.sequence, HOST, Phase(), Bottleneck())}
        walls: list[Wall | None] = []
        for part in parts[1:]:
            labels[part.entity], wall = self._label(interval, part, settled, shares.get(part.entity))
            if len(walls) < len(gpus):
                walls.append(wall)
        measured_walls = tuple(
            wall for wall, gpu in zip(walls, all_gpus, strict=False) if wall is not None and gpu.uuid in counted
        )
        labels[HOST], _ = self._label(interval, parts[0], settled, shares.get(HOST), measured_walls)
        return labels

    def _label(
        self, interval: Interval, part: _Part, settled: bool, share: float | None, walls: tuple[Wall, ...] = ()
    ) -> tuple[Label, Wall | None]:
        """The label of one entity, and how its wall time is divided. `walls` are those it consists of."""
        phase = phase_of(part.spent, settled=settled, previous=part.previous, share=share)
        track = self._engines.get(part.engines[0].key) if len(part.engines) == 1 else None
        costs = track.calibration.model if track is not None else UNCALIBRATED
        role = track.flows.role if track is not None and part.entity != HOST else None
        judged = self._judged.setdefault(interval.sequence, {})
        remembered = judged.get(part.entity)
        earlier = None if remembered is None else remembered[2]
        has_requests = part.spent.has_requests
        divided = (walls,) if walls else (has_requests, *depends_on(earlier, phase, costs))
        if remembered is not None and remembered[0] == divided:
            wall = earlier
        elif walls:
            wall = mean_wall(walls)
        else:
            # A machine's earlier wall may be the mean of its GPUs', whose signals are other ones.
            known = None if earlier is None or part.entity == HOST else earlier.hardware
            wall = partition(Group(has_requests, part.engines, part.gpus), phase, interval.host, costs, known)
            divided = (has_requests, *depends_on(wall, phase, costs))
        bottleneck = remembered[3] if remembered is not None else _UNJUDGED
        asked = (wall, role, costs if rests_on_costs(bottleneck.name, part.engines) else None)
        if remembered is not None and wall is not None and remembered[1] == asked:
            bottleneck = judged_again(bottleneck, phase, wall)
        else:
            bottleneck = judge(phase, part.engines, part.gpus, wall, costs, role)
            asked = (wall, role, costs if rests_on_costs(bottleneck.name, part.engines) else None)
        judged[part.entity] = (divided, asked, wall, bottleneck)
        return Label(interval.sequence, part.entity, phase, bottleneck), wall

    def _smoothed(self, parts: list[_Part], duration: float) -> dict[str, float]:
        """Trailing mean share of each entity, so that a provisional label does not flicker."""
        self._recent.append({part.entity: (part.spent.prefill, part.spent.busy) for part in parts})
        while len(self._recent) > max(1, round(_SMOOTHING_SECONDS / duration)):
            self._recent.popleft()
        shares: dict[str, float] = {}
        for part in parts:
            prefill = busy = 0.0
            for earlier in self._recent:
                seconds = earlier.get(part.entity, (0.0, 0.0))
                prefill += seconds[0]
                busy += seconds[1]
            if busy > 0:
                shares[part.entity] = prefill / busy
        return shares

    def _forget(self, now: int) -> None:
        gone = [key for key, track in self._engines.items() if now - track.last_seen > _FORGET_SECONDS * _NANO]
        for key in gone:
            del self._engines[key]

    def _costs(self) -> dict[str, CostModel]:
        """The same by the engine's entity."""
        return {engine_entity(key): model for key, model in self.costs().items()}

    def checkpoint(self) -> dict[str, Any]:
        """What was learned from settled intervals, as JSON. Pending ones are to be pushed again."""
        return {
            "rule_version": RULE_VERSION,
            "next_sequence": self._pending[0].sequence if self._pending else self._next_sequence,
            "host": self._host_previous,
            "priors": {name: asdict(model) for name, model in self._priors.items()},
            "coefficients": {entity: asdict(model) for entity, model in self._costs().items()},
            "gpus": {
                uuid: {"previous": self._gpu_previous.get(uuid), "dram": history.to_json()}
                for uuid, history in self._drams.items()
            },
            "engines": [
                {
                    "endpoint": endpoint,
                    "engine_index": index,
                    "calibration": track.calibration.to_json(),
                    "flows": track.flows.to_json(),
                    "previous": track.previous,
                    "watched_seconds": track.watched_seconds,
                    "mute_until": track.mute_until,
                    "last_seen": track.settled_to or track.last_seen,
                    "running": track.last_settled.running if track.last_settled else None,
                    "missing": track.last_settled.missing if track.last_settled else True,
                    "resident": track.last_settled.resident if track.last_settled else None,
                }
                for (endpoint, index), track in self._engines.items()
                if track.last_settled is not None
            ],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._next_sequence = state["next_sequence"]
        self._host_previous = state["host"]
        self._priors = {name: CostModel(**model) for name, model in state["priors"].items()}
        for uuid, gpu in state["gpus"].items():
            self._drams[uuid] = DramHistory.from_json(gpu["dram"])
            if gpu["previous"] is not None:
                self._gpu_previous[uuid] = gpu["previous"]
        for engine in state["engines"]:
            sequence = int(state["next_sequence"]) - 1
            last = Observation(
                sequence,
                engine["last_seen"],
                1.0,
                engine["missing"],
                resident=engine["resident"],
                running=engine["running"],
            )
            self._engines[(engine["endpoint"], engine["engine_index"])] = _EngineTrack(
                calibration=Calibration.from_json(engine["calibration"]),
                previous=engine["previous"],
                watched_seconds=engine["watched_seconds"],
                last_settled=last,
                settled_to=engine["last_seen"],
                flows=Flows(*engine["flows"]),
                mute_until=engine["mute_until"],
            )
