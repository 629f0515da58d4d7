"""A narrow layer on TRL: what GRPOTrainer and SFTTrainer lack."""
