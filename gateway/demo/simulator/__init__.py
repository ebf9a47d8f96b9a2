"""A simulated Sora-2 upstream over real HTTP, with scripted faults and books for tests."""

from gateway.demo.simulator.settings import SimulatorSettings
from gateway.demo.simulator.simulator import Simulator

__all__ = ["Simulator", "SimulatorSettings"]
