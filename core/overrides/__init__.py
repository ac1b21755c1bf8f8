"""Substituted and blocked values: what an operator has laid over a tag, by whom, why and until when."""
