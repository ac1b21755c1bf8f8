"""The bus: messages, frames and streams between the parts of a city."""
