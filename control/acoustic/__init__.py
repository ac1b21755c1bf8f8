"""Sound of the city: from the audio ring to events."""
