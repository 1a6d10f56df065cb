"""The labeller: intervals in, labels out. Live, import, replay and tests all run this code.

It keeps no clock and does no input or output. What it has learned from settled intervals can be
taken out as a checkpoint; a labeller made from it and fed the intervals from `next_sequence` on
gives the same settled labels to the bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from collectors.bottleneck import Wall
from collectors.bottleneck.case import Case
from collectors.clock import NANO
from collectors.model import (
    HOST,
    RULE_VERSION,
    Bottleneck,
    EngineKey,
    Interval,
    Label,
    Phase,
    PhaseLabel,
    Tick,
    engine_entity,
)
from collectors.phase.calibrate import UNCALIBRATED, CostModel
from collectors.phase.evidence import observe
from collectors.phase.hardware import DramHistory
from collectors.phase.priors import find, identity
from collectors.phase.rules import Spent, phase_seconds
from collectors.phase.scene import Scene
from collectors.phase.settle import SETTLE_SECONDS
from collectors.phase.timely import timely
from collectors.phase.topology import (
    gpu_spent,
    gpus_of,
    hardware_of,
    host_spent,
    on_anothers_gpu,
    total,
    without_gateways,
)
from collectors.phase.track import EngineTrack
from collectors.readings import EngineReading

__all__ = ["Labeller", "phase_seconds"]

_SMOOTHING_SECONDS = 2.0
_FORGET_SECONDS = 900.0
"""An engine or GPU not seen for so long is forgotten, with what was learned of it."""
_TO_COME = Label(-1, HOST, Phase(), Bottleneck())
_NO_HISTORY = DramHistory()


class Labeller:
    """Labels intervals as they come: provisionally at once, finally when the evidence is complete.

    An interval settles as one, all its entities together and in order, at the latest ten seconds
    after its end.
    """

    def __init__(self, *, state: dict[str, Any] | None = None, priors: Mapping[str, CostModel] | None = None) -> None:
        """`priors` are costs that earlier runs have learned, by `priors.identity`; a `state` brings its own."""
        self._priors: Mapping[str, CostModel] = dict(priors or {})
        self._newest: Interval | None = None
        self._engines: dict[EngineKey, EngineTrack] = {}
        self._drams: dict[str, DramHistory] = {}
        self._gpu_previous: dict[str, PhaseLabel] = {}
        self._host_previous: PhaseLabel | None = None
        self._pending: deque[Scene] = deque()
        self._next_sequence = 0
        self._recent: deque[dict[str, tuple[float, float]]] = deque()
        if state is not None:
            self._restore(state)

    def push(self, interval: Interval) -> Tick:
        """Takes the next interval; gives its provisional labels and those that settled with it."""
        self.catch_up()
        whole, interval = interval, without_gateways(timely(interval))
        scene = Scene.of(interval)
        self._pending.append(scene)
        self._newest = interval
        shared = on_anothers_gpu(interval)
        for key, reading in interval.engines.items():
            track = self._engines.setdefault(key, EngineTrack())
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
            labels = self._provisional(scene)
        self._forget(interval.end)
        return Tick(whole, labels, tuple(settled), costs=self._costs())

    def flush(self) -> tuple[Label, ...]:
        """The end of the data: what is still provisional settles on what is known."""
        self.catch_up()
        settled: list[Label] = []
        while self._pending:
            settled.extend(self._settle(final=True))
        return tuple(settled)

    def catch_up(self) -> None:
        """Fits costs anew where what has settled calls for it: for when a tick is on its way and there is time.

        Whoever does not call it has it done with the next interval; labels are the same either way.
        """
        for track in self._engines.values():
            track.catch_up()

    def _remember(self, track: EngineTrack, interval: Interval, reading: EngineReading) -> None:
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
        self.catch_up()
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
        oldest = self._pending[0].interval
        if newest.end - oldest.end >= SETTLE_SECONDS * NANO:
            return True
        for track in self._engines.values():
            if track.pending and track.pending[0].sequence == oldest.sequence and not track.splits[0].complete:
                return None
        return False

    def _settle(self, *, final: bool) -> list[Label]:
        scene = self._pending.popleft()
        interval = scene.interval
        for key, reading in interval.engines.items():
            self._engines[key].calibration.hardware = hardware_of(interval, reading)
            self._engines[key].flows.add(reading)
        spent = {
            key: track.settle_first(final=final)
            for key, track in self._engines.items()
            if track.pending and track.pending[0].sequence == interval.sequence
        }
        labels = self._labels(scene, spent, settled=True)
        for key in spent:
            self._engines[key].previous = labels[scene.engines[key].entity].phase.label
        for uuid, gpu in interval.gpus.items():
            history = self._drams.get(uuid)
            if history is None:
                history = self._drams[uuid] = DramHistory()
            history.add(gpu)
            self._gpu_previous[uuid] = labels[scene.gpus[uuid].entity].phase.label
        self._host_previous = labels[HOST].phase.label
        self._next_sequence = interval.sequence + 1
        return list(labels.values())

    def _provisional(self, scene: Scene) -> dict[str, Label]:
        sequence = scene.interval.sequence
        spent = {
            key: track.spent(track.splits[-1], track.pending[-1])
            for key, track in self._engines.items()
            if track.pending and track.pending[-1].sequence == sequence
        }
        return self._labels(scene, spent, settled=False)

    def _labels(self, scene: Scene, engines: dict[EngineKey, Spent], *, settled: bool) -> dict[str, Label]:
        interval = scene.interval
        gpus = self._gpus_spent(scene, engines)
        host = host_spent([gpus[uuid] for uuid in gpus if uuid in scene.counted], list(engines.values()))
        if host is None:
            host = Spent(0.0, 0.0, 0.0, interval.duration, 1.0, "low", ())
        parts = [(scene.host, host), *zip(scene.gpus.values(), gpus.values(), strict=True)]
        parts += [(scene.engines[key], spent) for key, spent in engines.items()]
        shares = {} if settled else self._smoothed(parts, interval.duration)
        labels = {HOST: _TO_COME}
        walls: list[Wall] = []
        for (uuid, case), spent in zip(scene.gpus.items(), gpus.values(), strict=True):
            case.find_phase(spent, settled, self._gpu_previous.get(uuid), shares.get(case.entity))
            labels[case.entity] = self._label(scene, case)
            if case.wall is not None and uuid in scene.counted:
                walls.append(case.wall)
        for key, spent in engines.items():
            case = scene.engines[key]
            case.find_phase(spent, settled, self._engines[key].previous, shares.get(case.entity))
            labels[case.entity] = self._label(scene, case)
        scene.host.find_phase(host, settled, self._host_previous, shares.get(HOST))
        labels[HOST] = self._label(scene, scene.host, tuple(walls))
        return labels

    def _gpus_spent(self, scene: Scene, engines: Mapping[EngineKey, Spent]) -> dict[str, Spent]:
        """Each GPU's seconds. Those that work for the same engines are told the same of them."""
        seconds = scene.interval.duration
        told: dict[tuple[EngineKey, ...], Spent | None] = {}
        spent: dict[str, Spent] = {}
        for uuid, case in scene.gpus.items():
            keys = case.keys
            if keys not in told:
                told[keys] = total([engines[key] for key in keys if key in engines])
            spent[uuid] = gpu_spent(
                scene.interval.gpus[uuid], seconds, told[keys], self._drams.get(uuid) or _NO_HISTORY
            )
        return spent

    def _label(self, scene: Scene, case: Case, walls: tuple[Wall, ...] = ()) -> Label:
        """The label of one entity. `walls` are those of the GPUs that make up the machine."""
        costs, role = UNCALIBRATED, None
        track = self._engines.get(case.keys[0]) if len(case.keys) == 1 else None
        if track is not None:
            costs = track.calibration.model
            role = track.flows.role if case is not scene.host else None
        return Label(scene.interval.sequence, case.entity, case.phase, case.judge(costs, role, walls))

    def _smoothed(self, parts: Sequence[tuple[Case, Spent]], duration: float) -> dict[str, float]:
        """Trailing mean share of each entity, so that a provisional label does not flicker."""
        self._recent.append({case.entity: (spent.prefill, spent.prefill + spent.decode) for case, spent in parts})
        while len(self._recent) > max(1, round(_SMOOTHING_SECONDS / duration)):
            self._recent.popleft()
        shares: dict[str, float] = {}
        for case, _ in parts:
            prefill = busy = 0.0
            for earlier in self._recent:
                seconds = earlier.get(case.entity)
                if seconds is not None:
                    prefill += seconds[0]
                    busy += seconds[1]
            if busy > 0:
                shares[case.entity] = prefill / busy
        return shares

    def _forget(self, now: int) -> None:
        gone = [key for key, track in self._engines.items() if now - track.last_seen > _FORGET_SECONDS * NANO]
        for key in gone:
            del self._engines[key]

    def _costs(self) -> dict[str, CostModel]:
        """The same by the engine's entity."""
        return {engine_entity(key): model for key, model in self.costs().items()}

    def checkpoint(self) -> dict[str, Any]:
        """What was learned from settled intervals, as JSON. Pending ones are to be pushed again."""
        self.catch_up()
        return {
            "rule_version": RULE_VERSION,
            "next_sequence": self._pending[0].interval.sequence if self._pending else self._next_sequence,
            "host": self._host_previous,
            "priors": {name: asdict(model) for name, model in self._priors.items()},
            "coefficients": {entity: asdict(model) for entity, model in self._costs().items()},
            "gpus": {
                uuid: {"previous": self._gpu_previous.get(uuid), "dram": history.to_json()}
                for uuid, history in self._drams.items()
            },
            "engines": [
                {"endpoint": endpoint, "engine_index": index} | track.to_json()
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
            key = (engine["endpoint"], engine["engine_index"])
            self._engines[key] = EngineTrack.from_json(engine, self._next_sequence - 1)
