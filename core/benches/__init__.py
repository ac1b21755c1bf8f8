"""Measurements of the core beside its peers; ``gwanje bench core`` runs them, :mod:`gwanje.core.benches.area` first."""
