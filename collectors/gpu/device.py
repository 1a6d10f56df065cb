"""One GPU as NVML shows it, round by round. Runs in the child.

A round has two parts: `edge` takes everything that covers a span of time (GPM and counters), for
all GPUs right after one another, so that their spans are the same; `levels` takes what is read
off at one moment. The result is a plain dictionary by field name of `GpuReading`; what could not
be measured or lies outside of what is possible is not in it.
"""

from __future__ import annotations

from collectors.gpu import fieldvalues as fv
from collectors.gpu.codes import INVALID_ARGUMENT, gpu_reason, shares_of_reasons
from collectors.gpu.fieldvalues import FieldBatch
from collectors.gpu.gpm import Gpm
from collectors.gpu.health import Health
from collectors.gpu.limits import memory_of, within
from collectors.gpu.mig import GPM_GIVEN_UP, Instances
from collectors.gpu.nvml import Funnel, GpuLost
from collectors.gpu.tenants import Processes

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Clock = Callable[[], float]
    Values = dict[str, Any]

SLOW_SECONDS = 10.0
"""Between two looks at what changes rarely."""

_SM_CLOCK = 1
_MEMORY_CLOCK = 2
_CORE_SENSOR = 0
_SLOWDOWN_THRESHOLD = 1
_MEMORY_THRESHOLD = 2

_WATTS_LIMIT = 10_000.0  # 0xFFFFFFFF milliwatts and the like are not power
_CELSIUS_LIMIT = 150.0
_MEGAHERTZ_LIMIT = 50_000.0
_PCIE_RATE_LIMIT = 5e11
_NVLINK_RATE_LIMIT = 1e13
_REFRESH_SECONDS = 0.2  # a counter of nanoseconds may run ahead of the window by one refresh of it
_NARROW_COUNTER = 2**32


class Device:
    """What is known of one GPU, kept by UUID through losses and returns."""

    def __init__(self, nvml: Any, uuid: str, clock: Clock, beat: Callable[[], None]) -> None:
        self.uuid = uuid
        self.index = 0
        self.name: str | None = None
        self.lost_to: int | None = None
        """The error code that took this GPU away; None while it answers."""
        self.failure: str | None = None
        """What went wrong in reading it, where that is no code of NVML's."""
        self.processes: list[tuple[int, str, float | None]] = []
        """(pid as the host numbers it, UUID of this GPU or of its instance, bytes there) of the compute processes."""
        self._nvml = nvml
        self._clock = clock
        self._beat = beat
        self._slow_at = 0.0
        self._round = 0

    def open(self, index: int, handle: Any, slow_offset: float = SLOW_SECONDS) -> None:
        """Begin, or begin again, with nothing remembered. Raises GpuLost or NvmlGone.

        `slow_offset` is when the slow facts are due again: several GPUs take them at different times.
        """
        self.index = index
        self._handle = handle
        self._funnel = Funnel(self._nvml, self._clock, self._beat)
        self._gpm = Gpm(self._funnel)
        self._batch = FieldBatch(self._funnel)
        self._health = Health(self._funnel)
        self._processes = Processes(self._funnel)
        self._instances = Instances(self._nvml, self.uuid, self._clock, self._beat)
        self._counters: dict[int, float] = {}
        self._counted_at: float | None = None
        self._wrapping: set[int] = set()
        self._links_counted: list[str] = []
        self._bits: dict[str, float] = {}
        self._values: Values = {}
        self._gauges: Values = {}
        self.lost_to = self.failure = None
        self.name = self._funnel.ask("nvmlDeviceGetName", handle) or self.name
        self._facts = self._read_facts()
        self._memory()  # before GPM: see mig.py
        self._temperature()
        self._memory_clock()
        self.slow(slow_offset)
        self.edge()

    @property
    def note(self) -> str | None:
        """Why this GPU's figures are missing or not the best there could be, in one line."""
        if self.lost_to is not None:
            return self.failure or gpu_reason(self.lost_to)
        return GPM_GIVEN_UP if self._instances.gpm_given_up else self._gpm.reason

    @property
    def notes(self) -> dict[str, str]:
        """The same for this GPU and each of its instances, by UUID."""
        own = {self.uuid: self.note} if self.note else {}
        return own if self.lost_to is not None else {**self._instances.notes(), **own}

    def lose(self, code: int, failure: str | None = None) -> None:
        """Forget the handle and everything that hung on it. The row stays."""
        self.lost_to, self.failure = code, failure
        self._handle = None
        self.processes = []
        try:
            self._gpm.close()
        except GpuLost:
            return  # the buffers stay with a library that has given this GPU up

    def edge(self) -> None:
        """Take what covers the time since the last round. Raises GpuLost or NvmlGone."""
        now = self._clock()
        self._values = {}
        self._renew_a_suspect_handle()
        if not self._instances.gpm_given_up:
            self._values.update(self._gpm.poll(self._handle))
        self._instances.edge(self._handle)
        self._links_counted = [name for name in fv.LINKS if name not in self._values]
        fields = (*fv.ALWAYS, *[fv.LINKS[name] for name in self._links_counted])
        answers = self._batch.read(self._handle, fields)
        self._energy_where_no_field_tells(answers)
        window = None if self._counted_at is None else now - self._counted_at
        before, self._counters, self._counted_at = self._counters, answers, now
        self._values["taken"] = now
        self._values["power_watts"] = within(_scaled(answers.get(fv.POWER_MILLIWATTS), 1e-3), 0.0, _WATTS_LIMIT)
        self._values["memory_temperature_celsius"] = _celsius(answers.get(fv.MEMORY_TEMPERATURE))
        if window:
            self._values["window_seconds"] = window
            self._count(before, answers, window)

    def levels(self) -> None:
        """Take what is read off at one moment. Raises GpuLost or NvmlGone."""
        self._round += 1
        self._utilisation()
        self._memory()
        self._instances.levels()
        self._power_where_no_field_tells()
        self._sm_clock()
        # Neither moves fast, so they take turns: eight calls per GPU and round at most.
        if self._round % 2:
            self._temperature()
        else:
            self._memory_clock()
        if self._clock() >= self._slow_at:
            self.slow()

    def slow(self, period: float = SLOW_SECONDS) -> None:
        """Take what changes rarely or costs much. Raises GpuLost or NvmlGone."""
        self._slow_at = self._clock() + period
        limit = self._funnel.ask("nvmlDeviceGetEnforcedPowerLimit", self._handle)
        self._gauges["power_limit_watts"] = within(_scaled(limit, 1e-3), 0.0, _WATTS_LIMIT)
        self._gauges.update(self._health.read(self._handle))
        was_divided = self._instances.is_on
        self._instances.look(self._funnel, self._handle, self._values.get("memory_total_bytes"))
        if self._instances.is_on != was_divided:
            self._begin_anew()
        self._look_at_processes()

    def readings(self) -> list[Values]:
        """This GPU and its instances: fields of GpuReading, what the peaks need, and when the window ended (`taken`).

        None and absent both mean missing.
        """
        identity: Values = {"uuid": self.uuid, "index": self.index, "name": self.name}
        if self.lost_to is not None:
            return [{**identity, "state": "lost"}, *self._instances.rows(self.index, "lost")]
        source = "gpm" if self._gpm.gives and not self._instances.gpm_given_up else "nvml"
        if self._instances.is_on:
            identity["instances"] = len(self._instances)
        own = {**identity, "state": "ok", "source": source, **self._facts, **self._gauges, **self._values}
        return [own, *self._instances.rows(self.index, "ok")]

    # -- once

    def _read_facts(self) -> Values:
        ask, handle = self._funnel.ask, self._handle
        return {
            "sm_clock_max_hertz": _hertz(ask("nvmlDeviceGetMaxClockInfo", handle, _SM_CLOCK)),
            "memory_clock_max_hertz": _hertz(ask("nvmlDeviceGetMaxClockInfo", handle, _MEMORY_CLOCK)),
            "memory_bus_bits": within(ask("nvmlDeviceGetMemoryBusWidth", handle), 1, 65536),
            "temperature_limit_celsius": self._temperature_limit(),
            "memory_temperature_limit_celsius": within(self._threshold(_MEMORY_THRESHOLD), 40.0, _CELSIUS_LIMIT),
        }

    def _threshold(self, which: int) -> float | None:
        """NVML has several thresholds, and what it lacks of one it may have of another."""
        what = f"nvmlDeviceGetTemperatureThreshold {which}"
        limit: float | None = self._funnel.ask_by(
            what, self._nvml.nvmlDeviceGetTemperatureThreshold, self._handle, which
        )
        return limit

    def _temperature_limit(self) -> float | None:
        """The core temperature at which clocks are reduced.

        From Ada on NVML gives no thresholds but margins: `margin` degrees are left until the
        highest operating temperature, and the slowdown comes at `slowdown` (below 0) of margin.
        """
        limit = self._threshold(_SLOWDOWN_THRESHOLD)
        if limit is None:
            now = self._core_temperature()
            margin = self._funnel.ask("nvmlDeviceGetMarginTemperature", self._handle)
            slowdown = FieldBatch(self._funnel).read(self._handle, (fv.SLOWDOWN_MARGIN,)).get(fv.SLOWDOWN_MARGIN)
            if now is None or margin is None or slowdown is None:
                return None
            limit = now + margin - slowdown
        return within(limit, 40.0, _CELSIUS_LIMIT)

    # -- each round

    def _begin_anew(self) -> None:
        """Ask everything again: what a GPU answers differs with MIG on and off."""
        self._funnel.forget()
        self._gpm.close()
        self._gpm = Gpm(self._funnel)

    def _renew_a_suspect_handle(self) -> None:
        if self._funnel.handle_is_suspect:
            self._funnel.handle_is_suspect = False
            self._handle = self._funnel.ask("nvmlDeviceGetHandleByUUID", self.uuid)
            if self._handle is None:
                raise GpuLost(self._funnel.codes.get("nvmlDeviceGetHandleByUUID", INVALID_ARGUMENT))

    def _count(self, before: dict[int, float], now: dict[int, float], window: float) -> None:
        """Amounts and rates from counters. One that ran backwards was reset: missing."""

        def grown(field: int) -> float | None:
            if field not in before or field not in now or now[field] < before[field]:
                return None
            return now[field] - before[field]

        values = self._values
        values["energy_joules"] = within(_scaled(grown(fv.ENERGY_MILLIJOULES), 1e-3), 0.0, _WATTS_LIMIT * window)
        if values["power_watts"] is None and values["energy_joules"] is not None:
            values["power_watts"] = values["energy_joules"] / window
        self._throttling(grown, window)
        self._link_rates(grown, window, before)

    def _throttling(self, grown: Callable[[int], float | None], window: float) -> None:
        """Shares of the window by cause. Causes of one kind may overlap: the longest counts."""

        def share(*fields: int) -> float | None:
            spans = [span for field in fields if (span := _scaled(grown(field), 1e-9)) is not None]
            if len(spans) < len(fields) or max(spans) > window + _REFRESH_SECONDS:
                return None
            return min(max(spans) / window, 1.0)

        shares = {
            "throttle_power_ratio": share(fv.POWER_CAP_NS),
            "throttle_thermal_ratio": share(fv.SOFTWARE_THERMAL_NS, fv.HARDWARE_THERMAL_NS),
            "throttle_hardware_ratio": share(fv.POWER_BRAKE_NS),
        }
        earlier, self._bits = self._bits, self._event_reasons()
        for name, value in shares.items():
            bit = self._bits.get(name)
            # A counter that stood still while the reason was given at both ends does not count.
            if value is None or (value == 0.0 and bit and earlier.get(name)):
                shares[name] = bit
        self._values.update(shares)

    def _event_reasons(self) -> dict[str, float]:
        """What holds the clocks down at this moment, as a share of 0 or 1 of the window."""
        bits = self._funnel.ask_first(
            ("nvmlDeviceGetCurrentClocksEventReasons", (self._handle,)),
            ("nvmlDeviceGetCurrentClocksThrottleReasons", (self._handle,)),
        )
        return {} if bits is None else shares_of_reasons(bits)

    def _link_rates(self, grown: Callable[[int], float | None], window: float, before: dict[int, float]) -> None:
        """Those that GPM did not give in this round."""
        for name in self._links_counted:
            field = fv.LINKS[name]
            if name.startswith("nvlink"):
                self._values[name] = within(_scaled(grown(field), 1024 / window), 0.0, _NVLINK_RATE_LIMIT)
            else:
                rate = _scaled(self._pcie_bytes(grown(field), field, before), 1 / window)
                self._values[name] = within(rate, 0.0, _PCIE_RATE_LIMIT)

    def _pcie_bytes(self, grown: float | None, field: int, before: dict[int, float]) -> float | None:
        """What a counter that may be one of 32 bits has grown by; None where it may have gone round more than once.

        Under load such a counter goes round several times a second, and what it shows then is too little.
        One that comes as 64 bits and was never seen to go round below 2^32 is taken at its word.
        """
        if grown is None and before.get(field, _NARROW_COUNTER) < _NARROW_COUNTER and field in self._counters:
            self._wrapping.add(field)
        wide = self._counters.get(field, 0.0) >= _NARROW_COUNTER or self._batch.is_wide(field)
        return grown if wide and field not in self._wrapping else None

    def _utilisation(self) -> None:
        rates = self._funnel.ask("nvmlDeviceGetUtilizationRates", self._handle)
        if rates is not None:
            self._values["kernel_active_ratio"] = _scaled(within(rates.gpu, 0, 100), 0.01)
            self._values["memory_active_ratio"] = _scaled(within(rates.memory, 0, 100), 0.01)

    def _memory(self) -> None:
        self._values.update(memory_of(self._funnel, self._handle))

    def _power_where_no_field_tells(self) -> None:
        """A mean over the last second on Ampere and newer, so only where there is nothing better."""
        if self._values.get("power_watts") is None and not self._batch.gives(fv.POWER_MILLIWATTS):
            power = self._funnel.ask("nvmlDeviceGetPowerUsage", self._handle)
            self._values["power_watts"] = within(_scaled(power, 1e-3), 0.0, _WATTS_LIMIT)

    def _energy_where_no_field_tells(self, answers: dict[int, float]) -> None:
        if not self._batch.gives(fv.ENERGY_MILLIJOULES):
            energy = self._funnel.ask("nvmlDeviceGetTotalEnergyConsumption", self._handle)
            if energy is not None:
                answers[fv.ENERGY_MILLIJOULES] = float(energy)

    def _sm_clock(self) -> None:
        self._values["sm_clock_hertz"] = _hertz(self._funnel.ask("nvmlDeviceGetClockInfo", self._handle, _SM_CLOCK))

    def _memory_clock(self) -> None:
        clock = self._funnel.ask("nvmlDeviceGetClockInfo", self._handle, _MEMORY_CLOCK)
        self._gauges["memory_clock_hertz"] = _hertz(clock)

    def _temperature(self) -> None:
        self._gauges["temperature_celsius"] = self._core_temperature()

    def _core_temperature(self) -> float | None:
        handle = self._handle
        return _celsius(
            self._funnel.ask_first(
                ("nvmlDeviceGetTemperatureV", (handle, _CORE_SENSOR)),
                ("nvmlDeviceGetTemperature", (handle, _CORE_SENSOR)),
            )
        )

    def _look_at_processes(self) -> None:
        entries = self._processes.read(self._handle)
        self.processes = [
            (pid, self._instances.uuid_of(instance) or self.uuid, used) for pid, instance, used in entries
        ]


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _celsius(value: float | None) -> float | None:
    return within(value, -40.0, _CELSIUS_LIMIT)


def _hertz(megahertz: float | None) -> float | None:
    return _scaled(within(megahertz, 0.0, _MEGAHERTZ_LIMIT), 1e6)
