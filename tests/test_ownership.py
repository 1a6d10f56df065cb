from __future__ import annotations

from collectors.ownership import assign_gpus
from collectors.readings import EngineReading, GpuReading

A, B = "http://127.0.0.1:8000/metrics", "http://127.0.0.1:8001/metrics"
GPUS = tuple(GpuReading(uuid=f"GPU-{index}", index=index) for index in range(4))


def engine(endpoint: str, index: str = "0", state: str = "ok", role: str | None = None) -> EngineReading:
    return EngineReading(endpoint=endpoint, engine_index=index, state=state, role=role)


def owners(
    *engines: EngineReading,
    processes: dict[int, tuple[str, ...]] | None = None,
    trees: dict[str, frozenset[int]] | None = None,
    configured: dict[str, tuple[str, ...]] | None = None,
) -> list[tuple[str, ...]]:
    assigned = assign_gpus(engines, GPUS, processes=processes or {}, trees=trees or {}, configured=configured or {})
    return [reading.gpus for reading in assigned]


def test_the_gpus_a_process_of_the_engine_runs_on_are_its_own() -> None:
    processes = {11: ("GPU-1", "GPU-0"), 12: ("GPU-1",), 99: ("GPU-3",)}
    trees = {A: frozenset({10, 11, 12})}
    assert owners(engine(A), engine(B), processes=processes, trees=trees) == [("GPU-0", "GPU-1"), ()]


def test_processes_tell_more_than_the_configuration() -> None:
    assert owners(
        engine(A), engine(B), processes={1: ("GPU-2",)}, trees={A: frozenset({1})}, configured={A: ("0",)}
    ) == [("GPU-2",), ()]


def test_configured_gpus_are_indices_or_uuids() -> None:
    configured = {A: ("0", "GPU-3"), B: ("9",)}
    assert owners(engine(A), engine(B), configured=configured) == [("GPU-0", "GPU-3"), ()]


def test_a_sole_engine_owns_them_all() -> None:
    every = tuple(gpu.uuid for gpu in GPUS)
    assert owners(engine(A)) == [every]
    assert owners(engine(A), engine(B, state="down")) == [every, ()]
    assert owners(engine(A, "0"), engine(A, "1")) == [every, every]
    assert owners(engine(A), engine(B, role="router")) == [every, ()]


def test_of_several_engines_nobody_is_guessed_to_own_anything() -> None:
    assert owners(engine(A), engine(B)) == [(), ()]


def test_an_engine_without_gpus_stays_as_it_was() -> None:
    readings = [engine(A)]
    assert assign_gpus(readings, (), processes={}, trees={}, configured={})[0] is readings[0]
