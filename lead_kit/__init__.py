"""lead_kit: experiments in reinforcement learning on mathematics with verifiable rewards."""

__version__ = "0.1.0"
