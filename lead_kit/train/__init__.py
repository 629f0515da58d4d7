"""A narrow layer on TRL: what GRPOTrainer and SFTTrainer lack."""

from lead_kit.train import late

late.install()  # before TRL is imported
