"""Programs of others that the microgrid's mathematics is measured against; only benches and tests import this."""
